"""The connection lost at every message of a pairing and dialed again: both devices are paired, once.

Each node is reached through a relay. When a message is about to leave a session, or has just reached one,
every connection of both nodes is cut: reset, or closed as if the other side had gone.
"""

from pathlib import Path

import pytest
import trio

from spacedrive_node.tests.harness.faults.failure_points import EXCHANGES, FailurePoint
from spacedrive_node.tests.harness.faults.fault_injector import FaultInjector, open_injected_pair
from spacedrive_node.tests.harness.faults.message_tap import Sighting
from spacedrive_node.tests.harness.faults.tcp_relay import TcpRelay


def cut_at(host: FaultInjector, at: FailurePoint, relays: list[TcpRelay], *, reset: bool) -> list[int]:
    """Cut at that moment of a session, once; the list will hold how many connections each relay cut."""
    cut: list[int] = []

    async def on_sighting(sighting: Sighting) -> None:
        if not cut and sighting[1:] == (at.event, at.name, at.number):
            cut.extend(relay.cut(reset=reset) for relay in relays)

    host.on_sighting = on_sighting
    return cut


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("reset", "swapped"), [(True, False), (False, True)], ids=["reset", "closed, the initiator has dialed"]
)
async def test_the_connection_is_cut_at_every_message(tmp_path: Path, reset: bool, swapped: bool) -> None:
    """One cut in each pairing. `swapped`: the initiator, not the joiner, has dialed the first connection."""
    relays = [TcpRelay(), TcpRelay()]
    async with trio.open_nursery() as nursery:
        ports = [await nursery.start(relay.serve) for relay in relays]
        async with open_injected_pair(tmp_path, [*zip(relays, ports, strict=True)]) as pair:
            roles = pair.swapped() if swapped else pair
            for point in EXCHANGES:
                host = roles.hosts[point.side == "joiner"]
                cut = cut_at(host, point, relays, reset=reset)
                await roles.pair(first=int(point.accepting[:1] == ("joiner",)))
                assert sum(cut), f"nothing was cut: {point}"
        nursery.cancel_scope.cancel()
