"""Closes the connections that did not outlive a change of this host's network, instead of waiting for each.

A connection from an address that this host has no more is dead at once; of the others a ping tells. Never
dials. Implements docs/protocol.md, "Interruptions".
"""

from collections.abc import Collection, Iterable
from typing import Any, Final

import trio

from . import ping
from .connections import close_connection, connection_kind, is_alive, local_host_of

PING_TIMEOUT_S: Final = 1.5
"""After a change of network: who is closed by mistake is dialled again, who is dead holds up a pairing."""
SUPERSEDED_TIMEOUT_S: Final = 1.0
"""For a connection in whose place there is another one."""
MAX_SUPERSEDED: Final = 8
"""Older connections of one peer that are asked at once, the newest of them; an honest peer has one or two."""
_MAX_AT_ONCE: Final = 128


async def close_vanished(network: Any, own_addresses: Collection[str]) -> None:
    """Close the connections of a host that are not from one of these addresses, all that it has now."""
    async with trio.open_nursery() as nursery:
        for connection in _direct(network):
            host = local_host_of(connection.muxed_conn)
            if host is not None and host not in own_addresses:
                nursery.start_soon(close_connection, connection)


async def close_silent(network: Any) -> None:
    """Ping all peers of a host, and close what does not answer.

    What runs over a relay ends with the connection to the relay.
    """
    await close_unless_answered(_direct(network), PING_TIMEOUT_S)


async def close_unless_answered(connections: Iterable[Any], timeout_s: float) -> None:
    """Ping each of these, and close it if nothing comes back in time."""
    limiter = trio.CapacityLimiter(_MAX_AT_ONCE)

    async def check(connection: Any) -> None:
        async with limiter:
            if not await ping.answers(connection, timeout_s):
                await close_connection(connection)

    async with trio.open_nursery() as nursery:
        for connection in connections:
            nursery.start_soon(check, connection)


def made_before(network: Any, connection: Any) -> list[Any]:
    """Return the older connections of a peer that has just made this one; none if this side has made it.

    A peer that has a connection makes another only from another network, or when its NAT has forgotten the
    first: so the older ones may be dead, whoever made them. A relayed one that gives way to a direct one has
    its end elsewhere (punch/upgrade.py).
    """
    if connection.muxed_conn.is_initiator or not is_alive(connection):
        return []
    kinds = ("direct", "relayed") if connection_kind(connection) == "relayed" else ("direct",)
    others = network.get_connections(connection.muxed_conn.peer_id)
    return [
        one for one in others if one is not connection and is_alive(one) and connection_kind(one) in kinds
    ]


class SupersededConnections:
    """Closes the older connections of peers that connect once more, unless they answer.

    One question at a time for each peer, which takes a second. Otherwise whoever connects again and again
    would have this side ask as many connections with each new one as it has made before.
    """

    def __init__(self, network: Any) -> None:
        self._network = network
        self._newest: dict[Any, Any] = {}
        """By peer id of those that are asked: what has come meanwhile, or what the question is about."""

    async def question(self, connection: Any) -> None:
        """There is a new connection, which the peer may have made because the others are dead."""
        peer = connection.muxed_conn.peer_id
        is_asking = peer in self._newest
        self._newest[peer] = connection
        if is_asking:
            return
        try:
            asked = None
            while (newest := self._newest[peer]) is not asked:
                asked = newest
                ends_at = trio.current_time() + SUPERSEDED_TIMEOUT_S
                older = made_before(self._network, newest)[-MAX_SUPERSEDED:]
                await close_unless_answered(older, SUPERSEDED_TIMEOUT_S)
                await trio.sleep_until(ends_at)
        finally:
            del self._newest[peer]


def _direct(network: Any) -> list[Any]:
    return [one for one in network.get_connections() if is_alive(one) and connection_kind(one) == "direct"]
