"""A bound on the connections that this side has dialled: whichever was used longest ago makes room.

Implements docs/protocol.md, "Limits" (connections at once). Those that peers have made are
connection_limits.py's. Never closes one with an open stream, one that is kept, or one of a pairing.
"""

from collections.abc import Callable
from typing import Any, Final
from weakref import WeakKeyDictionary

import trio

from .connection_limits import most_connections
from .connections import give_way
from .streams import used_at

PAIRING_S: Final = 30.0
"""So long after an exchange the connection of a pairing is not idle: its devices are heard of every 8 s."""


def limit_dialled_connections(network: Any, keeps: Callable[[bytes], bool], pairing_protocol: str) -> None:
    """Close idle connections of this side's before it dials, so that an eighth of all is enough for it.

    `keeps` returns whether the connection with a peer has to stay though nothing is said on it. A peer
    that is frozen holds a dial up by the 0.4 s that closing may take (connections.py).

    Defect (0.8.1, network/swarm.py:1089): a dial fails where as many connections are open as may be, and
    what this side has dialled stays for ever. A node in a large DHT dials some dozen servers at each lookup:
    after ten of them it reaches nobody any more, and nobody new reaches it.
    Tests: tests/swarm/test_dialled_limits.py; tests/limits/test_swarm.py,
    test_lookups_leave_room_for_a_pairing.
    """
    most = max(1, most_connections(network) // 8)
    dial = network.dial_addr
    dialled_at: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
    under_way = 0

    def last_used_at(connection: Any) -> float:
        return max(used_at(connection).values(), default=dialled_at[connection])

    def is_idle(connection: Any, now: float) -> bool:
        paired_at = used_at(connection).get(pairing_protocol, now - PAIRING_S)
        is_needed = connection.streams or keeps(connection.muxed_conn.peer_id.to_bytes())
        return not is_needed and now - paired_at >= PAIRING_S

    async def make_room() -> None:
        dialled = [one for one in network.get_connections() if one in dialled_at and not one.is_closed]
        too_many = len(dialled) + under_way + 1 - most
        if too_many <= 0:
            return
        now = trio.current_time()
        idle = sorted((one for one in dialled if is_idle(one, now)), key=last_used_at)
        async with trio.open_nursery() as nursery:
            for one in idle[:too_many]:
                network.remove_conn(one)  # at once: until it is closed its place would count as taken
                nursery.start_soon(give_way, one)

    async def dial_with_room(*arguments: Any) -> Any:
        nonlocal under_way
        await make_room()
        under_way += 1
        try:
            connection = await dial(*arguments)
        finally:
            under_way -= 1
        dialled_at[connection] = trio.current_time()
        return connection

    network.dial_addr = dial_with_room
