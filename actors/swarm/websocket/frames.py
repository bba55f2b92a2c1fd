"""Bytes as WebSocket frames, and back. Sans-IO, over wsproto's frames (RFC 6455, 5).

Only binary messages carry bytes, and where one ends means nothing: they are one stream. Owns the bounds on
what a peer may send: what arrives is passed on as it comes, so that a frame of any length costs no memory;
the length of a message, and frames that carry nothing, are bounded nevertheless. Of several pings the last
is answered. Extensions are not spoken.
"""

from typing import Final

from wsproto.frame_protocol import CloseReason, Frame, FrameProtocol, Opcode, ParseFailed

from .wire import WebSocketError

MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
"""No implementation writes more at once than a window of Yamux."""
MAX_IDLE_FRAMES_PER_S: Final = 100
"""Frames without bytes: pings, pongs, and empty parts of a message."""
PIECE_BYTES: Final = 64 * 1024
"""In a frame of this node's at most."""
_MAX_FRAMES_AT_ONCE: Final = 256


class FrameError(WebSocketError):
    """The peer sent what is not allowed; `code` is the one of the Close frame that tells it."""

    def __init__(self, why: str, code: int) -> None:
        super().__init__(why)
        self.code = code


class ByteFrames:
    """Both directions of one connection."""

    def __init__(self, *, is_client: bool) -> None:
        self._frames = FrameProtocol(is_client, [])
        self._message_bytes = 0
        self._second = 0.0
        self._idle_frames = 0
        self.has_ended = False
        """The peer has sent a Close frame."""
        self.ping: bytes | None = None
        """What the last ping carried that was not answered yet."""

    def receive(self, data: bytes) -> None:
        """Take what has arrived. Call `next` until it returns None before more is taken."""
        self._frames.receive_bytes(data)

    def next(self, now: float) -> bytes | None:
        """Return bytes that the peer has sent; b"" to go on; None when more has to arrive, or none will.

        Raises FrameError. A call looks at some hundred frames at most.
        """
        found: list[bytes] = []
        try:
            for _ in range(_MAX_FRAMES_AT_ONCE):
                frame = None if self.has_ended else next(self._frames.received_frames(), None)
                if frame is None:
                    return b"".join(found) or None
                found.append(self._take(frame, now))
        except ParseFailed as error:
            raise FrameError("not a frame", error.code) from None
        return b"".join(found)

    def _take(self, frame: Frame, now: float) -> bytes:
        payload = frame.payload
        if frame.opcode is Opcode.CLOSE:
            self.has_ended = True
            return b""
        if frame.opcode is Opcode.TEXT or not isinstance(payload, bytes | bytearray):
            raise FrameError("a text", CloseReason.UNSUPPORTED_DATA)
        if frame.opcode.iscontrol() or not payload:
            self._count_idle(now)
        if frame.opcode is Opcode.PING:
            self.ping = bytes(payload)
        if frame.opcode.iscontrol():
            return b""
        self._message_bytes += len(payload)
        if self._message_bytes > MAX_MESSAGE_BYTES:
            raise FrameError("too long a message", CloseReason.MESSAGE_TOO_BIG)
        if frame.message_finished:
            self._message_bytes = 0
        return bytes(payload)

    def _count_idle(self, now: float) -> None:
        if now - self._second >= 1:
            self._second, self._idle_frames = now, 0
        self._idle_frames += 1
        if self._idle_frames > MAX_IDLE_FRAMES_PER_S:
            raise FrameError("too many frames without bytes", CloseReason.POLICY_VIOLATION)

    def data(self, payload: bytes) -> bytes:
        """Return `payload`, at most PIECE_BYTES, as one message."""
        return bytes(self._frames.send_data(payload))

    def pong(self) -> bytes:
        """Return the answer to the last ping, or nothing."""
        payload, self.ping = self.ping, None
        return b"" if payload is None else bytes(self._frames.pong(payload))

    def new_ping(self) -> bytes:
        """Return a ping."""
        return bytes(self._frames.ping(b""))

    def close(self, code: int = CloseReason.NORMAL_CLOSURE) -> bytes:
        """Return a Close frame, after which nothing may be sent."""
        return bytes(self._frames.close(code))
