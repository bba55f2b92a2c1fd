"""One stream of a QUIC connection, as the library expects a multiplexed stream (IMuxedStream).

As with Yamux, closing ends this side's half, and the other half can still be read. Owns what has arrived and
was not read yet, which the connection's credit bounds. Never touches a socket: connection.py sends.
"""

from typing import TYPE_CHECKING, Any, Final

import trio
from libp2p.abc import IMuxedStream
from libp2p.stream_muxer.exceptions import MuxedStreamClosed, MuxedStreamEOF, MuxedStreamReset

if TYPE_CHECKING:
    from .connection import QuicConnection

_MAX_UNSENT_BYTES: Final = 256 * 1024
"""What a writer may be ahead of what the peer has acknowledged."""
_PIECE_BYTES: Final = 64 * 1024


class QuicStream(IMuxedStream):  # type: ignore[misc]
    """A stream; `conn` and `stream_id` are named as Yamux names them."""

    def __init__(self, connection: "QuicConnection", stream_id: int) -> None:
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
        self._waiting = trio.lowlevel.ParkingLot()

    @property
    def is_done(self) -> bool:
        """Whether nothing will come and nothing will go."""
        nothing_comes = self._has_ended or self._was_reset
        return self._is_given_up or (nothing_comes and (self._has_closed or self._is_unwanted))

    # What the connection reports

    def receive(self, data: bytes, *, is_last: bool) -> None:
        """Data has arrived, in order."""
        self._arrived += data
        self._has_ended |= is_last
        self._waiting.unpark_all()

    def receive_reset(self) -> None:
        """The peer has given up its half. What has arrived can be read: some peers reset right after it."""
        self._was_reset = True
        self._waiting.unpark_all()

    def give_up(self) -> None:
        """Nobody here reads or writes any more."""
        self._is_given_up = True
        self._arrived.clear()
        self.receive_reset()

    def receive_stop(self) -> None:
        """The peer reads no more: this side's half is of no use."""
        self._is_unwanted = True

    def wake(self) -> None:
        """Let a reader look again: the connection has ended."""
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
        self.conn.give_credit(self.stream_id, size)
        await trio.lowlevel.checkpoint()
        return data

    async def write(self, data: bytes) -> None:
        """Write all of `data`, as fast as the peer takes it. Raises MuxedStreamClosed, MuxedStreamReset."""
        for start in range(0, len(data), _PIECE_BYTES):
            self._check_writable()
            while self.conn.core.unsent(self.stream_id) >= _MAX_UNSENT_BYTES:
                self.conn.flush_unsent()
                await self.conn.acknowledged.park()
                self._check_writable()
            self.conn.send(self.stream_id, data[start : start + _PIECE_BYTES])
        await trio.lowlevel.checkpoint()

    def _check_writable(self) -> None:
        if self._is_given_up or self.conn.is_closed:
            raise MuxedStreamReset("the stream was reset")
        if self._has_closed or self._is_unwanted:
            raise MuxedStreamClosed("this half is closed")

    async def close_write(self) -> None:
        """Close this side's half. Does nothing if it is closed, or of no use any more."""
        if not (self._has_closed or self._is_given_up or self._is_unwanted or self.conn.is_closed):
            self.conn.send(self.stream_id, b"", is_last=True)
        self._has_closed = True
        self.conn.streams.half_closed(self)
        await trio.lowlevel.checkpoint()

    async def close(self) -> None:
        """Close this side's half; what the peer still sends can be read until this is called again."""
        if self._has_closed and self.is_done:
            self.conn.streams.finish(self)
        await self.close_write()

    async def reset(self) -> None:
        """Give up both halves, and tell the peer."""
        self.conn.streams.abandon(self)
        self.give_up()
        await trio.lowlevel.checkpoint()

    def set_deadline(self, ttl: int) -> None:
        """Callers set their own deadlines."""

    def get_remote_address(self) -> tuple[str, int] | None:
        """Return (IP address, port) of the peer."""
        return self.conn.get_remote_address()

    async def __aenter__(self) -> "QuicStream":
        """Return the stream."""
        return self

    async def __aexit__(self, *_error: Any) -> None:
        """Close it."""
        await self.close()
