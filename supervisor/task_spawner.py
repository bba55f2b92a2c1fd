"""Actors as trio tasks of this process: the same entries, for tests and debugging.

An actor cannot tell the difference, but for descriptors: ChildSpec.fds keep their own numbers here.
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


class TaskHandle:
    """One task."""

    def __init__(self, mine: trio.SocketStream, theirs: trio.SocketStream) -> None:
        self._stream = mine
        self._theirs = theirs
        self._channel: Channel[FromChild] = Channel(mine, decode_from_child)
        self._status = -int(signal.SIGKILL)
        self._over = trio.Event()
        self._scope = trio.CancelScope()

    @property
    def pid(self) -> int:
        """This process."""
        return os.getpid()

    @property
    def channel(self) -> Channel[FromChild]:
        """The supervisor's end of its channel."""
        return self._channel

    def kill(self) -> None:
        """Cancel it at once. Its channel closes first: nothing that it does while it unwinds is heard."""
        if not self._over.is_set():
            self._theirs.socket.close()
            self._scope.cancel()

    async def wait(self) -> int | None:
        """Wait until it is over; return what its process would have exited with."""
        await self._over.wait()
        return self._status

    async def aclose(self) -> None:
        """Close the supervisor's end."""
        await self._stream.aclose()

    async def run(self, entry: str) -> None:
        """Run the actor."""
        channel: Channel[ToChild] = Channel(self._theirs, decode_to_child)
        try:
            with self._scope:
                status = await run_entry(lambda: load_entry(entry), channel)
                if not self._scope.cancel_called:
                    self._status = status
        finally:
            self._theirs.socket.close()
            self._over.set()


class TaskHost:
    """Runs children as tasks."""

    @property
    def pid(self) -> int:
        """There is no process between."""
        return 0

    @property
    def spares(self) -> Mapping[str, Spare]:
        """A task is made as fast as it is found."""
        return {}

    @property
    def uptime(self) -> float:
        """There is no process between."""
        return 0.0

    @asynccontextmanager
    async def opened(
        self, *, preload: Sequence[str], on_lost: Callable[[Cause], None]
    ) -> AsyncIterator[None]:
        """Open it; at exit every task is cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()

    async def spawn(self, spec: ChildSpec) -> TaskHandle:
        """Start a task."""
        await trio.lowlevel.checkpoint()
        mine, theirs = (trio.SocketStream(trio.socket.from_stdlib_socket(end)) for end in socket.socketpair())
        handle = TaskHandle(mine, theirs)
        self._nursery.start_soon(handle.run, spec.entry)
        return handle
