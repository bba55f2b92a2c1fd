"""Two devices in homes behind NATs, with relays that serve the DHT between them, whose network goes away.

Whole nodes in the network namespaces of nat_lab, driven through their clients.
"""

import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import trio

from spacedrive_node.client.node_client import NodeClient, Pairing, open_client
from spacedrive_node.tests.harness.nat_lab import Home, LabHost, NatKind, NatLab
from spacedrive_node.tests.harness.node_commands import DEADLINE, UpCommand, sdnode_up

AWAY_S = float(os.environ.get("AWAY", "12"))
"""For how long the network is away: longer than any exchange of a pairing takes (make interruptions: 60)."""
FOUND_AGAIN_S = 10.0
ADDRESS = "/ip4/{}/tcp/7520"


@dataclass
class Device:
    """A node in a home."""

    home: Home
    host: LabHost
    up: UpCommand
    client: NodeClient

    async def until(self, holds: Callable[[tuple[str, ...]], bool], seconds: float = DEADLINE) -> None:
        """Wait until what it announces fulfils a condition."""
        with trio.move_on_after(seconds):
            while not holds(found := (await self.client.status()).addresses):
                await trio.lowlevel.checkpoint()
            return
        raise AssertionError((found, self.up.log()[-6000:]))


@dataclass
class Scene:
    """Two devices, and two relays with their hosts."""

    anna: Device
    bruno: Device
    relays: list[UpCommand]
    relay_hosts: list[LabHost]
    start_relay: Callable[[int], UpCommand]
    """By number; the first two are those that the devices are told of."""


def reserved(least: int, most: int = 2) -> Callable[[tuple[str, ...]], bool]:
    """Whether circuits through so many relays are announced."""

    def holds(addresses: tuple[str, ...]) -> bool:
        return least <= len({one.split("/")[2] for one in addresses if "p2p-circuit" in one}) <= most

    return holds


@asynccontextmanager
async def scene(folder: Path, lab: NatLab, kinds: tuple[NatKind, NatKind]) -> AsyncIterator[Scene]:
    hosts = [lab.public(), lab.public(), lab.public()]
    known: list[str] = []
    with ExitStack() as stack:

        def node(name: str, host: LabHost, *flags: str) -> UpCommand:
            place = folder / name
            place.mkdir(mode=0o700, exist_ok=True)
            more = ("--no-same-host", "--log-format", "json", "--log-level", "debug", *flags)
            listen = ADDRESS.format("0.0.0.0")
            return stack.enter_context(sdnode_up(place, name, *more, command=host.command, listen=listen))

        def start_relay(number: int) -> UpCommand:
            host = hosts[number]
            served = ("--relay-service", "--dht-mode", "server", "--announce", ADDRESS.format(host.address))
            others = [flag for one in known for flag in ("--bootstrap", one)]
            return node(f"relay{number}", host, *served, *others)

        relays = []
        for number, host in enumerate(hosts[:2]):
            relays.append(start_relay(number))
            known.append(f"{ADDRESS.format(host.address)}/p2p/{relays[-1].ready['peer_id']}")
        flags = [flag for one in known for flag in ("--bootstrap", one, "--relay", one)]
        async with AsyncExitStack() as clients:
            devices = []
            for name, kind in zip(("anna", "bruno"), kinds, strict=True):
                home = lab.home(kind)
                host = home.host()
                up = node(name, host, *flags)
                client = await clients.enter_async_context(open_client(Path(up.ready["control"])))
                devices.append(Device(home, host, up, client))
            for device in devices:
                await device.until(reserved(2))
            yield Scene(*devices, relays, hosts, start_relay)


async def begin(scene: Scene) -> tuple[Pairing, Pairing]:
    """Let anna show a code and bruno enter it; return when both see the other device, and the same digits."""
    shown = await scene.anna.client.start_pairing()
    joined = await scene.bruno.client.join_pairing(" ".join(shown.code.words), timeout=DEADLINE)
    await see_each_other(shown, joined)
    return shown, joined


async def see_each_other(shown: Pairing, joined: Pairing) -> None:
    with trio.fail_after(DEADLINE):
        assert (await shown.confirmation()).check == (await joined.confirmation()).check


async def end(*pairings: Pairing, seconds: float = DEADLINE) -> None:
    """Let both users accept; both are told that they are paired."""
    with trio.fail_after(seconds):
        for one in pairings:
            await one.accept()
        results = [await one.paired() for one in pairings]
    assert len({one.fingerprint for one in results}) == 1


def kill_all(relays: list[UpCommand]) -> None:
    """Kill every process of nodes, for good."""
    for up in relays:
        signal_all(up, signal.SIGKILL)
        up.process.wait(DEADLINE)


def signal_all(up: UpCommand, how: signal.Signals) -> None:
    """Send a signal to every process of a node, as the suspend of a laptop stops them all."""
    for one in (psutil.Process(up.process.pid), *psutil.Process(up.process.pid).children(recursive=True)):
        os.kill(one.pid, how)
