"""A UDP relay on loopback before one node: it forgets mappings, and loses or holds datagrams.

As a NAT does, it gives each client a port of its own towards the node. No fault tells anybody anything: with
UDP a path that is dead looks like one that has nothing to say.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Literal

import trio

Direction = Literal["in", "out"]
"""To the node, or from it."""
BOTH: frozenset[Direction] = frozenset(("in", "out"))
_MAX_DATAGRAM_BYTES = 2048
_LONG_HEADER = 0x80
_CONNECTION_ID = slice(1, 9)
"""Of the short header of a QUIC packet between two nodes of this project."""


@dataclass
class _Flow:
    """A client, and the socket that stands for it towards the node."""

    client: tuple[str, int]
    socket: trio.socket.SocketType
    is_dead: bool = False
    """Everything of it is lost for good."""


@dataclass
class UdpRelay:
    """Forwards datagrams to one address. It loses everything until `set_target`.

    `by_sender`: connections are told apart by their client, as with WebRTC, of which each dial has a socket
    of its own; otherwise by the connection ids of QUIC.
    """

    by_sender: bool = False
    _target: int = 0
    _near: trio.socket.SocketType = field(init=False)
    _nursery: trio.Nursery = field(init=False)
    _flows: dict[tuple[str, int], _Flow] = field(default_factory=dict)
    _lost: frozenset[Direction] = BOTH
    _held: list[tuple[Direction, _Flow, bytes]] | None = None
    _seen: set[bytes] = field(default_factory=set)
    _dead: set[bytes] = field(default_factory=set)
    """Connection ids whose packets are lost for good."""
    lost: int = 0
    """Datagrams that were lost here."""

    async def serve(self, task_status: "trio.TaskStatus[int]" = trio.TASK_STATUS_IGNORED) -> None:
        """Forward until cancelled. Reports its port."""
        with _socket() as self._near:
            await self._near.bind(("127.0.0.1", 0))
            port: int = self._near.getsockname()[1]
            try:
                async with trio.open_nursery() as self._nursery:
                    task_status.started(port)
                    while True:
                        data, client = await self._near.recvfrom(_MAX_DATAGRAM_BYTES)
                        await self._carry("in", await self._flow_of(client), data)
            finally:
                self._close_flows()

    def set_target(self, address: str) -> None:
        """Forward to this multiaddr of loopback from now on."""
        self._target = int(address.split("/")[4])
        self.resume()

    def silence(self, directions: Collection[Direction] = BOTH) -> None:
        """Lose whatever goes in these directions, until `resume`."""
        self._lost = frozenset(directions)

    def hold(self) -> None:
        """Keep whatever comes until `resume`."""
        self._held = []

    def resume(self) -> None:
        """Forward what was held, in its order, and all that follows."""
        held, self._held, self._lost = self._held or [], None, frozenset()
        for direction, flow, data in held:
            self._nursery.start_soon(self._carry, direction, flow, data)

    def cut(self, *, reset: bool) -> int:
        """Cut every connection; return how many flows there were.

        `reset`: forget the mappings, as a NAT that was restarted: what the client sends next comes to the
        node from another port, and what the node sends is lost until then. Otherwise all packets of
        connections that there are, are lost for good, and new connections get through.
        """
        there = len(self._flows)
        if reset:
            self._close_flows()
        elif self.by_sender:
            for flow in self._flows.values():
                flow.is_dead = True
        else:
            self._dead |= self._seen
        return there

    def _close_flows(self) -> None:
        flows, self._flows = self._flows, {}
        for flow in flows.values():
            flow.socket.close()

    async def _flow_of(self, client: tuple[str, int]) -> _Flow:
        flow = self._flows.get(client)
        if flow is None:
            flow = self._flows[client] = _Flow(client, _socket())
            await flow.socket.bind(("127.0.0.1", 0))
            self._nursery.start_soon(self._back, flow)
        return flow

    async def _back(self, flow: _Flow) -> None:
        """Forward what the node answers to one client, until the flow is closed."""
        try:
            while True:
                data, _node = await flow.socket.recvfrom(_MAX_DATAGRAM_BYTES)
                await self._carry("out", flow, data)
        except (OSError, trio.ClosedResourceError):
            return

    async def _carry(self, direction: Direction, flow: _Flow, data: bytes) -> None:
        if not data[:1] or not data[0] & _LONG_HEADER:
            self._seen.add(data[_CONNECTION_ID])
        is_dead = flow.is_dead if self.by_sender else data[_CONNECTION_ID] in self._dead
        if direction in self._lost or is_dead:
            self.lost += 1
            await trio.lowlevel.checkpoint()
        elif self._held is not None:
            self._held.append((direction, flow, data))
            await trio.lowlevel.checkpoint()
        elif direction == "in":
            await _send(flow.socket, data, ("127.0.0.1", self._target))
        else:
            await _send(self._near, data, flow.client)


def _socket() -> Any:
    return trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)


async def _send(socket: trio.socket.SocketType, data: bytes, to: tuple[str, int]) -> None:
    """Send a datagram; what the socket does not take, or is closed for, is lost."""
    try:
        await socket.sendto(data, to)
    except (OSError, trio.ClosedResourceError):
        return
