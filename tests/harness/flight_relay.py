"""A relay that counts round trips instead of measuring them: what was sent crosses when everybody waits.

One tick is the one-way delay of a wire. It ends when no task of this event loop can go on, and then all that
was sent meanwhile arrives, in both directions at once. So the figures are the same on every machine. All
parties have to run in this event loop, and nobody may use threads.
"""

from dataclasses import dataclass, field

import trio
import trio.testing

_SETTLE_S = 0.002
"""For how long nothing may happen until everybody counts as waiting; loopback delivers at once."""


@dataclass
class FlightRelay:
    """Carries connections to one port of loopback. `ticks` counts one-way delays since it was set to 0."""

    target: int
    ticks: int = 0
    packets: int = 0
    _waiting: list[tuple[trio.SocketStream, bytes]] = field(default_factory=list)
    _more: trio.Event = field(default_factory=trio.Event)

    @property
    def round_trips(self) -> float:
        """How many round trips have passed; TCP's own, which this relay answers at once, is added."""
        return self.ticks / 2 + 1

    async def serve(self, task_status: "trio.TaskStatus[int]" = trio.TASK_STATUS_IGNORED) -> None:
        """Carry until cancelled. Reports its port when it listens."""
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tick)
            task_status.started(listener.socket.getsockname()[1])
            await trio.serve_listeners(self._connection, [listener])

    async def _connection(self, near: trio.SocketStream) -> None:
        far = await trio.open_tcp_stream("127.0.0.1", self.target)
        async with near, far, trio.open_nursery() as nursery:
            nursery.start_soon(self._collect, near, far)
            nursery.start_soon(self._collect, far, near)

    async def _collect(self, one: trio.SocketStream, other: trio.SocketStream) -> None:
        try:
            while True:
                data = await one.receive_some(65536)
                self._waiting.append((other, data))
                self.packets += 1
                self._more.set()
                if not data:
                    return
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._waiting.append((other, b""))
            self._more.set()

    async def _tick(self) -> None:
        while True:
            await self._more.wait()
            await trio.testing.wait_all_tasks_blocked(_SETTLE_S)
            self._more = trio.Event()
            arriving, self._waiting = self._waiting, []
            self.ticks += 1
            for stream, data in arriving:
                try:
                    await (stream.send_all(data) if data else stream.send_eof())
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    continue
