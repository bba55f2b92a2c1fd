"""The streams of one QUIC connection: opened here or by the peer, until both sides have closed them.

Owns which streams of the peer are new, and what it is told of those that nobody here reads. The bytes of a
stream are stream.py's, its packets bounded_quic.py's.
"""

from typing import TYPE_CHECKING

from ..library import muxed_streams
from .bounded_quic import MAX_WAITING_STREAMS
from .stream import QuicStream
from .wire import QuicError

if TYPE_CHECKING:
    from .connection import QuicConnection


class StreamTable(muxed_streams.StreamTable["QuicConnection", QuicStream]):
    """The open streams of a connection."""

    def __init__(self, connection: "QuicConnection") -> None:
        super().__init__(connection)
        self._core = connection.core

    def open(self) -> QuicStream:
        """Return a new stream; the peer learns of it with the first bytes. Raises QuicError: many wait."""
        if self._core.waiting_streams >= MAX_WAITING_STREAMS:
            raise QuicError("the peer lets no stream be opened")
        stream_id = self._core.get_next_available_stream_id()
        self._core.send_stream_data(stream_id, b"")
        stream = self._streams[stream_id] = QuicStream(self._connection, stream_id)
        return stream

    def receive_data(self, stream_id: int, data: bytes, *, is_last: bool) -> None:
        """Stream data has arrived, in order."""
        stream = self._streams.get(stream_id)
        if stream is None and self._core.is_new_stream_of_peer(stream_id):
            stream = QuicStream(self._connection, stream_id)
            self._offer(stream)
        if stream is None:  # given up here, and the peer does not know it yet
            self._core.stop_reading(stream_id)
            return
        stream.receive(data, is_last=is_last)
        if stream.is_done:
            self.forget(stream)

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

    def _give_up(self, stream: QuicStream) -> None:
        super()._give_up(stream)
        self._core.stop_reading(stream.stream_id)
