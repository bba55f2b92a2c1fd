"""Whole nodes whose network goes away while two users pair: what both see, and how soon they are found again.

Two homes behind NATs, with two relays that serve the DHT between them.
"""

import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import trio

from spacedrive_node.client.node_client import NodeClient, Pairing, open_client
from spacedrive_node.tests.harness.nat_lab import Home, LabHost, NatKind, NatLab
from spacedrive_node.tests.harness.node_commands import DEADLINE, UpCommand, sdnode_up

AWAY_S = 12.0
"""For how long the network is away: longer than any exchange of a pairing takes."""
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


def reserved(least: int, most: int = 2) -> Callable[[tuple[str, ...]], bool]:
    """Whether circuits through so many relays are announced."""

    def holds(addresses: tuple[str, ...]) -> bool:
        return least <= len({one.split("/")[2] for one in addresses if "p2p-circuit" in one}) <= most

    return holds


@asynccontextmanager
async def scene(folder: Path, lab: NatLab, kinds: tuple[NatKind, NatKind]) -> AsyncIterator[Scene]:
    hosts = [lab.public(), lab.public()]
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
        for number, host in enumerate(hosts):
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


def stop_all(up: UpCommand, how: signal.Signals) -> None:
    """Send a signal to every process of a node, as the suspend of a laptop stops them all."""
    for one in (psutil.Process(up.process.pid), *psutil.Process(up.process.pid).children(recursive=True)):
        os.kill(one.pid, how)


async def test_the_cable_of_either_is_out_while_the_users_decide(short_path: Path, lab: NatLab) -> None:
    """Both go on where they were: nobody sees an error, and the digits stay.

    Who was away is announced again within ten seconds, by itself.
    """
    async with scene(short_path, lab, ("cone", "symmetric")) as found:
        for device in (found.anna, found.bruno):
            pairings = await begin(found)
            device.host.unplug()
            await trio.sleep(AWAY_S)  # the time without a network is what is tried
            device.host.plug_in()
            await end(*pairings, seconds=FOUND_AGAIN_S)
            await device.until(reserved(2), FOUND_AGAIN_S)


async def test_the_cable_is_out_while_a_code_is_shown(short_path: Path, lab: NatLab) -> None:
    """Whoever enters it in the meantime waits, and finds it when it is back."""
    async with scene(short_path, lab, ("cone", "cone")) as found:
        shown = await found.anna.client.start_pairing()
        found.anna.host.unplug()
        joined = await found.bruno.client.join_pairing(" ".join(shown.code.words), timeout=DEADLINE)
        await trio.sleep(AWAY_S)  # as above
        found.anna.host.plug_in()
        await found.anna.until(reserved(2), FOUND_AGAIN_S)
        await see_each_other(shown, joined)
        await end(shown, joined)


async def test_another_network_with_another_nat(short_path: Path, lab: NatLab) -> None:
    """Each in turn goes to another home in mid-pairing, where its address may be the same: other Wi-Fi.

    It is announced there within ten seconds. The other side finds out when an exchange gets no answer.
    """
    async with scene(short_path, lab, ("cone", "cone")) as found:
        for device in (found.anna, found.bruno):
            elsewhere = lab.home("symmetric")
            if device is found.bruno:
                elsewhere.host()  # so that its address is another one here
            pairings = await begin(found)
            device.host.ip("link delete eth0")
            elsewhere.take_in(device.host)
            await device.until(reserved(2), FOUND_AGAIN_S)
            await end(*pairings)


async def test_the_router_forgets_its_mappings(short_path: Path, lab: NatLab) -> None:
    """Nothing on the host changes, and what comes in is dropped: the node notices by itself."""
    async with scene(short_path, lab, ("symmetric", "cone")) as found:
        pairings = await begin(found)
        found.anna.home.restart_router()
        await end(*pairings)
        found.anna.home.restart_router()
        await trio.sleep(FOUND_AGAIN_S)  # what is given to it
        with trio.fail_after(FOUND_AGAIN_S):
            pairings = await begin(found)
        await end(*pairings)


async def test_both_relays_are_dead_for_a_while(short_path: Path, lab: NatLab) -> None:
    """The pairing waits for them; both devices are reserved again soon after they are back."""
    async with scene(short_path, lab, ("cone", "cone")) as found:
        pairings = await begin(found)
        for up in found.relays:
            stop_all(up, signal.SIGKILL)
            up.process.wait(DEADLINE)
        await found.anna.until(reserved(0, 0))
        await trio.sleep(AWAY_S)  # as above
        for number in range(2):
            found.start_relay(number)
        for device in (found.anna, found.bruno):
            await device.until(reserved(1), FOUND_AGAIN_S)
        await end(*pairings)
        for device in (found.anna, found.bruno):
            await device.until(reserved(2))


@pytest.mark.parametrize("who", ["anna", "bruno", "both"])
async def test_a_laptop_is_suspended_while_the_users_decide(short_path: Path, lab: NatLab, who: str) -> None:
    """All of its processes stand still, and go on where they were."""
    async with scene(short_path, lab, ("cone", "symmetric")) as found:
        pairings = await begin(found)
        asleep = [found.anna, found.bruno] if who == "both" else [getattr(found, who)]
        for device in asleep:
            stop_all(device.up, signal.SIGSTOP)
        await trio.sleep(AWAY_S)  # as above
        for device in asleep:
            stop_all(device.up, signal.SIGCONT)
        for device in asleep:
            await device.until(reserved(2), FOUND_AGAIN_S)
        await end(*pairings)
