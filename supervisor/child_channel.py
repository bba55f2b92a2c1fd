"""One child as the supervisor sees it: outbox, writer, reader, heartbeat.

Owns the supervisor's end of one incarnation's channel. Never waits for the child: `put` only queues. The
queue is bounded by the ledger's bounds for a mailbox, and by one Start, one Ping and one Stop.
"""

from collections import deque
from collections.abc import Callable

import trio

from ..messages.base import INTERNAL_LIMIT, MalformedMessageError, encode, frame
from ..messages.child_protocol import Deliver, FromChild, Ping, Pong, Start, Stop
from .restart_policy import Cause, cause_of
from .spawner import Handle

MISSED_TURNS = 3
"""Turns of the heartbeat without a Pong after which a child is deaf."""
_WRITE_BYTES = 64 * 1024
_EXIT_GRACE = 1.0
"""Seconds between the end of a channel and that of its process."""
_END_DEADLINE = 5.0


class Link:
    """Runs one child's channel. `on_frame`, and `on_written` (last delivery written), must not block."""

    def __init__(
        self, handle: Handle, on_frame: Callable[[FromChild], None], on_written: Callable[[int], None]
    ) -> None:
        self._handle = handle
        self._on_frame = on_frame
        self._on_written = on_written
        self._outbox: deque[tuple[bytes, int]] = deque()
        self._waiting = trio.Event()
        self._unanswered = 0
        self._killed_for: Cause | None = None
        self.malformed = False
        """The child sent something that is not a frame."""

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._handle.pid

    def put(self, message: Start | Deliver | Ping | Stop) -> None:
        """Queue a frame."""
        number = message.input if isinstance(message, Deliver) else 0
        self._outbox.append((frame(encode(message), INTERNAL_LIMIT), number))
        self._waiting.set()

    def discard(self) -> None:
        """Forget deliveries that have not been written."""
        self._outbox = deque(entry for entry in self._outbox if entry[1] == 0)

    def beat(self) -> None:
        """Take one turn of the heartbeat: ask whether the child lives, kill it if it is deaf.

        Counted in the supervisor's own turns: a suspended machine or a stopped supervisor kills nobody.
        """
        if self._unanswered >= MISSED_TURNS:
            self.kill("hang")
            return
        if self._unanswered == 0:
            self.put(Ping())
        self._unanswered += 1

    def kill(self, cause: Cause) -> None:
        """End the child at once; to its restart policy it died by `cause`."""
        if self._killed_for is None:
            self._killed_for = cause
        self._handle.kill()

    async def run(self) -> Cause:
        """Run until the child is over and all that it had sent is taken; return what it died of."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write)
            nursery.start_soon(self._end_with_child, nursery.cancel_scope)
            try:
                await self._read()
            except MalformedMessageError:
                self.malformed = True
                self.kill("exit")
            nursery.cancel_scope.cancel()
        with trio.move_on_after(_EXIT_GRACE):
            return self._cause(await self._handle.wait())
        self.kill("hang")  # its channel has ended; a process that goes on without one is of no use
        with trio.move_on_after(_END_DEADLINE):
            return self._cause(await self._handle.wait())
        return "hang"  # the kernel does not let go of it; nothing waits for it any more

    def _cause(self, status: int | None) -> Cause:
        if status is None:
            return "zygote"
        return self._killed_for or cause_of(status)

    async def _end_with_child(self, reading: trio.CancelScope) -> None:
        """End the reader some time after the child, should another process hold the child's end."""
        await self._handle.wait()
        await trio.sleep(_EXIT_GRACE)
        reading.cancel()

    async def aclose(self) -> None:
        """End the child if it is not over, and release its descriptors."""
        self._handle.kill()
        await self._handle.aclose()

    async def _read(self) -> None:
        while True:
            try:
                message = await self._handle.channel.receive()
            except trio.EndOfChannel:
                return
            if isinstance(message, Pong):
                self._unanswered = 0
            else:
                self._on_frame(message)

    async def _write(self) -> None:
        while True:
            if not self._outbox:
                self._waiting = trio.Event()
                await self._waiting.wait()
                continue
            chunk, last = bytearray(), 0
            while self._outbox and len(chunk) < _WRITE_BYTES:
                data, number = self._outbox.popleft()
                chunk += data
                last = max(last, number)
            try:
                await self._handle.channel.send_bytes(bytes(chunk))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return  # the reader sees the end too, and says so
            if last:
                self._on_written(last)
