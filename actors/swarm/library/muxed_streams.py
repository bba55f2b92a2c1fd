"""The streams of a connection whose packets this project makes (QUIC, WebRTC), as the library expects them.

As with Yamux, closing a stream ends this side's half, and the other half can still be read. Owns what has
arrived and was not read yet, which the transport's credit bounds; and which streams there are, until both
sides have closed them. How bytes, ends and resets travel is each transport's own. Never touches a packet.
"""

import weakref
from abc import abstractmethod
from collections import deque
from typing import Any, Final, Generic, Protocol, Self, TypeVar

import trio
from libp2p.abc import IMuxedStream
from libp2p.stream_muxer.exceptions import MuxedStreamClosed, MuxedStreamEOF, MuxedStreamReset

MAX_HALF_CLOSED_STREAMS: Final = 64
"""Streams that this side has closed and the peer has not; of more, the oldest is given up."""


class StreamOwner(Protocol):
    """What streams need of their connection."""

    acknowledged: trio.lowlevel.ParkingLot
    """Here writers wait until the peer has taken what they wrote."""

    @property
    def is_closed(self) -> bool:
        """Whether the connection has ended."""

    @property
    def streams(self) -> "StreamTable[Any, Any]":
        """Its streams."""

    def flush_unsent(self) -> None:
        """Send what is held back."""

    def get_remote_address(self) -> tuple[str, int] | None:
        """Return (IP address, port) of the peer."""


class MuxedStream(IMuxedStream):  # type: ignore[misc]
    """A stream; `conn` and `stream_id` are named as Yamux names them."""

    conn: StreamOwner
    max_piece_bytes: int
    """As much is given to the transport at once."""

    def __init__(self, connection: StreamOwner, stream_id: int) -> None:
        self.muxed_conn = connection
        self.conn = connection
        self.stream_id = stream_id
        self._arrived = bytearray()
        self._has_ended = False
        """The peer has closed its half."""
        self._was_reset = False
        """The peer has given up its half."""
        self._is_given_up = False
        """This side has given up both halves."""
        self._has_closed = False
        """This side has closed its half."""
        self._is_unwanted = False
        """The peer does not read what is written."""
        self._is_unread = False
        """Nobody here reads what comes."""
        self._waiting = trio.lowlevel.ParkingLot()

    # What each transport does in its own way

    @property
    @abstractmethod
    def _nothing_goes(self) -> bool:
        """Whether this side's half has ended for both."""

    @property
    @abstractmethod
    def _is_ahead(self) -> bool:
        """Whether a writer has to wait until the peer has taken more."""

    @abstractmethod
    def _send(self, piece: bytes) -> None:
        """Send a piece of what is written."""

    @abstractmethod
    def _send_end(self) -> None:
        """Tell the peer that this half is closed."""

    @abstractmethod
    def _give_credit(self, size: int) -> None:
        """So many bytes were read."""

    # What the connection reports

    @property
    def is_done(self) -> bool:
        """Whether nothing will come and nothing will go."""
        return self._is_given_up or ((self._has_ended or self._was_reset) and self._nothing_goes)

    def give_up(self) -> None:
        """Nobody here reads or writes any more."""
        self._is_given_up = self._was_reset = True
        self._arrived.clear()
        self.wake()

    def wake(self) -> None:
        """Let a reader look again."""
        self._waiting.unpark_all()

    # What the library calls

    async def read(self, n: int | None = None) -> bytes:
        """Return what has arrived, at most `n` bytes. Raises MuxedStreamEOF, MuxedStreamReset."""
        while not self._arrived and n != 0:
            if self._has_ended and not self._was_reset:
                raise MuxedStreamEOF("the peer has closed its half")
            if self._was_reset or self.conn.is_closed:
                raise MuxedStreamReset("the stream was reset")
            self.conn.flush_unsent()
            await self._waiting.park()
        size = len(self._arrived) if n is None or n < 0 else min(n, len(self._arrived))
        data = bytes(self._arrived[:size])
        del self._arrived[:size]
        self._give_credit(size)
        await trio.lowlevel.checkpoint()
        return data

    async def write(self, data: bytes) -> None:
        """Write all of `data`, as fast as the peer takes it. Raises MuxedStreamClosed, MuxedStreamReset."""
        for start in range(0, len(data), self.max_piece_bytes):
            self._check_writable()
            while self._is_ahead:
                self.conn.flush_unsent()
                await self.conn.acknowledged.park()
                self._check_writable()
            self._send(data[start : start + self.max_piece_bytes])
        await trio.lowlevel.checkpoint()

    def _check_writable(self) -> None:
        if self._is_given_up or self.conn.is_closed:
            raise MuxedStreamReset("the stream was reset")
        if self._has_closed or self._is_unwanted:
            raise MuxedStreamClosed("this half is closed")

    async def close_write(self) -> None:
        """Close this side's half. Does nothing if it is closed, or of no use any more."""
        if not (self._has_closed or self._is_given_up or self._is_unwanted or self.conn.is_closed):
            self._send_end()
        self._has_closed = True
        self.conn.streams.half_closed(self)
        await trio.lowlevel.checkpoint()

    async def close(self) -> None:
        """Close this side's half; what the peer still sends can be read."""
        await self.close_write()

    def stop_reading(self) -> None:
        """Count what has come and was not read, and what still comes, as read: nobody here will read it.

        Otherwise it would hold its part of the connection's window as long as that lasts.
        """
        self._is_unread = True
        size = len(self._arrived)
        self._arrived.clear()
        if size and not self.conn.is_closed:
            self._give_credit(size)

    def set_deadline(self, ttl: int) -> None:
        """Callers set their own deadlines."""

    def get_remote_address(self) -> tuple[str, int] | None:
        """Return (IP address, port) of the peer."""
        return self.conn.get_remote_address()

    async def __aenter__(self) -> Self:
        """Return the stream."""
        return self

    async def __aexit__(self, *_error: Any) -> None:
        """Close it."""
        await self.close()


Owner = TypeVar("Owner", bound=StreamOwner)
Stream = TypeVar("Stream", bound=MuxedStream)


class StreamTable(Generic[Owner, Stream]):
    """The open streams of a connection, and those that wait to be accepted."""

    def __init__(self, connection: Owner) -> None:
        self._reference = weakref.ref(connection)
        self._streams: dict[int, Stream] = {}
        self._half_closed: dict[int, Stream] = {}
        self._incoming: deque[Stream] = deque()
        self._accepting = trio.lowlevel.ParkingLot()

    @property
    def _connection(self) -> Owner:
        """Its owner, which is freed without a search for cycles when it has ended."""
        connection = self._reference()
        assert connection is not None
        return connection

    def __len__(self) -> int:
        return len(self._streams)

    @abstractmethod
    def open(self) -> Stream:
        """Return a new stream; the peer learns of it with the first bytes."""

    async def accept(self) -> Stream | None:
        """Return the next stream that the peer has opened, or None when the connection has ended."""
        while not self._incoming:
            if self._connection.is_closed:
                return None
            await self._accepting.park()
        return self._incoming.popleft()

    def _offer(self, stream: Stream) -> None:
        """Keep a stream that the peer has opened, until it is accepted."""
        self._streams[stream.stream_id] = stream
        self._incoming.append(stream)
        self._accepting.unpark()

    def half_closed(self, stream: Stream) -> None:
        """Keep a stream that this side has closed until the peer does; of too many, give up the oldest."""
        if stream.is_done:
            self.forget(stream)
        elif stream.stream_id in self._streams:
            self._half_closed[stream.stream_id] = stream
            if len(self._half_closed) > MAX_HALF_CLOSED_STREAMS:
                self._give_up(next(iter(self._half_closed.values())))

    def _give_up(self, stream: Stream) -> None:
        """Nobody here will read this stream any more."""
        stream.give_up()
        self.forget(stream)

    def forget(self, stream: Stream) -> None:
        """Nothing more comes and nothing more goes on this stream. It can still be read."""
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
