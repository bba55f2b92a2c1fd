"""Corrections of libp2p 0.8.1's stream multiplexing: what connections may make this node keep, one and all.

Each names the defect; tests/limits/test_muxer.py shows it on the library as it is and shows that the
correction removes it. docs/decisions/0004-libp2p-corrections.md tells the whole story.
"""

from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

import libp2p.protocol_muxer.multiselect_communicator as library_communicator
import libp2p.stream_muxer.muxer_multistream as library_multistream
import trio
from libp2p.custom_types import TProtocol
from libp2p.exceptions import ParseError
from libp2p.io.exceptions import MessageTooLarge
from libp2p.rcmgr import Direction
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID, Yamux
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
    """

    _arriving = 0
    _reading = False

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
    """Put both into the library, which names its own Yamux where it makes one. For the whole process.

    Defect: a message of multistream-select may have any length, before the peer is known too
    (utils/varint.py:153).
    """
    library_multistream.Yamux = BoundedYamux
    library_communicator.read_delim = _read_delim
