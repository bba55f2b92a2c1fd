"""The supervisor's end of the channel to one incarnation of a child: outbox, writer, reader, heartbeat.

The router never waits for a child: `enqueue` appends to the outbox and returns. What leads to it is written
when all frames that were read together are handled, as far as the kernel takes it (OutboxBatch); the rest,
and what has another cause, is written by a task of this module. So a child that is slow, stopped or hostile
holds up its own outbox and nothing else. The outbox is bounded by the ledger's bounds for an inbox, and by
one Start, one Ping, one Stop, and a LogLevel for each reload until a child that hangs is killed.

Owns the outbox, the count of missed heartbeats and the reason for which the child was killed. Never looks
into a frame: handling it is up to `on_frame`.
"""

from collections import deque
from collections.abc import Callable

import trio

from ..messages.base import INTERNAL_LIMIT, MalformedMessageError, encode, frame
from ..messages.child_protocol import Deliver, FromChild, LogLevel, Ping, Pong, Start, Stop
from .restart_policy import Cause, cause_of
from .spawner import RunningChild

MAX_MISSED_HEARTBEATS = 3
"""Heartbeats without a Pong after which a child counts as hanging."""
_WRITE_CHUNK_BYTES = 64 * 1024
_EXIT_GRACE_S = 1.0
"""Time between the end of a channel and that of its process."""
_KILL_TIMEOUT_S = 5.0
"""Time for the kernel to end a process that was sent SIGKILL."""


class OutboxBatch:
    """The channels to which something is sent while the frames of one read are handled; one for all channels.

    A context, in which nothing waits. At its end they are written, without a turn of the event loop for each.
    """

    def __init__(self) -> None:
        self.is_open = False
        self._channels: dict[ChildChannel, None] = {}

    def add(self, channel: "ChildChannel") -> None:
        """Have the outbox of this channel written at the end."""
        self._channels[channel] = None

    def __enter__(self) -> None:
        self.is_open = True

    def __exit__(self, *_error: object) -> None:
        self.is_open = False
        channels, self._channels = self._channels, {}
        for channel in channels:
            channel.flush()


class ChildChannel:
    """Runs the channel of one incarnation.

    `on_frame` is called with each frame of the child except Pong, `on_written` with the number of the last
    delivery that has been written. Neither may block. `batch` is that of all channels.
    """

    def __init__(
        self,
        running: RunningChild,
        on_frame: Callable[[FromChild], None],
        on_written: Callable[[int], None],
        batch: OutboxBatch,
    ) -> None:
        self._running = running
        self._batch = batch
        self._on_frame = on_frame
        self._on_written = on_written
        self._outbox: deque[tuple[bytes, int]] = deque()
        """Encoded frames, each with its input number (0: not a delivery)."""
        self._begun: tuple[bytes, int] | None = None
        """What is left of a chunk of which the kernel took a part."""
        self._is_writing = False
        self._outbox_filled = trio.Event()
        self._missed_heartbeats = 0
        self._killed_for: Cause | None = None
        self.sent_malformed_frame = False
        """The child sent something that is not a frame; it was killed for it."""

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._running.pid

    @property
    def was_spare(self) -> bool:
        """Whether the child answers heartbeats from the beginning, before it is ready."""
        return self._running.was_spare

    async def wait_ended(self) -> None:
        """Wait until the child's process has ended."""
        await self._running.wait()

    def enqueue(self, message: Start | Deliver | Ping | Stop | LogLevel) -> None:
        """Append a frame to the outbox."""
        number = message.input if isinstance(message, Deliver) else 0
        self._outbox.append((frame(encode(message), INTERNAL_LIMIT), number))
        if self._batch.is_open:
            self._batch.add(self)
        else:
            self._outbox_filled.set()

    def flush(self) -> None:
        """Write as much of the outbox as the kernel takes at once; a task goes on when it takes more."""
        while not self._is_writing and self._has_more:
            data, last = self._take_chunk()
            written = self._running.channel.send_nowait(data)
            if written < len(data):
                self._begun = data[written:], last
                self._outbox_filled.set()
                return
            if last:
                self._on_written(last)

    @property
    def _has_more(self) -> bool:
        return self._begun is not None or bool(self._outbox)

    def _take_chunk(self) -> tuple[bytes, int]:
        """Remove frames from the outbox; return them, and the number of their last delivery (0: none)."""
        if self._begun is not None:
            begun, self._begun = self._begun, None
            return begun
        chunk, last = bytearray(), 0
        while self._outbox and len(chunk) < _WRITE_CHUNK_BYTES:
            data, number = self._outbox.popleft()
            chunk += data
            last = max(last, number)
        return bytes(chunk), last

    def discard_deliveries(self) -> None:
        """Drop the deliveries that have not been written."""
        self._outbox = deque(entry for entry in self._outbox if entry[1] == 0)

    def check_heartbeat(self) -> None:
        """Send a Ping if the last one was answered; kill the child if it has missed too many heartbeats.

        Called once in each interval of the supervisor's own loop. The count is one of calls, not of
        seconds, so that a suspended machine or a stopped supervisor kills nobody.
        """
        if self._missed_heartbeats >= MAX_MISSED_HEARTBEATS:
            self.kill("hang")
            return
        if self._missed_heartbeats == 0:
            self.enqueue(Ping())
        self._missed_heartbeats += 1

    @property
    def is_silent(self) -> bool:
        """Whether the child has not answered a heartbeat in all the time until the next one was due."""
        return self._missed_heartbeats > 1

    def kill(self, cause: Cause) -> None:
        """End the child at once; its restart policy sees the first `cause` that was given."""
        if self._killed_for is None:
            self._killed_for = cause
        self._running.kill()

    def mark_lost(self) -> None:
        """Record that the fork server has ended, and the child with it, however late its end is noticed."""
        if self._killed_for is None:
            self._killed_for = "zygote"

    async def run(self) -> Cause:
        """Run until the child has ended and all its frames have been handled; return what it died of.

        The end of the channel comes first, because a dying process closes it; its exit status follows. A
        process that goes on without its channel is of no use and is killed.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write)
            nursery.start_soon(self._stop_reading_after_exit, nursery.cancel_scope)
            try:
                await self._read()
            except MalformedMessageError:
                self.sent_malformed_frame = True
                self.kill("exit")
            nursery.cancel_scope.cancel()
        with trio.move_on_after(_EXIT_GRACE_S):
            return self._cause(await self._running.wait())
        self.kill("hang")
        with trio.move_on_after(_KILL_TIMEOUT_S):
            return self._cause(await self._running.wait())
        return self._killed_for or "hang"  # it hangs in the kernel (state D); it is left behind

    def _cause(self, status: int | None) -> Cause:
        if status is None:
            return "zygote"
        return self._killed_for or cause_of(status)

    async def _stop_reading_after_exit(self, reading: trio.CancelScope) -> None:
        """Cancel the reader some time after the exit, in case another process holds the child's end open."""
        await self._running.wait()
        await trio.sleep(_EXIT_GRACE_S)
        reading.cancel()

    async def aclose(self) -> None:
        """Kill the child unless it has ended, and release its descriptors."""
        self._running.kill()
        await self._running.aclose()

    async def _read(self) -> None:
        while True:
            try:
                message: FromChild | None = await self._running.channel.receive()
            except trio.EndOfChannel:
                return
            with self._batch:
                while message is not None:
                    if isinstance(message, Pong):
                        self._missed_heartbeats = 0
                    else:
                        self._on_frame(message)
                    message = self._running.channel.receive_nowait()

    async def _write(self) -> None:
        while True:
            if not self._has_more:
                self._outbox_filled = trio.Event()
                await self._outbox_filled.wait()
                continue
            data, last = self._take_chunk()
            self._is_writing = True
            try:
                await self._running.channel.send_bytes(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return  # the reader sees the end of the channel as well, and handles it
            self._is_writing = False
            if last:
                self._on_written(last)
