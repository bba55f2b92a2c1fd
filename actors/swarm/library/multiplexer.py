"""Corrections of libp2p 0.8.1's stream multiplexing: what connections may make this node keep, one and all,
and how many packets a stream costs.

Each names the defect; tests/limits/test_muxer.py shows it on the library as it is and shows that the
correction removes it. docs/decisions/0004-libp2p-corrections.md tells the whole story.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from weakref import WeakKeyDictionary

import libp2p.protocol_muxer.multiselect_communicator as library_communicator
import libp2p.stream_muxer.muxer_multistream as library_multistream
import trio
from libp2p.custom_types import TProtocol
from libp2p.exceptions import ParseError
from libp2p.io.exceptions import MessageTooLarge
from libp2p.rcmgr import Direction
from libp2p.stream_muxer.yamux.yamux import (
    FLAG_ACK,
    FLAG_SYN,
    PROTOCOL_ID,
    TYPE_WINDOW_UPDATE,
    Yamux,
    YamuxStream,
)
from libp2p.utils.varint import read_varint_prefixed_bytes_limited

MOST_UNREAD = 4 * 1024 * 1024
"""Bytes that a connection may have sent and nobody here has read. An honest peer sends at most 256 KiB to a
stream that is not read: that is sixteen of them, and all that is spoken here is read as it comes."""
MOST_UNREAD_IN_ALL = 64 * 1024 * 1024
"""The same for all connections of this process together."""
MOST_STREAMS = 256
"""Streams that a peer may have open on one connection; no multiplexer's other end opens more by itself."""
MOST_REMEMBERED = 1024
"""Streams of one connection that the library has not forgotten yet; closed ones stay up to a minute."""
MOST_NEGOTIATION = 16 * 1024
"""Bytes of one message of multistream-select."""


class BoundedYamux(Yamux):  # type: ignore[misc]
    """Defect: what a peer sends beyond the receive window is kept, with a warning (yamux.py:1513), also for
    streams that have been reset: one connection fills the memory. Here it is closed; and when all together
    hold too much, the one that holds most.

    Defect: every frame is a packet of its own, sealed and sent alone: a request with its answer are sixteen.
    Here a stream's beginning goes with the next frame, and so does what is written `together`.
    """

    _arriving = 0
    _reading = False
    _waiting = b""
    """Frames that go with the next one, or before anybody waits for the peer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.together: set[int] = set()
        """Streams whose frames wait for the last of them."""

    @property
    def unread(self) -> int:
        """Bytes that were sent, or announced by a frame that is arriving, and that nobody here has read."""
        if self.event_shutting_down.is_set():
            return 0
        # Between its arrival and its stream's buffer a frame may wait for the lock.
        waiting = self._reading or self.streams_lock.locked()
        return sum(map(len, self.stream_buffers.values())) + (self._arriving if waiting else 0)

    def drop(self) -> None:
        """Close this connection from outside, whatever its peer does: the bytes are gone at once."""
        self.event_shutting_down.set()
        for buffer in self.stream_buffers.values():
            buffer.clear()
        with suppress(AttributeError, RuntimeError):  # it has not begun, or has just ended
            self._nursery.start_soon(self._cleanup_on_error)

    async def _read_data_body(self, length: int) -> bytes:
        self._arriving, self._reading = length, True
        try:
            worst = _too_much(self)
            if worst is self or self.unread > MOST_UNREAD or len(self.streams) > MOST_REMEMBERED:
                # The one exception upon which the library closes the connection, whatever the frame was.
                raise trio.TooSlowError
            if worst is not None:
                worst.drop()
            return bytes(await super()._read_data_body(length))
        finally:
            self._reading = False

    async def _write_frame(self, data: bytes) -> None:
        kind, flags, stream = data[1], data[3], int.from_bytes(data[4:8], "big")
        waiting, self._waiting = self._waiting + data, b""
        if stream in self.together or (kind == TYPE_WINDOW_UPDATE and flags in (FLAG_SYN, FLAG_ACK)):
            self._waiting = waiting
            await trio.lowlevel.checkpoint()
        else:
            await super()._write_frame(waiting)

    async def flush(self) -> None:
        """Send what waits."""
        waiting, self._waiting = self._waiting, b""
        if waiting:
            await super()._write_frame(waiting)

    async def read_stream(self, stream_id: int, n: int = -1) -> bytes:
        """Read from a stream; before it is waited for, the peer is sent what it may be waiting for."""
        if not self.stream_buffers.get(stream_id):
            await self.flush()
        return bytes(await super().read_stream(stream_id, n))


@asynccontextmanager
async def together(stream: Any) -> AsyncIterator[None]:
    """Send what is written to a stream inside as one packet, at the end or when an answer is waited for."""
    muxed = getattr(stream, "muxed_stream", None)
    if muxed is None or not isinstance(muxed.conn, BoundedYamux):
        yield
        return
    connection, number = muxed.conn, muxed.stream_id
    connection.together.add(number)
    try:
        yield
    finally:
        connection.together.discard(number)
    await connection.flush()


async def give_credit(stream: YamuxStream, *, bytes_read: int = 0) -> None:
    """Defect: each read of some bytes is answered with a window update, a packet of its own. Here credit is
    given as the specification suggests: when half of the window has been used up.
    """
    stream._pending_recv_release += bytes_read
    if stream._pending_recv_release >= stream._grow_threshold():
        await _give_credit(stream)


_give_credit = YamuxStream._auto_tune_and_send_window_update


_unread: WeakKeyDictionary[BoundedYamux, int] = WeakKeyDictionary()
"""What each connection held when its last frame came, or when all were counted last: now it may be less."""


def _too_much(connection: BoundedYamux) -> BoundedYamux | None:
    """Count a connection again; return the one that holds most if all together hold too much."""
    _unread[connection] = connection.unread
    if sum(_unread.values()) > MOST_UNREAD_IN_ALL:
        for other in list(_unread):
            _unread[other] = other.unread
        if sum(_unread.values()) > MOST_UNREAD_IN_ALL:
            return max(_unread, key=lambda one: _unread[one])
    return None


def muxers() -> dict[TProtocol, type[Any]]:
    """Return what is offered. Defect: Mplex, which has no flow control at all, is offered as well."""
    return {TProtocol(PROTOCOL_ID): BoundedYamux}


def has_too_many_streams(stream: Any) -> bool:
    """Defect: a peer may open any number of streams, each of which costs a task and waits for seconds."""
    connection = stream.swarm_conn
    if connection is None or len(connection.streams) <= MOST_STREAMS:
        return False
    return sum(other._direction is Direction.INBOUND for other in connection.streams) > MOST_STREAMS


async def _read_delim(reader: Any) -> bytes:
    message: bytes
    try:
        message = await read_varint_prefixed_bytes_limited(reader, MOST_NEGOTIATION)
    except MessageTooLarge:
        raise ParseError("message too large") from None
    if message[-1:] != b"\n":
        raise ParseError("message without an end")
    return message[:-1]


def use_bounds() -> None:
    """Put all of it into the library, which names its own Yamux where it makes one. For the whole process.

    Defect: a message of multistream-select may have any length, before the peer is known too
    (utils/varint.py:153).
    """
    library_multistream.Yamux = BoundedYamux
    YamuxStream._auto_tune_and_send_window_update = give_credit
    library_communicator.read_delim = _read_delim
