"""Runs actors as trio tasks of this process, from the same entries as processes: for tests and debugging.

An actor cannot see the difference, except for descriptors: those of ChildSpec.fds keep their numbers here.
There is no sandbox, no fork server and no spare.
"""

import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import trio

from ..messages.child_protocol import FromChild, ToChild, decode_from_child, decode_to_child
from .actor_entry import load_entry, run_entry
from .channel import Channel
from .child_specs import ChildSpec
from .restart_policy import Cause
from .spawner import Spare


class ChildTask:
    """One actor that runs as a task; see spawner.RunningChild."""

    def __init__(self, supervisor_end: trio.SocketStream, actor_end: trio.SocketStream) -> None:
        self._stream = supervisor_end
        self._actor_end = actor_end
        self._channel: Channel[FromChild] = Channel(supervisor_end, decode_from_child)
        self._status = -int(signal.SIGKILL)
        self._ended = trio.Event()
        self._scope = trio.CancelScope()

    @property
    def pid(self) -> int:
        """This process."""
        return os.getpid()

    @property
    def channel(self) -> Channel[FromChild]:
        """The supervisor's end of its channel."""
        return self._channel

    @property
    def was_spare(self) -> bool:
        """False: there is no spare."""
        return False

    def kill(self) -> None:
        """Cancel it at once. What it sends while it unwinds is lost: its end of the channel closes with this.

        Closed first, a task of it that waits for the channel would be told of that instead of its end.
        """
        if not self._ended.is_set():
            self._scope.cancel()
            self._actor_end.socket.close()

    async def wait(self) -> int | None:
        """Wait until it has ended; return the exit status that its process would have had."""
        await self._ended.wait()
        return self._status

    async def aclose(self) -> None:
        """Close the supervisor's end."""
        await self._stream.aclose()

    async def run(self, entry: str) -> None:
        """Run the actor."""
        channel: Channel[ToChild] = Channel(self._actor_end, decode_to_child)
        try:
            with self._scope:
                status = await run_entry(lambda: load_entry(entry), channel)
                if not self._scope.cancel_called:
                    self._status = status
        finally:
            self._actor_end.socket.close()
            self._ended.set()


class TaskSpawner:
    """Starts children as tasks; see spawner.Spawner."""

    @property
    def pid(self) -> int:
        """0: there is no fork server."""
        return 0

    @property
    def spares(self) -> Mapping[str, Spare]:
        """Empty: a task starts at once."""
        return {}

    @property
    def uptime(self) -> float:
        """0: there is no fork server."""
        return 0.0

    @asynccontextmanager
    async def opened(
        self, *, preload: Sequence[str], on_lost: Callable[[Cause], None]
    ) -> AsyncIterator[None]:
        """Return a context in which tasks can be started; its exit cancels them. See spawner.Spawner."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()

    async def spawn(self, spec: ChildSpec) -> ChildTask:
        """Start a task."""
        await trio.lowlevel.checkpoint()
        supervisor_end, actor_end = (
            trio.SocketStream(trio.socket.from_stdlib_socket(end)) for end in socket.socketpair()
        )
        task = ChildTask(supervisor_end, actor_end)
        self._nursery.start_soon(task.run, spec.entry)
        return task
