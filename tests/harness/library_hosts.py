"""Plain libp2p hosts with and without the corrections, for the tests of each correction."""

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import libp2p
import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.keys import KeyPair
from libp2p.custom_types import TProtocol
from libp2p.network.config import ConnectionConfig
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.library import host_factory, host_lifecycle, library_logs
from spacedrive_node.actors.swarm.quic.transport import QuicTransport
from spacedrive_node.actors.swarm.websocket.transport import WebSocketTransport
from spacedrive_node.actors.swarm.websocket.wire import WebSocketOptions

PROTOCOL = TProtocol("/test/1")


LOCAL = Multiaddr("/ip4/127.0.0.1/tcp/0")


class Open:
    """A gate that admits every peer."""

    def allows(self, host: str) -> bool:
        return True

    def pause_before_handshake(self, _source: str) -> float:
        return 0.0

    def is_slow(self, address_block: str | None) -> bool:
        return False


def keys(number: int) -> KeyPair:
    return create_new_key_pair(number.to_bytes(32, "big"))


def plain_host(number: int, most: int = 64, **more: Any) -> Any:
    """A host as the library makes it, but for what would make it noisy or slow here."""
    library_logs.silence_library_logs()
    config = ConnectionConfig(max_connections=most, min_connections=0, low_watermark=0, high_watermark=0)
    return libp2p.new_host(key_pair=keys(number), connection_config=config, **more)


def our_host(
    number: int, most: int = 64, *, quic: bool = False, websocket: Any = None, webrtc: bool = False
) -> Any:
    """A corrected host; `websocket` is a transport, or True for one with the default options."""
    more: list[Any] = [QuicTransport(keys(number), number.to_bytes(32, "big"))] if quic else []
    if websocket is not None:
        more.append(WebSocketTransport(WebSocketOptions()) if websocket is True else websocket)
    if webrtc:
        from spacedrive_node.actors.swarm.webrtc.transport import WebRtcTransport

        more.append(WebRtcTransport(keys(number), number.to_bytes(32, "big")))
    return host_factory.new_host(keys(number), most, list, more)


def make(corrected: bool, number: int, most: int = 64) -> Any:
    return our_host(number, most) if corrected else plain_host(number, most)


@contextmanager
def silent_address() -> Iterator[str]:
    """An address where nothing is ever answered: its backlog is full."""
    with socket.socket() as full, socket.socket() as filling, socket.socket() as more:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for client in (filling, more):
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        yield f"/ip4/127.0.0.1/tcp/{full.getsockname()[1]}"


@asynccontextmanager
async def running(*hosts: Any, listen: Multiaddr = LOCAL) -> AsyncIterator[tuple[Multiaddr, ...]]:
    """Run hosts, each listening on loopback; gives their addresses. Closed in order."""
    async with trio.open_nursery() as nursery:
        leave = trio.Event()
        found: list[Multiaddr] = []

        async def hold(host: Any, task_status: trio.TaskStatus[None]) -> None:
            async with host_lifecycle.run_host(host):
                await host.get_network().listen(listen)
                found.extend(host.get_transport_addrs())
                task_status.started()
                await leave.wait()

        for host in hosts:
            await nursery.start(hold, host)
        try:
            yield tuple(found)
        finally:
            leave.set()
