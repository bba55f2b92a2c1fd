"""A TCP relay on loopback before one node, which can cut its connections or go silent.

A cut is what a middlebox does that has forgotten the connection: both ends learn of it, and may connect again
at once. Silence is a dead path: connections stay, and what is sent arrives when the relay resumes, as with
TCP.
"""

import socket
import struct
from dataclasses import dataclass, field

import trio

_RESET = struct.pack("ii", 1, 0)


@dataclass
class TcpRelay:
    """Forwards connections to one address. It is silent until `set_target`."""

    _target: int = 0
    _carries: trio.Event = field(default_factory=trio.Event)
    _pairs: set[tuple[trio.SocketStream, trio.SocketStream]] = field(default_factory=set)

    async def serve(self, task_status: "trio.TaskStatus[int]" = trio.TASK_STATUS_IGNORED) -> None:
        """Forward until cancelled. Reports its port when it listens."""
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port: int = listener.socket.getsockname()[1]
        task_status.started(port)
        await trio.serve_listeners(self._connection, [listener])

    def set_target(self, address: str) -> None:
        """Forward to this multiaddr of loopback from now on."""
        self._target = int(address.split("/")[4])
        self.resume()

    def silence(self) -> None:
        """Forward nothing until `resume`."""
        self._carries = trio.Event()

    def resume(self) -> None:
        """Forward what has waited, and all that follows."""
        self._carries.set()

    def cut(self, *, reset: bool) -> int:
        """Cut every connection in both directions, with a reset or as if closed. Return how many were cut."""
        pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for stream in pair:
                if reset:
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                stream.socket.close()
        return len(pairs)

    async def _connection(self, near: trio.SocketStream) -> None:
        async with near:
            await self._carries.wait()
            try:
                far = await trio.open_tcp_stream("127.0.0.1", self._target)
            except OSError:
                return
            self._pairs.add((near, far))
            async with far, trio.open_nursery() as nursery:
                nursery.start_soon(self._carry, near, far)
                nursery.start_soon(self._carry, far, near)
            self._pairs.discard((near, far))

    async def _carry(self, one: trio.SocketStream, other: trio.SocketStream) -> None:
        try:
            while data := await one.receive_some(65536):
                await self._carries.wait()
                await other.send_all(data)
            await other.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await trio.aclose_forcefully(one)
            await trio.aclose_forcefully(other)
