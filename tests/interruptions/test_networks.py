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
    Record,
    begin,
    come_back,
    end,
    relays_restart,
    reserved,
    scene,
    see_each_other,
    signal_all,
)
from spacedrive_node.tests.harness.interruption_report import Return
from spacedrive_node.tests.harness.nat_lab import NatLab
from spacedrive_node.tests.harness.node_commands import DEADLINE


async def test_the_cable_of_either_is_out_while_the_users_decide(
    short_path: Path, lab: NatLab, record_property: Record
) -> None:
    """Both go on where they were: nobody sees an error, and the digits stay.

    Who was away is announced again within ten seconds, by itself.
    """
    async with scene(short_path, lab, ("cone", "symmetric")) as found:
        for device in (found.anna, found.bruno):
            pairings, shown = await begin(found), await device.client.start_pairing()
            device.host.unplug()
            await trio.sleep(AWAY_S)  # the time without a network is what is tried
            back = Return("cable", record_property)
            device.host.plug_in()
            await come_back(found, back, *pairings, codes=(shown,), reserving=(device,))


async def test_the_cable_is_out_while_a_code_is_shown(
    short_path: Path, lab: NatLab, record_property: Record
) -> None:
    """Whoever enters it in the meantime waits, and finds it when it is back."""
    async with scene(short_path, lab, ("cone", "cone")) as found:
        shown = await found.anna.client.start_pairing()
        found.anna.host.unplug()
        joined = await found.bruno.client.join_pairing(" ".join(shown.code.words), timeout=AWAY_S + DEADLINE)
        await trio.sleep(AWAY_S)  # as above
        back = Return("cable, words entered meanwhile", record_property)
        found.anna.host.plug_in()
        await see_each_other(shown, joined)
        back.note("goes on")
        await found.anna.until(reserved(2), FOUND_AGAIN_S)
        back.note("reserved")
        await end(shown, joined)


async def test_another_network_with_another_nat(
    short_path: Path, lab: NatLab, record_property: Record
) -> None:
    """Each in turn goes to another home in mid-pairing, where its address may be the same: other Wi-Fi.

    It is announced there, and the pairing goes on, before an exchange of the other side has waited in vain.
    """
    async with scene(short_path, lab, ("cone", "cone")) as found:
        for device in (found.anna, found.bruno):
            elsewhere = lab.home("symmetric")
            if device is found.bruno:
                elsewhere.host()  # so that its address is another one here
            pairings, shown = await begin(found), await device.client.start_pairing()
            device.host.ip("link delete eth0")
            back = Return("other Wi-Fi", record_property)
            elsewhere.take_in(device.host)
            await come_back(found, back, *pairings, codes=(shown,), reserving=(device,))


async def test_the_router_forgets_its_mappings(
    short_path: Path, lab: NatLab, record_property: Record
) -> None:
    """Nothing on the host changes, and what comes in is dropped: the node notices by itself."""
    async with scene(short_path, lab, ("symmetric", "cone")) as found:
        pairings, shown = await begin(found), await found.anna.client.start_pairing()
        back = Return("mappings of the router", record_property)
        found.anna.home.restart_router()
        await come_back(found, back, *pairings, codes=(shown,))


async def test_both_relays_are_dead_for_a_while(
    short_path: Path, lab: NatLab, record_property: Record
) -> None:
    """The pairing waits for them; both devices are reserved again soon after they are back."""
    async with scene(short_path, lab, ("cone", "cone")) as found:
        await relays_restart(found, "both relays", record_property)


@pytest.mark.parametrize("who", ["anna", "bruno", "both"])
async def test_a_laptop_is_suspended_while_the_users_decide(
    short_path: Path, lab: NatLab, record_property: Record, who: str
) -> None:
    """All of its processes stand still, and go on where they were."""
    async with scene(short_path, lab, ("cone", "symmetric")) as found:
        asleep = (found.anna, found.bruno) if who == "both" else (getattr(found, who),)
        pairings, codes = await begin(found), tuple([await one.client.start_pairing() for one in asleep])
        for device in asleep:
            signal_all(device.up, signal.SIGSTOP)
        await trio.sleep(AWAY_S)  # as above
        back = Return("both laptops asleep" if who == "both" else "laptop asleep", record_property)
        for device in asleep:
            signal_all(device.up, signal.SIGCONT)
        await come_back(found, back, *pairings, codes=codes, reserving=asleep)
