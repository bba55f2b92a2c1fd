"""Frames over a stream: the form in which the supervisor and its children talk (messages/child_protocol.py).

Both ends use it: on trio (Channel), or over a blocking socket in a process without an event loop
(BlockingChannel). Owns the framing. Never interprets a frame.
"""

import math
import os
import select
import socket
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Generic

import msgspec
import trio

from ..messages.base import INTERNAL_LIMIT, Decoder, FrameReader, M, encode, frame

_RECEIVE_BYTES = 64 * 1024


class Channel(Generic[M]):
    """A duplex stream of frames: sends any struct, receives the union that `decoder` decodes.

    One task may receive; sends of several tasks do not interleave.
    """

    def __init__(self, stream: trio.abc.Stream, decoder: Decoder[M]) -> None:
        self._stream = stream
        self._decoder = decoder
        self._reader = FrameReader(INTERNAL_LIMIT)
        self._sending = trio.Lock()
        self._put_back: deque[M] = deque()

    async def send(self, message: msgspec.Struct) -> None:
        """Send one frame. Raises ValueError (too large), trio.BrokenResourceError (the peer is gone)."""
        await self.send_bytes(frame(encode(message), INTERNAL_LIMIT))

    async def send_bytes(self, data: bytes) -> None:
        """Send frames that are already encoded (`frame(encode(m), INTERNAL_LIMIT)`, or several of them)."""
        try:  # no turn of the loop for a lock that is free
            self._sending.acquire_nowait()
        except trio.WouldBlock:
            await self._sending.acquire()
        try:
            written = self._write(data)
            if written < len(data):
                await self._stream.send_all(data[written:])
        finally:
            self._sending.release()

    def send_nowait(self, data: bytes) -> int:
        """Send what the kernel takes at once of these frames; return its size. The rest goes to `send_bytes`.

        0 while another task is sending, and when the peer is gone, which `send_bytes` then reports.
        """
        return 0 if self._sending.locked() else self._write(data)

    def _write(self, data: bytes) -> int:
        """Write what the kernel takes at once, without a turn of the loop; return its size."""
        if not isinstance(self._stream, trio.SocketStream):
            return 0
        try:
            return os.write(self._stream.socket.fileno(), data)
        except OSError:  # it would block, or fails again in `send_all`
            return 0

    async def receive(self) -> M:
        """Return the next message.

        Raises trio.EndOfChannel at the end of the stream, MalformedMessageError.
        """
        while (message := self.receive_nowait()) is None:
            try:
                data = await self._stream.receive_some(_RECEIVE_BYTES)
            except trio.BrokenResourceError:
                raise trio.EndOfChannel from None
            if not data:
                raise trio.EndOfChannel
            self._reader.feed(data)
        return message

    def receive_nowait(self) -> M | None:
        """Return the next message if it has been read already, else None. Raises MalformedMessageError."""
        if self._put_back:
            return self._put_back.popleft()
        payload = self._reader.next_frame()
        return None if payload is None else self._decoder(payload)

    def put_back(self, messages: Iterable[M]) -> None:
        """Have these messages, which were received before, received again, before all others."""
        self._put_back.extend(messages)

    async def aclose(self) -> None:
        """Close the stream."""
        await self._stream.aclose()


class BlockingChannel(Generic[M]):
    """The same over a blocking socket, for a process without an event loop."""

    def __init__(self, sock: socket.socket, decoder: Decoder[M]) -> None:
        sock.setblocking(True)
        self._sock = sock
        self._decoder = decoder
        self._reader = FrameReader(INTERNAL_LIMIT)
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def fileno(self) -> int:
        """Return the descriptor, for a poll(2) that waits for other things too."""
        return self._sock.fileno()

    def send(self, message: msgspec.Struct) -> None:
        """Send one frame. Raises ValueError (too large), trio.EndOfChannel (the peer is gone)."""
        try:
            self._sock.sendall(frame(encode(message), INTERNAL_LIMIT))
        except OSError:
            raise trio.EndOfChannel from None

    def receive(self) -> M:
        """Wait for one message. Raises trio.EndOfChannel, MalformedMessageError."""
        while True:
            for message in self._complete_frames():
                return message
            self._feed()

    def receive_batch(self, timeout: float) -> list[M]:
        """Return the messages that have arrived, waiting up to `timeout` (finite) seconds for the first.

        Raises trio.EndOfChannel, MalformedMessageError.
        """
        found = list(self._complete_frames())
        if not found and self._poll.poll(math.ceil(1000 * timeout)):
            self._feed()
            found += self._complete_frames()
        return found

    def _feed(self) -> None:
        try:
            data = self._sock.recv(_RECEIVE_BYTES)
        except OSError:
            raise trio.EndOfChannel from None
        if not data:
            raise trio.EndOfChannel
        self._reader.feed(data)

    def _complete_frames(self) -> Iterator[M]:
        while (payload := self._reader.next_frame()) is not None:
            yield self._decoder(payload)
