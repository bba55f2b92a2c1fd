"""Closes the connections that did not outlive a change of this host's network, instead of waiting for each.

A connection from an address that this host has no more is dead at once; of the others a ping tells. Never
dials. Implements docs/protocol.md, "Interruptions".
"""

from collections.abc import Collection, Iterable
from typing import Any, Final

import trio

from . import ping
from .connections import close_connection, connection_kind, is_alive, local_host_of

PING_TIMEOUT_S: Final = 3.0
_MAX_AT_ONCE: Final = 128


async def close_dead(network: Any, own_addresses: Collection[str]) -> None:
    """Close what is dead of all connections of a host, which has these addresses now.

    What runs over a relay ends with the connection to the relay.
    """
    alive = [one for one in network.get_connections() if is_alive(one) and connection_kind(one) == "direct"]
    left = []
    async with trio.open_nursery() as nursery:
        for connection in alive:
            host = local_host_of(connection.muxed_conn)
            if host is not None and host not in own_addresses:
                nursery.start_soon(close_connection, connection)
            else:
                left.append(connection)
        nursery.start_soon(close_unless_answered, left)


async def close_unless_answered(connections: Iterable[Any]) -> None:
    """Ping each of these, and close it if nothing comes back."""
    limiter = trio.CapacityLimiter(_MAX_AT_ONCE)

    async def check(connection: Any) -> None:
        async with limiter:
            if not await ping.answers(connection, PING_TIMEOUT_S):
                await close_connection(connection)

    async with trio.open_nursery() as nursery:
        for connection in connections:
            nursery.start_soon(check, connection)


def made_before(network: Any, connection: Any) -> list[Any]:
    """Return the older connections of a peer that has just made this one; none if this side has made it.

    A peer that has a connection makes another only from another network, or when its NAT has forgotten the
    first: so the older ones may be dead.
    """

    def is_peers(one: Any) -> bool:
        return is_alive(one) and not one.muxed_conn.is_initiator and connection_kind(one) == "direct"

    if not is_peers(connection):
        return []
    others = network.get_connections(connection.muxed_conn.peer_id)
    return [one for one in others if one is not connection and is_peers(one)]
