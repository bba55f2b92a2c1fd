"""Frames over a trio stream: the one form in which two of our processes talk (messages/child_protocol.py).

Owns the framing and nothing else. Both ends use it; what a frame means is the caller's business.
"""

import math
import select
import socket
from collections.abc import Iterator
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
        """Return the next message.

        Raises trio.EndOfChannel at the end of the stream, MalformedMessageError.
        """
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


class BlockingChannel(Generic[M]):
    """The same, over a socket and without an event loop: for a process that waits for nothing else."""

    def __init__(self, sock: socket.socket, decoder: Decoder[M]) -> None:
        sock.setblocking(True)
        self._sock = sock
        self._decoder = decoder
        self._reader = FrameReader(INTERNAL_LIMIT)
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def send(self, message: msgspec.Struct) -> None:
        """Send one frame. Raises ValueError (too large), trio.EndOfChannel (the peer is gone)."""
        try:
            self._sock.sendall(frame(encode(message), INTERNAL_LIMIT))
        except OSError:
            raise trio.EndOfChannel from None

    def first(self) -> M:
        """Wait for one message. Raises trio.EndOfChannel, MalformedMessageError."""
        while True:
            for message in self._whole():
                return message
            self._feed()

    def receive(self, within: float) -> list[M]:
        """Return what has come, after at most `within` seconds, a finite number. Raises as `first`."""
        found = list(self._whole())
        if not found and self._poll.poll(math.ceil(1000 * within)):
            self._feed()
            found += self._whole()
        return found

    def _feed(self) -> None:
        try:
            data = self._sock.recv(_CHUNK)
        except OSError:
            raise trio.EndOfChannel from None
        if not data:
            raise trio.EndOfChannel
        self._reader.feed(data)

    def _whole(self) -> Iterator[M]:
        while (payload := self._reader.next_frame()) is not None:
            yield self._decoder(payload)
