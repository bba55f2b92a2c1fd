"""Hosts whose network cable can be pulled: network namespaces, or relays that go silent.

With namespaces every host has its own network stack, joined to the others by a bridge in a further namespace.
A pulled cable is the bridge's end of it set down: no carrier, nothing arrives, and no program is informed.
Without the right to make namespaces, each host is reached through a relay on loopback, of TCP or UDP, that
forwards nothing meanwhile. Nothing outside these namespaces is touched, and they vanish with their
processes.
"""

import itertools
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

import trio

from spacedrive_node.tests.harness.faults.namespace_holder import hold
from spacedrive_node.tests.harness.faults.relays import Relay, RelayedTransport, listen_address, relay_of

PORT = 7520
Addressing = Literal["ip4", "ip6", "both", "link", "public"]
"""What addresses a host in a namespace has.

"link" is a link-local IPv6 address and no other, "public" an IPv4 address as on the Internet.
"""
_hosts = itertools.count(1)


@dataclass
class Host:
    """Where one node runs: `command` prefixes its own, `listen` and `announce` go into its configuration."""

    command: tuple[str, ...]
    listen: str
    announce: str

    def listening(self, address: str) -> None:
        """Set the address on which the node listens."""

    async def pull(self) -> None:
        """Pull the cable."""
        raise NotImplementedError

    async def plug(self) -> None:
        """Plug the cable in again."""
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
        self.relay.set_target(address)

    async def pull(self) -> None:
        assert self.relay is not None
        self.relay.silence()

    async def plug(self) -> None:
        assert self.relay is not None
        self.relay.resume()


@dataclass
class CableNetwork:
    """Makes hosts. `kind` describes what a pulled cable is."""

    kind: str
    nursery: trio.Nursery
    enter: tuple[str, ...] = ()
    holders: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    async def host(self, addressing: Addressing = "ip4", transport: RelayedTransport = "tcp") -> Host:
        """Make a host whose node listens on this transport."""
        number = next(_hosts)
        if not self.enter:
            assert addressing == "ip4", "only namespaces have other addresses than loopback's"
            relay = relay_of(transport)
            port = await self.nursery.start(relay.serve)
            loopback = "/ip4/127.0.0.1"
            return _Relayed(
                (), loopback + listen_address(transport, 0), loopback + listen_address(transport, port), relay
            )
        holder = hold(*self.enter, "unshare", "--net")
        self.holders.append(holder)
        ip4, ip6 = f"10.77.{number >> 7}.{1 + (number & 0x7F)}", f"fd77::{number:x}"
        mac = f"02:00:00:00:{number >> 8:02x}:{number & 0xFF:02x}"
        link_local = f"fe80::ff:fe00:{number:x}"  # as the kernel makes it of this address
        cable = f"cable{number}"
        inside = (*_entering(holder, self.enter), "ip")
        await _run(
            *self.enter, "ip", "link", "add", cable, "type", "veth",
            "peer", "name", "eth0", "address", mac, "netns", str(holder.pid),
        )  # fmt: skip
        await _run(*self.enter, "ip", "link", "set", cable, "master", "hub", "up")
        await _run(*inside, "link", "set", "lo", "up")
        # Without a wait for the address.
        setting = "disable_ipv6=1" if addressing in ("ip4", "public") else "accept_dad=0"
        for interface in ("all", "eth0"):
            await _run(*inside[:-1], "sysctl", "-qw", f"net.ipv6.conf.{interface}.{setting}")
        if addressing in ("ip4", "both"):
            await _run(*inside, "address", "add", f"{ip4}/16", "dev", "eth0")
        if addressing in ("ip6", "both"):
            await _run(*inside, "address", "add", f"{ip6}/64", "dev", "eth0", "nodad")
        if addressing == "public":
            ip4 = f"45.{number >> 7}.{1 + (number & 0x7F)}.1"
            await _run(*inside, "address", "add", f"{ip4}/8", "dev", "eth0")
        await _run(*inside, "link", "set", "eth0", "up")
        named = {"ip6": f"/ip6/{ip6}", "link": f"/ip6zone/eth0/ip6/{link_local}"}
        address = named.get(addressing, f"/ip4/{ip4}") + listen_address(transport, PORT)
        return _Namespaced(_entering(holder, self.enter), address, address, self.enter, cable)

    async def second_cable(self, one: Host, other: Host) -> None:
        """Join two hosts by a cable beside the hub: eth1 on each, in a network of its own."""
        pids = [host.command[1].removeprefix("--target=") for host in (one, other)]
        await _run(
            *self.enter, "ip", "link", "add", "eth1", "netns", pids[0], "type", "veth",
            "peer", "name", "eth1", "netns", pids[1],
        )  # fmt: skip
        for number, host in enumerate((one, other), 1):
            await _run(*host.command, "ip", "address", "add", f"10.79.0.{number}/24", "dev", "eth1")
            await _run(*host.command, "ip", "link", "set", "eth1", "up")


@asynccontextmanager
async def open_network() -> AsyncIterator[CableNetwork]:
    """Open a network of the kind that this machine allows. Everything is removed at the end."""
    async with trio.open_nursery() as nursery:
        network = await _namespaces(nursery) or CableNetwork("a relay that goes silent", nursery)
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


async def _namespaces(nursery: trio.Nursery) -> CableNetwork | None:
    for options in (("--net",), ("--user", "--map-root-user", "--net")):
        try:
            hub = hold("unshare", *options)
        except (OSError, ValueError):
            continue
        user = ("--user", "--preserve-credentials") if "--user" in options else ()
        network = CableNetwork(
            "no carrier", nursery, ("nsenter", f"--target={hub.pid}", *user, "--net"), [hub]
        )
        try:
            await _run(*network.enter, "ip", "link", "add", "hub", "type", "bridge", "mcast_snooping", "0")
            await _run(*network.enter, "ip", "link", "set", "hub", "up")
            await network.host()  # the kernel may know bridges and no cables
        except (OSError, subprocess.CalledProcessError):
            for holder in reversed(network.holders):
                holder.kill()
                holder.communicate()
            continue
        return network
    return None


def _entering(holder: "subprocess.Popen[bytes]", enter: tuple[str, ...]) -> tuple[str, ...]:
    return ("nsenter", f"--target={holder.pid}", *enter[2:])


async def _run(*command: str) -> None:
    await trio.run_process(command, capture_stdout=True, capture_stderr=True)
