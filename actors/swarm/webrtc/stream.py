"""One stream of a WebRTC connection, on a data channel of its own, as the library expects a stream.

As with Yamux, closing ends this side's half, and the other half can still be read. Owns what has arrived and
was not read yet, which the window of the connection bounds. Never touches a socket: connection.py sends.
"""

from typing import TYPE_CHECKING, Any, Final

import trio
from libp2p.abc import IMuxedStream
from libp2p.stream_muxer.exceptions import MuxedStreamClosed, MuxedStreamEOF, MuxedStreamReset

from . import frames

if TYPE_CHECKING:
    from .connection import WebRtcConnection

_MAX_QUEUED_BYTES: Final = 64 * 1024
"""What the writers of a connection may be ahead of what was sent."""


class WebRtcStream(IMuxedStream):  # type: ignore[misc]
    """A stream; `conn` and `stream_id` are named as Yamux names them."""

    def __init__(self, connection: "WebRtcConnection", stream_id: int) -> None:
        self.muxed_conn = connection
        self.conn = connection
        self.stream_id = stream_id
        self._raw = bytearray()
        """The beginning of a message."""
        self._arrived = bytearray()
        self._has_ended = False
        """The peer has closed its half."""
        self._was_reset = False
        """The peer has given up its half."""
        self._is_given_up = False
        """This side has given up both halves."""
        self._has_closed = False
        """This side has closed its half."""
        self._close_has_arrived = False
        """The peer has acknowledged that."""
        self._is_unwanted = False
        """The peer does not read what is written."""
        self._waiting = trio.lowlevel.ParkingLot()

    @property
    def is_done(self) -> bool:
        """Whether nothing will come and nothing will go."""
        nothing_comes = self._has_ended or self._was_reset
        nothing_goes = self._close_has_arrived or self._is_unwanted
        return self._is_given_up or (nothing_comes and nothing_goes)

    @property
    def held(self) -> int:
        """Bytes of the connection's window that nobody has read."""
        return len(self._raw) + len(self._arrived)

    # What the connection reports

    def receive(self, data: bytes) -> None:
        """Data has arrived. Raises MalformedError."""
        if self._is_given_up:
            self.conn.give_back(len(data))
            return
        self._raw += data
        for size, payload, flag in frames.decode(self._raw):
            ignored = size - len(payload)
            if self._has_ended or self._was_reset:
                ignored = size
            else:
                self._arrived += payload
            self.conn.give_back(ignored)
            if flag is not None:
                self._receive_flag(flag)
        self._waiting.unpark_all()

    def _receive_flag(self, flag: int) -> None:
        if flag == frames.FIN:
            self._has_ended = True
            self.conn.send_frame(self.stream_id, frames.encode(flag=frames.FIN_ACK))
        elif flag == frames.FIN_ACK:
            self._close_has_arrived |= self._has_closed
        elif flag == frames.STOP_SENDING:
            self._is_unwanted = True
        elif flag == frames.RESET:
            self._was_reset = self._is_unwanted = True

    def receive_channel_end(self) -> None:
        """The peer has ended the data channel. What has arrived can be read."""
        self._was_reset |= not self._has_ended
        self._is_unwanted = True
        self._waiting.unpark_all()

    def give_up(self) -> None:
        """Nobody here reads or writes any more."""
        self._is_given_up = self._was_reset = True
        self.conn.give_back(self.held)
        self._raw.clear()
        self._arrived.clear()
        self._waiting.unpark_all()

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
        self.conn.give_back(size, tell_peer=True)
        await trio.lowlevel.checkpoint()
        return data

    async def write(self, data: bytes) -> None:
        """Write all of `data`, as fast as the peer takes it. Raises MuxedStreamClosed, MuxedStreamReset."""
        for start in range(0, len(data), frames.MAX_PAYLOAD_BYTES):
            self._check_writable()
            while self.conn.queued >= _MAX_QUEUED_BYTES:
                self.conn.flush_unsent()
                await self.conn.acknowledged.park()
                self._check_writable()
            piece = data[start : start + frames.MAX_PAYLOAD_BYTES]
            self.conn.send_frame(self.stream_id, frames.encode(piece))
        await trio.lowlevel.checkpoint()

    def _check_writable(self) -> None:
        if self._is_given_up or self.conn.is_closed:
            raise MuxedStreamReset("the stream was reset")
        if self._has_closed or self._is_unwanted:
            raise MuxedStreamClosed("this half is closed")

    async def close_write(self) -> None:
        """Close this side's half. Does nothing if it is closed, or of no use any more."""
        if not (self._has_closed or self._is_given_up or self._is_unwanted or self.conn.is_closed):
            self.conn.send_frame(self.stream_id, frames.encode(flag=frames.FIN))
        self._has_closed = True
        self.conn.streams.half_closed(self)
        await trio.lowlevel.checkpoint()

    async def close(self) -> None:
        """Close this side's half; what the peer still sends can be read."""
        await self.close_write()

    async def reset(self) -> None:
        """Give up both halves, and tell the peer."""
        if not (self._is_given_up or self.conn.is_closed or self.is_done):
            self.conn.send_frame(self.stream_id, frames.encode(flag=frames.STOP_SENDING))
            self.conn.send_frame(self.stream_id, frames.encode(flag=frames.RESET))
        self.give_up()
        self.conn.streams.forget(self)
        await trio.lowlevel.checkpoint()

    def set_deadline(self, ttl: int) -> None:
        """Callers set their own deadlines."""

    def get_remote_address(self) -> tuple[str, int] | None:
        """Return (IP address, port) of the peer."""
        return self.conn.get_remote_address()

    async def __aenter__(self) -> "WebRtcStream":
        """Return the stream."""
        return self

    async def __aexit__(self, *_error: Any) -> None:
        """Close it."""
        await self.close()
