"""How many round trips a pairing of two distant devices costs, from `join` on: counted, not measured.

The nodes are warm: both are connected with the DHT server that knows the code, and not with each other.
"""

from pathlib import Path

import pytest
import trio

from spacedrive_node.client.node_client import Pairing
from spacedrive_node.tests.harness.distant_nodes import distant_nodes

DEADLINE = 60
ANNOUNCED = 2
"""Answers of the DHT server until it has the code: who is closest to it, and that it has stored it."""


@pytest.mark.parametrize(
    ("transports", "to_confirm", "to_paired"), [("tcp", 5, 6), ("quic", 4, 5), ("tcp quic", 4, 5)]
)
async def test_round_trips_of_a_pairing(
    tmp_path: Path, transports: str, to_confirm: int, to_paired: int
) -> None:
    """Lookup, connection (two over TCP), code, identity; then the decision, as both users accept."""
    async with distant_nodes(tmp_path, *transports.split()) as (a, b, relay):
        with trio.fail_after(DEADLINE):
            showing = await a.client.start_pairing()
            await a.spawner.wait_until_delivered("discovery", "KadReply", ANNOUNCED)
            relay.ticks = 0
            joining = await b.client.join_pairing(" ".join(showing.code.words), timeout=DEADLINE)
            confirmed, paired = [], []

            async def finish(pairing: Pairing) -> None:
                await pairing.confirmation()
                confirmed.append(relay.round_trips)
                await pairing.accept()
                await pairing.paired()
                paired.append(relay.round_trips)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(finish, showing)
                nursery.start_soon(finish, joining)
        assert (max(confirmed), max(paired)) == (to_confirm, to_paired)
