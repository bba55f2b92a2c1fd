"""One forked child, as the supervisor holds it: its pidfd, its end of the channel, its exit status.

The fork server is the parent of every child, so only it learns an exit status; the pidfd shows the supervisor
that the process has ended, even when the fork server stands still.
"""

import os
import signal
from collections.abc import Callable
from contextlib import suppress

import trio

from ..messages.child_protocol import FromChild, decode_from_child
from .channel import Channel
from .memory_usage import forget_memory_file, memory_files

_STATUS_GRACE_S = 0.5
"""For the fork server to report the exit status of a process that has ended. Below the second for which a
ChildChannel waits for the status after the end of the channel."""


class ChildProcess:
    """One forked child; see spawner.RunningChild.

    `memory_file` is a descriptor of its smaps_rollup (memory_usage.py), None where there is none.
    """

    def __init__(self, pid: int, pidfd: int, memory_file: int | None, stream: trio.SocketStream) -> None:
        self._pid = pid
        self._pidfd = pidfd
        self.started = trio.current_time()
        self.was_spare = False
        if memory_file is not None:
            memory_files[pid] = memory_file
        self._stream = stream
        self._channel: Channel[FromChild] = Channel(stream, decode_from_child)
        self._status: int | None = None
        self._ended = trio.Event()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._pid

    @property
    def channel(self) -> Channel[FromChild]:
        """The supervisor's end of its channel."""
        return self._channel

    def kill(self) -> None:
        """SIGKILL it, by its pidfd: the kernel may have given its number to another process."""
        if self._pidfd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def wait(self) -> int | None:
        """Wait until it has ended; return its exit status, None if it ended with the fork server."""
        await self._ended.wait()
        return self._status

    async def aclose(self) -> None:
        """Release its descriptors."""
        if self._pidfd >= 0:
            trio.lowlevel.notify_closing(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
            forget_memory_file(self._pid)
        await self._stream.aclose()

    async def watch(self, report_pending: Callable[[], bool]) -> None:
        """Wait for the end of the process by its pidfd, then for its status.

        `report_pending` says whether the fork server has reported something that is not handled yet, be it
        its own end: the event loop may be busy with the end of hundreds of children.
        """
        if self._pidfd < 0:
            return  # it has been released before this task ran for the first time
        with suppress(trio.ClosedResourceError):
            await trio.lowlevel.wait_readable(self._pidfd)
            while not self._ended.is_set():
                with trio.move_on_after(_STATUS_GRACE_S):
                    await self._ended.wait()
                if not report_pending():
                    # Unknown: assume a kill from outside, which blames nothing on it.
                    self.set_status(-signal.SIGKILL)

    @property
    def has_ended(self) -> bool:
        """Whether it is known to have ended."""
        return self._ended.is_set()

    def set_status(self, status: int | None) -> None:
        """Record its end with the exit status that the fork server reported; the first call counts.

        None: the fork server has ended.
        """
        if not self._ended.is_set():
            self._status = status
            self._ended.set()
