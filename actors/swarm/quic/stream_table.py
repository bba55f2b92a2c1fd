"""The streams of one connection: opened here or by the peer, until both sides have closed them.

Owns which streams there are, which of them wait to be accepted, and when a stream that the peer never closes
is given up. The bytes of a stream are stream.py's, its packets bounded_quic.py's.
"""

import weakref
from collections import deque
from typing import TYPE_CHECKING, Final

import trio

from .stream import QuicStream

if TYPE_CHECKING:
    from .connection import QuicConnection

MAX_HALF_CLOSED_STREAMS: Final = 64
"""Streams that this side has closed and the peer has not; of more, the oldest is given up."""


class StreamTable:
    """The open streams of a connection."""

    def __init__(self, connection: "QuicConnection") -> None:
        self._reference = weakref.ref(connection)
        self._core = connection.core
        self._streams: dict[int, QuicStream] = {}
        self._half_closed: dict[int, QuicStream] = {}
        self._incoming: deque[QuicStream] = deque()
        self._accepting = trio.lowlevel.ParkingLot()

    @property
    def _connection(self) -> "QuicConnection":
        """Its owner, which is freed without a search for cycles when it has ended."""
        connection = self._reference()
        assert connection is not None
        return connection

    def __len__(self) -> int:
        return len(self._streams)

    def open(self) -> QuicStream:
        """Return a new stream; the peer learns of it with the first bytes."""
        stream_id = self._core.get_next_available_stream_id()
        self._core.send_stream_data(stream_id, b"")
        stream = self._streams[stream_id] = QuicStream(self._connection, stream_id)
        return stream

    async def accept(self) -> QuicStream | None:
        """Return the next stream that the peer has opened, or None when the connection has ended."""
        while not self._incoming:
            if self._connection.is_closed:
                return None
            await self._accepting.park()
        return self._incoming.popleft()

    def receive_data(self, stream_id: int, data: bytes, *, is_last: bool) -> None:
        """Stream data has arrived, in order."""
        stream = self._streams.get(stream_id) or self._add_of_peer(stream_id)
        if stream is None:  # given up here, and the peer does not know it yet
            self._core.stop_reading(stream_id)
            return
        stream.receive(data, is_last=is_last)
        if stream.is_done:
            self.forget(stream)

    def _add_of_peer(self, stream_id: int) -> QuicStream | None:
        """Return a stream that the peer opens with this packet, or None if it is an old one."""
        if not self._core.is_new_stream_of_peer(stream_id):
            return None
        stream = self._streams[stream_id] = QuicStream(self._connection, stream_id)
        self._incoming.append(stream)
        self._accepting.unpark()
        return stream

    def receive_reset(self, stream_id: int) -> None:
        """The peer has given up its half."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.receive_reset()
            if stream.is_done:
                self.forget(stream)

    def receive_stop(self, stream_id: int) -> None:
        """The peer reads no more."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.receive_stop()
            if stream.is_done:
                self.forget(stream)

    def half_closed(self, stream: QuicStream) -> None:
        """Keep a stream that this side has closed until the peer does; of too many, give up the oldest."""
        if stream.is_done:
            self.forget(stream)
        elif stream.stream_id in self._streams:
            self._half_closed[stream.stream_id] = stream
            if len(self._half_closed) > MAX_HALF_CLOSED_STREAMS:
                oldest = next(iter(self._half_closed.values()))
                self.forget(oldest)
                self._core.stop_reading(oldest.stream_id)
                oldest.give_up()

    def abandon(self, stream: QuicStream) -> None:
        """This side neither sends nor reads this stream any more: tell the peer, unless both had ended."""
        was_open = not (self._connection.is_closed or stream.is_done)
        self.finish(stream)
        if was_open:
            self._core.give_up(stream.stream_id)
            self._connection.flush()

    def finish(self, stream: QuicStream) -> None:
        """The application will not read what is left of a stream that has ended on both sides."""
        self.forget(stream)
        self._core.credit.forget(stream.stream_id)

    def forget(self, stream: QuicStream) -> None:
        """Nothing more comes and nothing more goes on this stream."""
        self._streams.pop(stream.stream_id, None)
        self._half_closed.pop(stream.stream_id, None)

    def end(self) -> None:
        """The connection has ended: what has arrived can be read, and nobody waits any more."""
        for stream in (*self._streams.values(), *self._incoming):
            stream.wake()
        self._streams.clear()
        self._half_closed.clear()
        self._incoming.clear()
        self._accepting.unpark_all()
