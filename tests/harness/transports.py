"""Over which transport nodes and swarms of the harness listen and dial.

TEST_TRANSPORT=quic runs a suite over QUIC instead of TCP (docs/testing.md), `ws` over WebSocket; `both` over
TCP and QUIC, as a node does by default.
"""

import os
from typing import Any

import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.quic.transport import QuicTransport
from spacedrive_node.actors.swarm.websocket.transport import WebSocketTransport
from spacedrive_node.actors.swarm.websocket.wire import WebSocketOptions
from spacedrive_node.protocol.multiaddrs import Endpoint

TRANSPORT = os.environ.get("TEST_TRANSPORT", "tcp")
FIRST = TRANSPORT if TRANSPORT in ("quic", "ws") else "tcp"
"""The transport of the first address of `listen_addresses`."""
_FORMS = {
    "tcp": ("/tcp/{port}",),
    "quic": ("/udp/{port}/quic-v1",),
    "ws": ("/tcp/{port}/ws",),
    "both": ("/tcp/{port}", "/udp/{port}/quic-v1"),
}


class _FromSource(WebSocketTransport):
    """Dials from the address that is set."""

    source: str | None = None

    async def _connect(self, target: Endpoint) -> trio.abc.Stream:
        return await trio.open_tcp_stream(target.host, target.port, local_address=self.source)


def listen_addresses(port: int = 0, host: str = "/ip4/127.0.0.1") -> tuple[str, ...]:
    """Return where to listen, as multiaddrs."""
    return tuple(host + form.format(port=port) for form in _FORMS[TRANSPORT])


def more_transports(seed: bytes) -> list[Any]:
    """Return what a host with this transport key has beside TCP."""
    keys = create_new_key_pair(seed)
    if TRANSPORT == "ws":
        return [_FromSource(WebSocketOptions())]
    return [] if TRANSPORT == "tcp" else [QuicTransport(keys, seed)]


async def dial_address(host: Any, address: str, peer: bytes, source: tuple[str, int] | None = None) -> Any:
    """Return a connection of a host with a peer at an address; `source` is where it comes from."""
    network = host.get_network()
    quic = [one for one in network.transport_manager.get_transports() if isinstance(one, QuicTransport)]
    if source is not None and "/quic-v1" in address:
        (transport,) = quic
        transport._dialling.insert(0, transport.open(*source, None))
        source = None
    if source is not None and address.endswith("/ws"):
        for one in network.transport_manager.get_transports():
            if isinstance(one, _FromSource):
                one.source, source = source[0], None
                break
    return await network.dial_addr(Multiaddr(address), ID(peer), source=source)
