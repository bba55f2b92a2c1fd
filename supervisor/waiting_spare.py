"""A spare while it waits for its Start: its heartbeat, and what it has said meanwhile.

A session that took a spare which stands still would wait for the whole time of a start. So a spare is asked
for life like any other child. Owns the frames that it sends before its Start (the line about its sandbox),
and gives them to whoever takes it. Never forks one: process_spawner.py does.
"""

from contextlib import suppress

import trio

from ..messages.base import MalformedMessageError
from ..messages.child_protocol import FromChild, Ping, Pong
from .child_channel import MAX_MISSED_HEARTBEATS
from .child_process import ChildProcess
from .child_specs import ChildSpec

_MAX_FRAMES = 16
"""More than a spare has to say before its Start."""


class WaitingSpare:
    """One spare, from its fork until it is taken or discarded."""

    def __init__(self, spec: ChildSpec, child: ChildProcess) -> None:
        self.spec = spec
        self.child = child
        self._frames: list[FromChild] = []
        self._missed_heartbeats = 0
        self._reading = trio.CancelScope()
        self._stopped_reading = trio.Event()

    async def read(self) -> None:
        """Read its frames until it is taken; kill it if it says too much."""
        try:
            with self._reading, suppress(trio.EndOfChannel, trio.ClosedResourceError, MalformedMessageError):
                while len(self._frames) < _MAX_FRAMES:
                    frame = await self.child.channel.receive()
                    if isinstance(frame, Pong):
                        self._missed_heartbeats = 0
                    else:
                        self._frames.append(frame)
            if not self._reading.cancelled_caught:
                self.child.kill()
        finally:
            self._stopped_reading.set()

    async def check_heartbeat(self) -> bool:
        """Send a Ping if the last one was answered; return False if it has missed too many."""
        if self._missed_heartbeats >= MAX_MISSED_HEARTBEATS:
            return False
        self._missed_heartbeats += 1
        if self._missed_heartbeats == 1:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self.child.channel.send(Ping())
        return True

    async def take(self) -> ChildProcess | None:
        """Return the child, to be started now; None, and end it, if it is dead or late with its answer."""
        late = self._missed_heartbeats > 1
        await self._stop_reading()
        if late or self.child.has_ended:
            await self.discard()
            return None
        self.child.channel.put_back(self._frames)
        self.child.was_spare = True
        return self.child

    async def discard(self) -> None:
        """Kill it and release its descriptors."""
        await self._stop_reading()
        self.child.kill()
        await self.child.aclose()

    async def _stop_reading(self) -> None:
        self._reading.cancel()
        await self._stopped_reading.wait()
