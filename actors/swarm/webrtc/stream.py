"""One stream of a WebRTC connection, on a data channel of its own.

Owns the beginning of a message that is not whole yet. Never touches a socket: connection.py sends.
"""

from typing import TYPE_CHECKING, Final

import trio

from ..library.muxed_streams import MuxedStream
from . import frames

if TYPE_CHECKING:
    from .connection import WebRtcConnection

_MAX_QUEUED_BYTES: Final = 64 * 1024
"""What the writers of a connection may be ahead of what was sent."""


class WebRtcStream(MuxedStream):
    """A stream of a WebRTC connection."""

    conn: "WebRtcConnection"
    max_piece_bytes = frames.MAX_PAYLOAD_BYTES

    def __init__(self, connection: "WebRtcConnection", stream_id: int) -> None:
        super().__init__(connection, stream_id)
        self._raw = bytearray()
        """The beginning of a message."""
        self._close_has_arrived = False
        """The peer has acknowledged that this half is closed."""

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
            if self._has_ended or self._was_reset or self._is_unread:
                ignored = size
            else:
                self._arrived += payload
            self.conn.give_back(ignored)
            if flag is not None:
                self._receive_flag(flag)
        self.wake()

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
        self.wake()

    def give_up(self) -> None:
        """Nobody here reads or writes any more."""
        self.conn.give_back(self.held)
        self._raw.clear()
        super().give_up()

    # What the library calls

    async def reset(self) -> None:
        """Give up both halves, and tell the peer."""
        if not (self._is_given_up or self.conn.is_closed or self.is_done):
            self.conn.send_frame(self.stream_id, frames.encode(flag=frames.STOP_SENDING))
            self.conn.send_frame(self.stream_id, frames.encode(flag=frames.RESET))
        self.give_up()
        self.conn.streams.forget(self)
        await trio.lowlevel.checkpoint()

    # What the base calls

    @property
    def _nothing_goes(self) -> bool:
        return self._close_has_arrived or self._is_unwanted

    @property
    def _is_ahead(self) -> bool:
        return self.conn.queued >= _MAX_QUEUED_BYTES

    def _send(self, piece: bytes) -> None:
        self.conn.send_frame(self.stream_id, frames.encode(piece))

    def _send_end(self) -> None:
        self.conn.send_frame(self.stream_id, frames.encode(flag=frames.FIN))

    def _give_credit(self, size: int) -> None:
        self.conn.give_back(size, tell_peer=True)
