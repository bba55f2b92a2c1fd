"""What is back without a sign of it: on the host itself nothing changes, and nobody tells it anything."""

from pathlib import Path

import trio

from spacedrive_node.tests.harness.interrupted_nodes import (
    AWAY_S,
    Record,
    begin,
    come_back,
    kill_all,
    relays_restart,
    reserved,
    scene,
)
from spacedrive_node.tests.harness.interruption_report import Return
from spacedrive_node.tests.harness.nat_lab import NatLab


async def test_the_line_of_the_router_is_dead_for_a_while(
    short_path: Path, lab: NatLab, record_property: Record
) -> None:
    """Nothing on the host changes, and no kernel tells that it is over."""
    async with scene(short_path, lab, ("cone", "symmetric")) as found:
        pairings, shown = await begin(found), await found.anna.client.start_pairing()
        line = found.anna.home.cut_line()
        await trio.sleep(AWAY_S)  # the time without it is what is tried
        back = Return("line of the router", record_property)
        found.anna.home.mend_line(line)
        await come_back(found, back, *pairings, codes=(shown,), reserving=(found.anna,))


async def test_both_relays_that_nobody_has_named_are_dead_for_a_while(
    short_path: Path, lab: NatLab, record_property: Record
) -> None:
    """The devices know DHT servers, and have found that these relay."""
    async with scene(short_path, lab, ("cone", "cone"), names_relays=False) as found:
        await relays_restart(found, "both relays, which nobody has named", record_property)


async def test_one_relay_is_dead_for_a_while(short_path: Path, lab: NatLab, record_property: Record) -> None:
    """Both devices are reached over the other one meanwhile."""
    async with scene(short_path, lab, ("cone", "cone")) as found:
        pairings, shown = await begin(found), await found.anna.client.start_pairing()
        kill_all(found.relays[:1])
        await trio.sleep(AWAY_S)  # as above
        back = Return("one of two relays, while it is gone", record_property)
        await come_back(found, back, *pairings, codes=(shown,))
        found.start_relay(0)
        back = Return("one of two relays", record_property)
        await found.anna.until(reserved(2))
        back.note("reserved")


async def test_both_relays_are_silent_for_a_while(
    short_path: Path, lab: NatLab, record_property: Record
) -> None:
    """Their cables are out: what is sent there is lost without a word."""
    async with scene(short_path, lab, ("cone", "cone")) as found:
        pairings, shown = await begin(found), await found.anna.client.start_pairing()
        for host in found.relay_hosts[:2]:
            host.unplug()
        await trio.sleep(AWAY_S)  # as above
        back = Return("cables of both relays", record_property)
        for host in found.relay_hosts[:2]:
            host.plug_in()
        await come_back(found, back, *pairings, codes=(shown,), reserving=(found.anna, found.bruno))
