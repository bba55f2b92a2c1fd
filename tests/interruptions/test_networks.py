"""Whole nodes whose network goes away while two users pair: what both see, and how soon they are found again.

Two homes behind NATs, with two relays that serve the DHT between them.
"""

import signal
from pathlib import Path

import pytest
import trio

from spacedrive_node.tests.harness.interrupted_nodes import (
    AWAY_S,
    FOUND_AGAIN_S,
    begin,
    end,
    kill_all,
    reserved,
    scene,
    see_each_other,
    signal_all,
)
from spacedrive_node.tests.harness.nat_lab import NatLab
from spacedrive_node.tests.harness.node_commands import DEADLINE


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
        joined = await found.bruno.client.join_pairing(" ".join(shown.code.words), timeout=AWAY_S + DEADLINE)
        await trio.sleep(AWAY_S)  # as above
        found.anna.host.plug_in()
        await found.anna.until(reserved(2), FOUND_AGAIN_S)
        await see_each_other(shown, joined)
        await end(shown, joined)


async def test_another_network_with_another_nat(short_path: Path, lab: NatLab) -> None:
    """Each in turn goes to another home in mid-pairing, where its address may be the same: other Wi-Fi.

    It is announced there, and the pairing goes on, before an exchange of the other side has waited in vain.
    """
    async with scene(short_path, lab, ("cone", "cone")) as found:
        for device in (found.anna, found.bruno):
            elsewhere = lab.home("symmetric")
            if device is found.bruno:
                elsewhere.host()  # so that its address is another one here
            pairings = await begin(found)
            device.host.ip("link delete eth0")
            elsewhere.take_in(device.host)
            await end(*pairings, seconds=FOUND_AGAIN_S)
            await device.until(reserved(2), FOUND_AGAIN_S)


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
        kill_all(found.relays)
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
            signal_all(device.up, signal.SIGSTOP)
        await trio.sleep(AWAY_S)  # as above
        for device in asleep:
            signal_all(device.up, signal.SIGCONT)
        for device in asleep:
            await device.until(reserved(2), FOUND_AGAIN_S)
        await end(*pairings)
