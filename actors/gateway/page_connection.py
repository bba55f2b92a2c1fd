"""The connection of the page (the actor web): the control protocol over messages in place of a socket.

Web gets no Unix socket of its own, because no sandbox can tell the control socket from those of other
programs. So its bytes come as messages, through the supervisor, and are served as those of any client
(client_connection.py), with one exception: the page cannot stop the node.

Owns the flow control: one message with frames is under way at a time. Never looks into a frame.
"""

from collections.abc import Awaitable, Callable

import trio

from ...messages import control_protocol as c
from ...messages.base import Message
from ...messages.to_gateway import FramesRead, PageFrames
from ...messages.to_web import GatewayFrames
from ..base import Send

MAX_UNREAD_MESSAGES = 64
"""From web, of one connection: more than the requests that it may have open."""


PAGE_REQUESTS = (
    c.StartPairing,
    c.JoinPairing,
    c.Decide,
    c.CancelPairing,
    c.ListSessions,
    c.ListDevices,
    c.RenameDevice,
    c.ForgetDevice,
    c.Status,
    c.ListActors,
    c.Subscribe,
    c.WatchDevices,
)
"""What a person does with the page. Not Shutdown, nor Reload, which restarts actors and tells settings."""


class PageStream(trio.abc.Stream):
    """One connection as a stream of bytes; `send` sends messages to other actors."""

    def __init__(self, connection: int, send: Callable[[Send], Awaitable[None]]) -> None:
        self.connection = connection
        self._send = send
        self._arriving, self._arrived = trio.open_memory_channel[bytes](MAX_UNREAD_MESSAGES)
        self._read = trio.Event()
        self._closed = False

    def feed(self, frames: bytes) -> None:
        """Take what web has sent; close the stream if too much is unread."""
        try:
            self._arriving.send_nowait(frames)
        except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            self.close()

    def mark_read(self) -> None:
        """Web has read what was sent last."""
        self._read.set()

    def close(self) -> None:
        """End the connection: whoever reads it finds its end, whoever writes an error."""
        self._closed = True
        self._arriving.close()
        self._read.set()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return the next bytes; none at the end."""
        async for frames in self._arrived:
            return frames
        return b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes, and wait until web has read them. Raises trio.BrokenResourceError."""
        if not self._closed:
            self._read = trio.Event()
            message: Message = GatewayFrames(self.connection, bytes(data))
            await self._send(Send("web", message))
            await self._read.wait()
        if self._closed:
            raise trio.BrokenResourceError("web has begun another connection")

    async def wait_send_all_might_not_block(self) -> None:
        """Return at once: send_all waits by itself."""
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Close it."""
        self.close()
        await trio.lowlevel.checkpoint()


class PageConnection:
    """The present connection of the page, if it has one. `serve` serves a stream until it ends."""

    def __init__(
        self, send: Callable[[Send], Awaitable[None]], serve: Callable[[PageStream], Awaitable[None]]
    ) -> None:
        self._send = send
        self._serve = serve
        self._stream: PageStream | None = None

    def handle(self, message: PageFrames | FramesRead, nursery: trio.Nursery) -> None:
        """Handle a message of web; a new connection takes the place of the former, and is served."""
        stream = self._stream
        if isinstance(message, FramesRead):
            if stream is not None and stream.connection == message.connection:
                stream.mark_read()
            return
        if stream is None or stream.connection != message.connection:
            if stream is not None:
                stream.close()
            stream = self._stream = PageStream(message.connection, self._send)
            nursery.start_soon(self._serve, stream)
        stream.feed(message.frames)

    def close(self) -> None:
        """Close the present connection."""
        if self._stream is not None:
            self._stream.close()
