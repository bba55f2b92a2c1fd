"""A wire that counts round trips instead of measuring them: what was sent crosses when everybody waits.

One tick is the one-way delay of the wire. It ends when no task of this event loop can go on, and then all
that was sent meanwhile arrives, in both directions at once, on all connections. So the figures are the same
on every machine. All parties have to run in this event loop, and nobody may use threads.
"""

import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

import trio
import trio.testing

_SETTLE_S = 0.002
"""For how long nothing may happen until everybody counts as waiting; loopback delivers at once."""
_HOST = "127.0.0.1"
_DATAGRAM_BYTES = 65536

Arrive = Callable[[], Awaitable[None]]


@dataclass
class FlightRelay:
    """Carries connections to ports of loopback. `ticks` counts one-way delays since it was set to 0."""

    nursery: trio.Nursery
    ticks: int = 0
    _under_way: list[Arrive] = field(default_factory=list)
    _more: trio.Event = field(default_factory=trio.Event)

    def __post_init__(self) -> None:
        self.nursery.start_soon(self._tick)

    @property
    def round_trips(self) -> float:
        """How many round trips have passed."""
        return self.ticks / 2

    async def carry_tcp(self, target: int) -> int:
        """Carry what comes over TCP to a port of loopback; return the port at which it has to come."""
        (listener,) = await trio.open_tcp_listeners(0, host=_HOST)
        self.nursery.start_soon(trio.serve_listeners, partial(self._tcp, target), [listener])
        return int(listener.socket.getsockname()[1])

    async def carry_udp(self, target: int) -> int:
        """The same for UDP."""
        near = await _udp_socket()
        self.nursery.start_soon(self._udp, target, near)
        return int(near.getsockname()[1])

    async def _tcp(self, target: int, near: trio.SocketStream) -> None:
        await self._cross()  # the connection itself, which the kernel of loopback makes at once
        far = await trio.open_tcp_stream(_HOST, target)
        await self._cross()
        async with near, far, trio.open_nursery() as nursery:
            nursery.start_soon(self._stream, near, far)
            nursery.start_soon(self._stream, far, near)

    async def _stream(self, one: trio.SocketStream, other: trio.SocketStream) -> None:
        try:
            while data := await one.receive_some(65536):
                self._send(partial(other.send_all, data))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        self._send(other.send_eof)

    async def _udp(self, target: int, near: trio.socket.SocketType) -> None:
        far_of: dict[object, trio.socket.SocketType] = {}
        with near:
            while True:
                data, sender = await near.recvfrom(_DATAGRAM_BYTES)
                if sender not in far_of:
                    far_of[sender] = await _udp_socket()
                    self.nursery.start_soon(self._datagrams_back, far_of[sender], near, sender)
                self._send(partial(far_of[sender].sendto, data, (_HOST, target)))

    async def _datagrams_back(
        self, far: trio.socket.SocketType, near: trio.socket.SocketType, to: tuple[str, int]
    ) -> None:
        with far:
            while True:
                self._send(partial(near.sendto, await far.recv(_DATAGRAM_BYTES), to))

    def _send(self, arrive: Callable[[], Awaitable[object]]) -> None:
        self._under_way.append(arrive)
        self._more.set()

    async def _cross(self) -> None:
        arrived = trio.Event()

        async def arrive() -> None:
            arrived.set()

        self._send(arrive)
        await arrived.wait()

    async def _tick(self) -> None:
        while True:
            await self._more.wait()
            await trio.testing.wait_all_tasks_blocked(_SETTLE_S)
            self._more = trio.Event()
            arriving, self._under_way = self._under_way, []
            self.ticks += 1
            for arrive in arriving:
                try:
                    await arrive()
                except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                    continue


async def _udp_socket() -> trio.socket.SocketType:
    made = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    await made.bind((_HOST, 0))
    return made
