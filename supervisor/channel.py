"""Frames over a trio stream: the one form in which two of our processes talk (messages/frames.py).

Owns the framing and nothing else. Both ends use it; what a frame means is the caller's business.
"""

from typing import Generic

import msgspec
import trio

from ..messages.base import INTERNAL_LIMIT, Decoder, FrameReader, M, encode, frame

_CHUNK = 64 * 1024


class Channel(Generic[M]):
    """A duplex stream of frames: sends any struct, receives the union that `decoder` decodes.

    One task may receive; sends of several tasks do not interleave.
    """

    def __init__(self, stream: trio.abc.Stream, decoder: Decoder[M]) -> None:
        self._stream = stream
        self._decoder = decoder
        self._reader = FrameReader(INTERNAL_LIMIT)
        self._sending = trio.Lock()

    async def send(self, message: msgspec.Struct) -> None:
        """Send one frame. Raises ValueError (too large), trio.BrokenResourceError (the peer is gone)."""
        await self.send_bytes(frame(encode(message), INTERNAL_LIMIT))

    async def send_bytes(self, data: bytes) -> None:
        """Send frames that are already encoded (`frame(encode(m), INTERNAL_LIMIT)`, or several of them)."""
        async with self._sending:
            await self._stream.send_all(data)

    async def receive(self) -> M:
        """Return the next message. Raises trio.EndOfChannel at the end of the stream, MalformedMessage."""
        while True:
            payload = self._reader.next_frame()
            if payload is not None:
                return self._decoder(payload)
            try:
                data = await self._stream.receive_some(_CHUNK)
            except trio.BrokenResourceError:
                raise trio.EndOfChannel from None
            if not data:
                raise trio.EndOfChannel
            self._reader.feed(data)

    async def aclose(self) -> None:
        """Close the stream."""
        await self._stream.aclose()
