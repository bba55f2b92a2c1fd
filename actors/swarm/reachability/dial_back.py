"""Dials back, for the AutoNAT server: from ports on which this node does not listen, as another peer.

A dial from the listening port would come through a hole that the client's own packets have made, and one by
this node's peer id would be taken for a connection like the one that the client has. So a second host without
listeners dials, with a key of its own that means nothing. It is made for the first dial. Owns that host.
Never keeps a connection. Implements docs/protocol.md, "Reachability".
"""

import os
from collections.abc import Collection
from typing import Any, Final

import trio
import varint
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID

from ....messages.types import Transport
from ..dial.addresses import Endpoint
from ..library import streams
from ..library.connections import close_connection
from ..library.host_factory import new_host
from ..library.host_lifecycle import run_host
from ..library.tcp_sockets import with_zone
from .autonat_messages import (
    DIAL_BACK_PROTOCOL,
    MAX_MESSAGE_BYTES,
    AutonatMessageError,
    DialStatus,
    decode_dial_back_response,
    encode_dial_back,
)

DIAL_TIMEOUT_S: Final = 8.0
NONCE_TIMEOUT_S: Final = 5.0
_MAX_CONNECTIONS: Final = 32


class DialBack:
    """Dials for others. The second host runs in `nursery`, from the first dial on."""

    def __init__(self, nursery: trio.Nursery, transports: Collection[Transport]) -> None:
        self._nursery = nursery
        self._quic = "quic" in transports
        self._network: Any | None = None
        self._starting = trio.Lock()

    async def dial(self, endpoint: Endpoint, peer: bytes, nonce: int) -> DialStatus:
        """Connect with `peer` at an IP address, say the nonce there, and close; return what came of it."""
        network = await self._started()
        connection: Any | None = None
        with trio.move_on_after(DIAL_TIMEOUT_S):
            try:
                connection = await network.dial_addr(with_zone(f"{endpoint}/p2p/{ID(peer)}", ""), ID(peer))
            except Exception:  # the library raises many types; all mean: not by this address
                return DialStatus.DIAL_ERROR
        if connection is None:
            return DialStatus.DIAL_ERROR
        try:
            with trio.move_on_after(NONCE_TIMEOUT_S):
                return await _say(connection, nonce)
            return DialStatus.DIAL_BACK_ERROR
        finally:
            await close_connection(connection)

    async def _started(self) -> Any:
        async with self._starting:
            if self._network is None:
                self._network = await self._nursery.start(self._run)
            return self._network

    async def _run(self, task_status: trio.TaskStatus[Any]) -> None:
        seed = os.urandom(32)
        keys = create_new_key_pair(seed)
        more = []
        if self._quic:
            from ..quic.transport import QuicTransport  # imported only where QUIC is used

            more.append(QuicTransport(keys, seed))
        host = new_host(keys, _MAX_CONNECTIONS, list, more)

        async def identify_nobody(_peer_id: Any, *, reason: str) -> None:
            return

        host._identify_peer = identify_nobody
        async with run_host(host):
            task_status.started(host.get_network())
            await trio.sleep_forever()


async def _say(connection: Any, nonce: int) -> DialStatus:
    message = encode_dial_back(nonce)
    try:
        async with streams.open_stream(connection, DIAL_BACK_PROTOCOL) as stream:
            await streams.write(stream, varint.encode(len(message)) + message)
            answer = await streams.read_varint_message(stream, MAX_MESSAGE_BYTES)
            return DialStatus.OK if decode_dial_back_response(answer) else DialStatus.DIAL_BACK_ERROR
    except (streams.StreamError, AutonatMessageError):
        return DialStatus.DIAL_BACK_ERROR
