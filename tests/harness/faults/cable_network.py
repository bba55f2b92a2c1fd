"""Hosts with a cable each that can be pulled: network namespaces, or relays that go silent.

In namespaces every host has a stack of its own, joined to the others by a bridge in a namespace apart; a
pulled cable is the bridge's end of it set down: no carrier, nothing arrives, and nobody is told. Without the
right to make namespaces, each host is reached through a relay on loopback that takes connections and
carries nothing. Nothing outside what is made here is touched, and it goes with the processes that hold it.
"""

import itertools
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from spacedrive_node.tests.harness.faults.tcp_relay import Relay

PORT = 7520
_hosts = itertools.count(1)


@dataclass
class Host:
    """Where one node runs: `command` goes before its own, `listen` and `announce` into its configuration."""

    command: tuple[str, ...]
    listen: str
    announce: str

    def listening(self, address: str) -> None:
        """The node listens there now."""

    async def pull(self) -> None:
        """Take the cable out."""
        raise NotImplementedError

    async def plug(self) -> None:
        """Put it in again."""
        raise NotImplementedError


@dataclass
class _Namespaced(Host):
    hub: tuple[str, ...] = ()
    cable: str = ""

    async def pull(self) -> None:
        await _run(*self.hub, "ip", "link", "set", self.cable, "down")

    async def plug(self) -> None:
        await _run(*self.hub, "ip", "link", "set", self.cable, "up")


@dataclass
class _Relayed(Host):
    relay: Relay | None = None

    def listening(self, address: str) -> None:
        assert self.relay is not None
        self.relay.lead_to(address)

    async def pull(self) -> None:
        assert self.relay is not None
        self.relay.silence()

    async def plug(self) -> None:
        assert self.relay is not None
        self.relay.resume()


@dataclass
class Network:
    """Makes hosts. `kind` says what a pulled cable is."""

    kind: str
    nursery: trio.Nursery
    enter: tuple[str, ...] = ()
    holders: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    async def host(self) -> Host:
        number = next(_hosts)
        if not self.enter:
            relay = Relay()
            address = await self.nursery.start(relay.serve)
            return _Relayed((), "/ip4/127.0.0.1/tcp/0", f"/ip4/127.0.0.1/tcp/{address}", relay)
        holder = _hold(*self.enter, "unshare", "--net")
        self.holders.append(holder)
        ip = f"10.77.{number >> 7}.{1 + (number & 0x7F)}"
        mac = f"02:00:00:00:{number >> 8:02x}:{number & 0xFF:02x}"
        cable = f"cable{number}"
        inside = (*_entering(holder, self.enter), "ip")
        await _run(
            *self.enter, "ip", "link", "add", cable, "type", "veth",
            "peer", "name", "eth0", "address", mac, "netns", str(holder.pid),
        )  # fmt: skip
        await _run(*self.enter, "ip", "link", "set", cable, "master", "hub", "up")
        await _run(*inside, "link", "set", "lo", "up")
        await _run(*inside, "address", "add", f"{ip}/16", "dev", "eth0")
        await _run(*inside, "link", "set", "eth0", "up")
        address = f"/ip4/{ip}/tcp/{PORT}"
        return _Namespaced(_entering(holder, self.enter), address, address, self.enter, cable)


@asynccontextmanager
async def opened() -> AsyncIterator[Network]:
    """Make a network of what this machine allows; all of it is gone at the end."""
    async with trio.open_nursery() as nursery:
        network = await _namespaces(nursery) or Network("a relay that goes silent", nursery)
        try:
            yield network
        finally:
            for holder in reversed(network.holders):
                holder.kill()
                holder.wait()
                for pipe in (holder.stdin, holder.stdout):
                    assert pipe is not None
                    pipe.close()
            nursery.cancel_scope.cancel()


async def _namespaces(nursery: trio.Nursery) -> Network | None:
    for options in (("--net",), ("--user", "--map-root-user", "--net")):
        try:
            hub = _hold("unshare", *options)
        except (OSError, ValueError):
            continue
        user = ("--user", "--preserve-credentials") if "--user" in options else ()
        network = Network("no carrier", nursery, ("nsenter", f"--target={hub.pid}", *user, "--net"), [hub])
        try:
            await _run(*network.enter, "ip", "link", "add", "hub", "type", "bridge")
            await _run(*network.enter, "ip", "link", "set", "hub", "up")
            await network.host()  # the kernel may know bridges and no cables
        except (OSError, subprocess.CalledProcessError):
            for holder in reversed(network.holders):
                holder.kill()
                holder.communicate()
            continue
        return network
    return None


def _hold(*command: str) -> "subprocess.Popen[bytes]":
    """Start a process that only keeps its namespaces, and ends with its input. Raises ValueError."""
    script = "echo here; exec cat"
    holder = subprocess.Popen(
        [*command, "sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert holder.stdout is not None
    if holder.stdout.readline() != b"here\n":
        holder.communicate()
        raise ValueError("no namespace")
    return holder


def _entering(holder: "subprocess.Popen[bytes]", enter: tuple[str, ...]) -> tuple[str, ...]:
    return ("nsenter", f"--target={holder.pid}", *enter[2:])


async def _run(*command: str) -> None:
    await trio.run_process(command, capture_stdout=True, capture_stderr=True)
