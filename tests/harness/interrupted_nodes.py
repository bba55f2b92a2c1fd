"""Two devices in homes behind NATs, with relays that serve the DHT between them, whose network goes away.

Whole nodes in the network namespaces of nat_lab, driven through their clients.
"""

import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import trio

from spacedrive_node.client.node_client import NodeClient, Pairing, open_client
from spacedrive_node.tests.harness.interruption_report import Return
from spacedrive_node.tests.harness.nat_lab import Home, LabHost, NatKind, NatLab
from spacedrive_node.tests.harness.node_commands import DEADLINE, UpCommand, sdnode_up

AWAY_S = float(os.environ.get("AWAY", "12"))
"""For how long the network is away: longer than any exchange of a pairing takes (make interruptions: 60)."""
FOUND_AGAIN_S = 20.0
"""Ten are promised, and a busy machine gets twice as many: docs/interruptions.md has what was measured. The
pauses of a node that has nobody are tested in virtual time (relay/test_relay_choice.py,
discovery/test_bootstrap.py, discovery/test_announce.py)."""
STATUS_INTERVAL_S = 0.05
"""A node tells nobody unasked."""
ADDRESS = "/ip4/{}/tcp/7520"
Record = Callable[[str, object], None]
"""pytest's `record_property`."""


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
            while not holds(found := (await self.client.status()).addresses):  # noqa: ASYNC110  # see there
                await trio.sleep(STATUS_INTERVAL_S)
            return
        raise AssertionError((found, self.up.log()[-6000:]))


@dataclass
class Scene:
    """Two devices and a stranger to both, and two relays with their hosts."""

    anna: Device
    bruno: Device
    clara: Device
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
async def scene(
    folder: Path, lab: NatLab, kinds: tuple[NatKind, NatKind], *, names_relays: bool = True
) -> AsyncIterator[Scene]:
    """Run everybody. Without `names_relays` the devices are told of DHT servers, and find that they relay."""
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
        flags = [flag for one in known for flag in ("--bootstrap", one)]
        flags += [flag for one in known if names_relays for flag in ("--relay", one)]
        async with AsyncExitStack() as clients:
            devices = []
            for name, kind in zip(("anna", "bruno", "clara"), (*kinds, "symmetric"), strict=True):
                home = lab.home(kind)  # type: ignore[arg-type]
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


async def come_back(
    found: Scene,
    back: Return,
    *pairings: Pairing,
    codes: tuple[Pairing, ...],
    reserving: tuple[Device, ...] = (),
    relays: int = 2,
) -> None:
    """Let a pairing go on, devices be reserved at relays again, and clara find the codes shown."""

    async def goes_on() -> None:
        await end(*pairings)
        back.note("goes on")

    async def is_reserved(device: Device) -> None:
        if not reserved(relays)((await device.client.status()).addresses):  # otherwise it has noticed nothing
            await device.until(reserved(relays))
            back.note("reserved")

    async def is_found(shown: Pairing) -> None:
        joined = await found.clara.client.join_pairing(" ".join(shown.code.words), timeout=DEADLINE)
        await see_each_other(shown, joined)
        back.note("found")
        await joined.cancel()

    with trio.fail_after(FOUND_AGAIN_S):
        async with trio.open_nursery() as nursery:
            if pairings:
                nursery.start_soon(goes_on)
            for device in reserving:
                nursery.start_soon(is_reserved, device)
            for shown in codes:
                nursery.start_soon(is_found, shown)


async def relays_restart(found: Scene, name: str, record: Record) -> None:
    """Kill both relays in mid-pairing, and start them again after a while; all goes on by itself."""
    pairings, shown = await begin(found), await found.anna.client.start_pairing()
    kill_all(found.relays)
    await found.anna.until(reserved(0, 0))
    await trio.sleep(AWAY_S)  # the time without them is what is tried
    is_ready = trio.Event()

    async def start(number: int) -> None:
        await trio.to_thread.run_sync(found.start_relay, number)
        is_ready.set()

    async with trio.open_nursery() as nursery:
        for number in range(2):
            nursery.start_soon(start, number)
        await is_ready.wait()
        devices = (found.anna, found.bruno)
        back = Return(name, record)
        await come_back(found, back, *pairings, codes=(shown,), reserving=devices, relays=1)
    for device in devices:
        await device.until(reserved(2))


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
        with suppress(ProcessLookupError):  # its parent was killed before, and it has ended with that
            os.kill(one.pid, how)
