"""One WebSocket as a stream of bytes, as the library expects the stream of a transport.

Owns the socket, with or without TLS, from the end of the HTTP upgrade on. Keeps at most what one read of the
socket has brought; what is not read stays in the socket, so that the peer has to wait. `keep` runs beside it:
it answers pings, so that no reader waits for a writer, and sends some, so that a proxy keeps the connection
and a peer that has vanished is noticed. Closing waits for nobody.
"""

from typing import Final

import trio
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import ConnectionClosedError
from wsproto.frame_protocol import CloseReason

from ....messages.types import Transport
from ..library.connections import WebSocketAddress
from ..library.streams import shielded
from .frames import PIECE_BYTES, ByteFrames, FrameError

PING_INTERVAL_S: Final = 25.0
"""Of silence. Proxies commonly close what has been silent for 60 s."""
MAX_SILENCE_S: Final = 65.0
"""After two pings without an answer the peer is taken to be gone."""
CLOSE_TIMEOUT_S: Final = 0.2
"""For the Close frame to be taken by the socket."""


class WebSocketStream(ReadWriteCloser):  # type: ignore[misc]
    """A connection on which frames are spoken. `rest` are bytes that came with the end of the upgrade."""

    def __init__(
        self, stream: trio.abc.Stream, remote: WebSocketAddress, began: float, *, is_client: bool, rest: bytes
    ) -> None:
        self.transport: Transport = remote.transport
        self.began = began
        """When its set-up began."""
        self._stream = stream
        self._remote = remote
        self._frames = ByteFrames(is_client=is_client)
        self._frames.receive(rest)
        self._arrived = bytearray()
        self._reading = trio.Lock()
        self._writing = trio.Lock()
        self._due = trio.Event()
        """A pong has to be sent."""
        self._closed = trio.Event()
        self._heard_at = trio.current_time()
        self._is_waiting = False
        """A reader waits for the peer."""

    def get_remote_address(self) -> WebSocketAddress:
        """Return (IP address, port) of the peer, also of one behind a proxy."""
        return self._remote

    async def read(self, n: int | None = None) -> bytes:
        """Return 1 to `n` bytes; b"" when the peer has closed. Raises ConnectionClosedError."""
        if n == 0:
            return b""
        async with self._reading:
            while not self._arrived:
                try:
                    found = self._frames.next(trio.current_time())
                except FrameError as error:
                    await self.close(error.code)
                    raise ConnectionClosedError(str(error), transport="websocket") from None
                if self._frames.ping is not None:
                    self._due.set()
                if found is not None:
                    self._arrived += found
                    await trio.lowlevel.checkpoint()
                elif self._frames.has_ended or not await self._receive():
                    return b""
            size = len(self._arrived) if n is None else n
            taken = bytes(self._arrived[:size])
            del self._arrived[:size]
            return taken

    async def _receive(self) -> bool:
        """Take what arrives next; return False at the end of the connection."""
        self._is_waiting = True
        try:
            data = await self._stream.receive_some(PIECE_BYTES)
        except trio.ClosedResourceError:
            return False
        except trio.BrokenResourceError as error:
            raise ConnectionClosedError("reset by the peer", transport="websocket") from error
        finally:
            self._is_waiting = False
        self._heard_at = trio.current_time()
        self._frames.receive(bytes(data))
        return bool(data)

    async def write(self, data: bytes) -> None:
        """Send all of `data`. Raises ConnectionClosedError."""
        async with self._writing:
            for start in range(0, len(data), PIECE_BYTES):
                await self._send(self._frames.data(data[start : start + PIECE_BYTES]))

    async def _send(self, frames: bytes) -> None:
        try:
            await self._stream.send_all(frames)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionClosedError("closed", transport="websocket") from error

    async def close(self, code: int = CloseReason.NORMAL_CLOSURE) -> None:
        """Tell the peer, if it takes that at once, and close the socket."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._due.set()
        with shielded(CLOSE_TIMEOUT_S):
            try:
                if not self._writing.locked():
                    async with self._writing:
                        await self._send(self._frames.close(code))
            except ConnectionClosedError:
                pass
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(self._stream)

    async def keep(self) -> None:
        """Answer pings and send some, until the connection is closed."""
        pinged_at = self._heard_at
        while not self._closed.is_set():
            with trio.move_on_at(max(self._heard_at, pinged_at) + PING_INTERVAL_S):
                await self._due.wait()
            if self._closed.is_set():
                return
            silence = trio.current_time() - self._heard_at
            if self._due.is_set():
                self._due = trio.Event()
                await self._send_control(self._frames.pong())
            elif silence >= MAX_SILENCE_S and self._is_waiting:
                await self.close(CloseReason.GOING_AWAY)
            elif silence >= PING_INTERVAL_S:
                pinged_at = trio.current_time()
                await self._send_control(self._frames.new_ping())

    async def _send_control(self, frame: bytes) -> None:
        """Send a frame; close the connection if that fails, or if the peer takes nothing for a minute."""
        with trio.move_on_after(MAX_SILENCE_S) as limit:
            try:
                async with self._writing:
                    await self._send(frame)
            except ConnectionClosedError:
                await self.close()
        if limit.cancelled_caught:
            await self.close(CloseReason.GOING_AWAY)
