"""Whole nodes: a device is forgotten while another pairing with it is under way."""

from pathlib import Path

import pytest
import trio

from spacedrive_node.client.node_client import Pairing, PairingFailedError
from spacedrive_node.tests.harness.nodes import DEADLINE, Node, pair, two_nodes


async def under_way(showing: Node, entering: Node) -> tuple[Pairing, Pairing]:
    """Begin a pairing, up to the question to both users."""
    shown = await showing.client.start_pairing()
    entered = await entering.client.join_pairing(" ".join(shown.code.words), timeout=DEADLINE)
    for pairing in (shown, entered):
        await pairing.confirmation()
    return shown, entered


async def end_of(pairing: Pairing) -> PairingFailedError:
    """Return how a pairing ends that does not end as `paired`."""
    with pytest.raises(PairingFailedError) as ended:
        await pairing.paired()
    return ended.value


@pytest.mark.timeout(180)
async def test_forgetting_a_device_ends_the_pairings_with_it(tmp_path: Path) -> None:
    """At once and on both sides: as a rejection where nobody has decided, as lost where it was accepted."""
    async with two_nodes(tmp_path) as (a, b):
        for accepted in (False, True):
            with trio.fail_after(DEADLINE):
                await pair(a, b)
                (device,) = await a.client.devices()
                first, second = await under_way(a, b), await under_way(b, a)
                mine, theirs = (first[0], second[1]), (first[1], second[0])
                if accepted:
                    for pairing in mine:
                        await pairing.accept()
                await a.client.forget(device.device_id)
                for pairing in mine:
                    end = await end_of(pairing)
                    assert (end.outcome, "forgotten here" in str(end)) == ("cancelled", True)
                for pairing in theirs:
                    if accepted:
                        await pairing.accept()
                    assert (await end_of(pairing)).outcome == ("lost_contact" if accepted else "rejected")
                assert await a.client.devices() == []
        with trio.fail_after(DEADLINE):
            await pair(b, a)
            assert [device.state for device in await a.client.devices()] == ["paired"]
