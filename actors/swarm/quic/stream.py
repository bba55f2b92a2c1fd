"""One stream of a QUIC connection. Never touches a socket: connection.py sends."""

from typing import TYPE_CHECKING, Final

import trio

from ..library.muxed_streams import MuxedStream

if TYPE_CHECKING:
    from .connection import QuicConnection

_MAX_UNSENT_BYTES: Final = 256 * 1024
"""What a writer may be ahead of what the peer has acknowledged."""


class QuicStream(MuxedStream):
    """A stream of a QUIC connection."""

    conn: "QuicConnection"
    max_piece_bytes = 64 * 1024

    # What the connection reports

    def receive(self, data: bytes, *, is_last: bool) -> None:
        """Data has arrived, in order."""
        if self._is_unread:
            self.conn.core.credit.read(self.stream_id, len(data))
        else:
            self._arrived += data
        self._has_ended |= is_last
        self.wake()

    def receive_reset(self) -> None:
        """The peer has given up its half. What has arrived can be read: some peers reset right after it."""
        self._was_reset = True
        self.wake()

    def receive_stop(self) -> None:
        """The peer reads no more: this side's half is of no use."""
        self._is_unwanted = True

    # What the library calls

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

    # What the base calls

    @property
    def _nothing_goes(self) -> bool:
        return self._has_closed or self._is_unwanted

    @property
    def _is_ahead(self) -> bool:
        return self.conn.core.unsent(self.stream_id) >= _MAX_UNSENT_BYTES

    def _send(self, piece: bytes) -> None:
        self.conn.send(self.stream_id, piece)

    def _send_end(self) -> None:
        self.conn.send(self.stream_id, b"", is_last=True)

    def _give_credit(self, size: int) -> None:
        self.conn.give_credit(self.stream_id, size)
