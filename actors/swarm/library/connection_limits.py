"""Bounds on inbound connections: for each source while they are set up, and in all once they stand.

Implements docs/protocol.md, "Limits" (connections at once). What one connection may hold is multiplexer.py's.
"""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import trio
from libp2p.abc import IMuxedConn
from libp2p.network.config import ConnectionConfig
from libp2p.rcmgr import Direction

from ..dial import addresses
from .block_shares import BlockShares
from .connections import address_block_of, close_connection, close_quietly, transport_of
from .crowds import place
from .inbound_roles import InboundRoles

UPGRADE_TIMEOUT_S = 5.0
"""For a handshake, and for it to begin where a block makes too many."""


class Gate(Protocol):
    """Decides whether a connection from a host may come in, and whose connections go first."""

    def allows(self, host: str) -> bool:
        """Return whether connections from `host` (IP address as text) are accepted."""
        ...

    def is_slow(self, address_block: str | None) -> bool:
        """Return whether connections from an address block make room before all others."""
        ...

    def pause_before_handshake(self, source: str) -> float:
        """Count a handshake with a source; return how many seconds it has to wait, at most UPGRADE_TIMEOUT_S.

        More: it has to wait too long, and is not counted.
        """
        ...


def connection_config(max_connections: int) -> ConnectionConfig:
    """Return the library's limits. Its upgrade time-out is shortened: idle sockets hold slots meanwhile.

    It lets twice as many connections stand, for it refuses the newcomer, while here another makes room; and
    a newcomer is there before another has gone.
    """
    return ConnectionConfig(
        max_connections=2 * max_connections,
        min_connections=0,
        low_watermark=0,
        high_watermark=2 * max_connections,
        inbound_upgrade_timeout=UPGRADE_TIMEOUT_S,
    )


def most_connections(network: Any) -> int:
    """Return how many connections a host with such limits may have."""
    return int(network.connection_config.max_connections) // 2


def limit_inbound_connections(
    network: Any,
    gate: Gate,
    observe: Callable[[str, float, bool], None] = lambda _t, _s, _ok: None,
    roles: InboundRoles | None = None,
) -> None:
    """Replace the library's handling of inbound connections. `roles` says where this side is the client.

    `observe` gets (transport, seconds, success) of each upgrade, which is Noise and the multiplexer. A
    connection of QUIC comes with its handshake done, and tells when that began.

    Defect (0.8.1, network/swarm.py:2044, 2060): the slot of an inbound connection is never given back, so a
    host refuses everybody after some hundred connections in its life. Here a slot is held as long as the
    connection lives.
    Defect (0.8.1): idle raw sockets take all slots until their upgrade times out. Here there are twice as
    many slots as connections. While they upgrade, one source may hold a quarter of `max_connections`: an
    address, of IPv6 a block, for there one host has addresses without number. All together may hold as many
    as `max_connections`; then the oldest of the address block that holds most makes room.
    A handshake costs this side milliseconds, and its sender a packet that it can repeat. So those of one
    source begin at a pace, and one that would wait too long is closed.
    Defect (0.8.1, network/swarm.py:1089, 2090, 2648): when as many peers are connected as may be, nobody else
    gets in and no dial gets out, so that strangers of one address keep everybody out. Here an eighth is left
    for dials, and a peer that has proved its id takes the place of another.
    Tests: tests/swarm/test_connection_limits.py; tests/limits/test_swarm.py,
    test_strangers_who_take_all_connections_keep_nobody_out.
    """
    upgrading: Counter[str] = Counter()
    roles = roles or InboundRoles()
    max_connections = most_connections(network)
    upgrades: BlockShares[trio.CancelScope] = BlockShares(max_connections, max_connections)
    came: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
    numbers = itertools.count(1)
    max_upgrading_per_source = max(1, max_connections // 4)
    max_inbound = max_connections - max_connections // 8
    network._inbound_limiter.total_tokens = 2 * max_connections

    async def upgrade(socket_stream: Any, address: Any) -> Any | None:
        """Return the multiplexed connection, or None if the upgrade failed or was not allowed."""
        remote = socket_stream.get_remote_address()
        host = "" if remote is None else str(remote[0])
        source = addresses.source_of(host)
        is_done = isinstance(socket_stream, IMuxedConn)  # QUIC has its own limits before the handshake
        if (
            not gate.allows(host)
            or upgrading[source] >= max_upgrading_per_source
            or (pause := 0.0 if is_done else gate.pause_before_handshake(source)) > UPGRADE_TIMEOUT_S
        ):
            await close_quietly(socket_stream.close)
            return None
        upgrading[source] += 1
        began = getattr(socket_stream, "began", trio.current_time())
        muxed: Any | None = None
        try:
            with place(upgrades, addresses.block_of(host)):
                if pause > 0:
                    await trio.sleep(pause)
                if is_done:
                    await network.add_conn(socket_stream, direction="inbound")
                    muxed = socket_stream
                else:
                    proved = await roles.upgrade(network, socket_stream, address)
                    if is_named(socket_stream, proved):
                        muxed = proved
                    else:
                        await close_quietly(proved.close)
        except Exception:  # a failed upgrade concerns this connection alone
            muxed = None
        finally:
            upgrading[source] -= 1
            if not upgrading[source]:
                del upgrading[source]
            observe(transport_of(socket_stream), trio.current_time() - began, muxed is not None)
        if muxed is None:
            await close_quietly(socket_stream.close)
        return muxed

    async def make_room(newcomer: Any) -> None:
        """Close one of the other inbound connections if the newcomer is one too many."""
        others = [
            one
            for one in network.get_connections()
            if one._direction is Direction.INBOUND and one is not newcomer and not one.is_closed
        ]
        if len(others) < max_inbound:
            return
        others.sort(key=lambda one: came.get(one, math.inf))
        evicted = others[
            choose_evicted(
                [(address_block_of(one.muxed_conn), bool(one.streams)) for one in others], gate.is_slow
            )
        ]
        network.remove_conn(evicted)  # at once: until it is closed its place would count as taken
        await close_connection(evicted)

    async def handle(socket_stream: Any, address: Any, _failure: Any) -> None:
        """Serve one accepted socket; the library holds its slot until this returns."""
        muxed = await upgrade(socket_stream, address)
        if muxed is None:
            return
        connection = next((c for c in network.get_connections() if c.muxed_conn is muxed), None)
        if connection is not None:
            came[connection] = next(numbers)  # the library notes the time, of a clock that may be set back
            await make_room(connection)
            await connection.event_closed.wait()

    network._do_handle_inbound_connection = handle


async def serve_inbound(network: Any, stream: Any, address: Any) -> None:
    """Let a connection in that came through a relay, as one that a listener has accepted; wait for its end.

    `stream` is what a listener's would be, with the binary peer id as `named` that the relay has named.
    """
    await network._do_handle_inbound_connection(stream, address, None)


def is_named(stream: Any, muxed: Any) -> bool:
    """Return whether the peer has proved to be the one that a relay has named, if one has."""
    named: bytes | None = getattr(stream, "named", None)
    return named is None or muxed.peer_id.to_bytes() == named


def choose_evicted(
    connections: Sequence[tuple[str | None, bool]],
    is_slow: Callable[[str | None], bool] = lambda _block: False,
) -> int:
    """Return the index of the connection to close, of (address block, has streams) each, oldest first.

    It is one of a slow block if there is one; otherwise, or among slow ones, of the block that has most of
    them: without streams if there is one, and of these the oldest.
    """
    count_of_block = Counter(block for block, _ in connections)
    slow = {block for block in count_of_block if is_slow(block)}
    ranks = [(block in slow, count_of_block[block], not has_streams) for block, has_streams in connections]
    return ranks.index(max(ranks))
