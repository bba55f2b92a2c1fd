"""Both relays are dead for good: what is left of a code that is shown, and of a pairing that is under way."""

from functools import partial
from pathlib import Path

import pytest
import trio

from spacedrive_node.client.pairing import PairingFailedError
from spacedrive_node.messages.actor_configs import SessionConfig
from spacedrive_node.tests.harness.interrupted_nodes import (
    Record,
    Scene,
    begin,
    end,
    kill_all,
    reserved,
    scene,
    see_each_other,
)
from spacedrive_node.tests.harness.interruption_report import Return
from spacedrive_node.tests.harness.nat_lab import NatLab
from spacedrive_node.tests.harness.nat_nodes import until
from spacedrive_node.tests.harness.node_commands import DEADLINE


async def test_a_code_is_reached_over_a_relay_that_the_dht_has(
    short_path: Path, lab: NatLab, record_property: Record
) -> None:
    """Nobody was told of the third one."""
    async with scene(short_path, lab, ("symmetric", "symmetric")) as found:
        found.start_relay(2)
        for relay in found.relays:  # otherwise these do not name it to who announces, for ten minutes
            await trio.to_thread.run_sync(partial(until, relay, dht_peers=2))
        shown = await found.anna.client.start_pairing()
        await knows_third(found)
        kill_all(found.relays)
        gone = Return("both relays for good, and the DHT has a third one", record_property)
        joined = await found.bruno.client.join_pairing(" ".join(shown.code.words), timeout=DEADLINE)
        await see_each_other(shown, joined)
        gone.note("found")
        assert reserved(1, 1)((await found.anna.client.status()).addresses)
        await end(shown, joined)


async def test_without_any_relay_a_pairing_ends_and_both_users_are_told(
    short_path: Path, lab: NatLab
) -> None:
    """Both have accepted, and nothing gets through any more."""
    async with scene(short_path, lab, ("symmetric", "symmetric")) as found:
        pairings = await begin(found)
        kill_all(found.relays)
        with trio.fail_after(SessionConfig().delivery + DEADLINE):
            for one in pairings:
                await one.accept()
            for one in pairings:
                with pytest.raises(PairingFailedError) as failure:
                    await one.paired()
                assert failure.value.outcome == "lost_contact"
        for device in (found.anna, found.bruno):
            assert not reserved(1)((await device.client.status()).addresses)


async def knows_third(found: Scene) -> None:
    """Wait until both devices have all three in their routing tables: who announces a code finds them."""
    shown = await found.bruno.client.start_pairing()
    with trio.fail_after(DEADLINE):
        for device in (found.anna, found.bruno):
            while (await device.client.status()).dht_peers < 3:
                await trio.lowlevel.checkpoint()
    await shown.cancel()
