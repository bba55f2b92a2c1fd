"""How many round trips a pairing of two distant devices costs, from `join` on: counted, not measured.

Unless a test says otherwise the nodes are warm: both are connected with the DHT server that knows the code,
and not with each other.
"""

from pathlib import Path

import pytest
import trio

from spacedrive_node.client.node_client import Pairing
from spacedrive_node.tests.harness.distant_nodes import distant_nodes
from spacedrive_node.tests.harness.flight_relay import FlightRelay
from spacedrive_node.tests.harness.nodes import Node

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
    async with distant_nodes(tmp_path, *transports.split()) as (a, b, wire):
        confirmed, paired, _path = await pair(a, b, wire)
        assert (confirmed, paired) == (to_confirm, to_paired)


@pytest.mark.parametrize("transports", ["tcp", "quic"])
async def test_round_trips_of_a_pairing_through_a_relay(tmp_path: Path, transports: str) -> None:
    """Lookup; the circuit, Noise on it, code, identity; then the decision.

    Each of these five crosses the wire to the relay and the wire from it: two of the round trips counted.
    """
    async with distant_nodes(tmp_path, transports, relayed=True) as (a, b, wire):
        confirmed, paired, path = await pair(a, b, wire)
        assert path == "relayed"
        assert (confirmed, paired) == (1 + 2 * 4, 1 + 2 * 5)


@pytest.mark.parametrize(("transport", "to_the_relay"), [("tcp", 2), ("quic", 1)])
async def test_round_trips_from_the_dial_of_the_relay_to_paired(
    tmp_path: Path, transport: str, to_the_relay: int
) -> None:
    """The joiner knows nothing but the QR text, in which there is a circuit: no lookup, no connection.

    Two to the relay, one over QUIC, from the port that is listened on; then five over it, each of which is
    two of those counted: the circuit, Noise on it, code, identity, decision.
    """
    async with distant_nodes(tmp_path, transport, relayed=True, cold=True) as (a, b, wire):
        confirmed, paired, path = await pair(a, b, wire, by_qr=True)
        assert path == "relayed"
        assert (confirmed, paired) == (to_the_relay + 2 * 4, to_the_relay + 2 * 5)


async def pair(
    a: Node, b: Node, wire: FlightRelay, *, by_qr: bool = False
) -> tuple[float, float, str | None]:
    """Pair; return after how many round trips both users could decide, and both were paired; and the path."""
    with trio.fail_after(DEADLINE):
        showing = await a.client.start_pairing()
        await a.spawner.wait_until_delivered("discovery", "KadReply", ANNOUNCED)
        wire.ticks = 0
        text = showing.code.qr if by_qr else " ".join(showing.code.words)
        assert text is not None
        joining = await b.client.join_pairing(text, timeout=DEADLINE)
        confirmed, paired, paths = [], [], set()

        async def finish(pairing: Pairing) -> None:
            await pairing.confirmation()
            confirmed.append(wire.round_trips)
            await pairing.accept()
            paths.add((await pairing.paired()).path)
            paired.append(wire.round_trips)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(finish, showing)
            nursery.start_soon(finish, joining)
    (path,) = paths
    return max(confirmed), max(paired), path
