"""A bound on the connections that this side has dialled: whichever was used longest ago makes room.

Implements docs/protocol.md, "Limits" (connections at once). Those that peers have made are
connection_limits.py's. Never closes one on which this side has a stream, one that is kept, or one of a
pairing.
"""

from collections.abc import Callable
from typing import Any, Final
from weakref import WeakKeyDictionary

import trio
from libp2p.rcmgr import Direction

from .connection_limits import most_connections
from .connections import give_way
from .streams import used_at

PAIRING_S: Final = 30.0
"""So long after an exchange the connection of a pairing is not idle: its devices are heard of every 8 s."""


def limit_dialled_connections(network: Any, keeps: Callable[[bytes], bool], pairing_protocol: str) -> None:
    """Close idle connections of this side's when it has dialled, so that an eighth of all is enough for it.

    `keeps` returns whether the connection with a peer has to stay though nothing is said on it. Of those that
    this side does not use, one on which the other side has left a stream open goes last: it costs the other
    side nothing to do that. No dial waits until others are closed, and one that fails costs none.

    Defect (0.8.1, network/swarm.py:1089): a dial fails where as many connections are open as may be, and
    what this side has dialled stays for ever. A node in a large DHT dials some dozen servers at each lookup:
    after ten of them it reaches nobody any more, and nobody new reaches it.
    Tests: tests/swarm/test_dialled_limits.py; tests/limits/test_swarm.py,
    test_lookups_leave_room_for_a_pairing.
    """
    most = max(1, most_connections(network) // 8)
    dial = network.dial_addr
    dialled_at: WeakKeyDictionary[Any, float] = WeakKeyDictionary()

    def last_used_at(connection: Any) -> float:
        return max(used_at(connection).values(), default=dialled_at[connection])

    def is_needed(connection: Any, now: float) -> bool:
        paired_at = used_at(connection).get(pairing_protocol, now - PAIRING_S)
        uses_it = any(stream._direction is not Direction.INBOUND for stream in connection.streams)
        return uses_it or now - paired_at < PAIRING_S or keeps(connection.muxed_conn.peer_id.to_bytes())

    def make_room(newcomer: Any) -> None:
        others = [
            one
            for one in network.get_connections()
            if one in dialled_at and one is not newcomer and not one.is_closed
        ]
        too_many = max(len(others) + 1 - most, 0)
        now = trio.current_time()
        not_needed = [one for one in others if not is_needed(one, now)] if too_many else []
        not_needed.sort(key=lambda one: (bool(one.streams), last_used_at(one)))
        for one in not_needed[:too_many]:
            network.remove_conn(one)  # at once: until it is closed its place would count as taken
            network.background_nursery.start_soon(give_way, one)

    async def dial_with_room(*arguments: Any) -> Any:
        connection = await dial(*arguments)
        dialled_at[connection] = trio.current_time()
        make_room(connection)
        return connection

    network.dial_addr = dial_with_room
