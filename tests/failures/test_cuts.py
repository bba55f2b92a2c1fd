"""The connection lost at every message of a pairing and dialed again: both devices are paired, once.

Each node is reached through a relay. When a message is about to leave a session, or has just reached one,
every connection of both nodes is cut: reset, or closed as if the other side had gone.
"""

from pathlib import Path

import pytest
import trio

from spacedrive_node.tests.harness.faults.failure_points import EXCHANGES, Moment
from spacedrive_node.tests.harness.faults.fault_injector import Striking, two_struck
from spacedrive_node.tests.harness.faults.message_tap import Sight
from spacedrive_node.tests.harness.faults.tcp_relay import Relay


def cut_at(host: Striking, at: Moment, relays: list[Relay], *, reset: bool) -> list[int]:
    """Cut at that moment of a session, once; the list will hold how many connections each relay cut."""
    cut: list[int] = []

    async def watch(sight: Sight) -> None:
        if not cut and sight[1:] == (at.event, at.name, at.number):
            cut.extend(relay.cut(reset=reset) for relay in relays)

    host.watch = watch
    return cut


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("reset", "turned"), [(True, False), (False, True)], ids=["reset", "closed, the initiator has dialed"]
)
async def test_the_connection_is_cut_at_every_message(tmp_path: Path, reset: bool, turned: bool) -> None:
    """One cut in each pairing. `turned`: the initiator, not the joiner, has dialed the first connection."""
    relays = [Relay(), Relay()]
    async with trio.open_nursery() as nursery:
        ports = [await nursery.start(relay.serve) for relay in relays]
        async with two_struck(tmp_path, [*zip(relays, ports, strict=True)]) as two:
            roles = two.turned() if turned else two
            for moment in EXCHANGES:
                host = roles.hosts[moment.side == "joiner"]
                cut = cut_at(host, moment, relays, reset=reset)
                await roles.pair(first=int(moment.accepting[:1] == ("joiner",)))
                assert sum(cut), f"nothing was cut: {moment}"
        nursery.cancel_scope.cancel()
