"""Over which transport nodes and swarms of the harness listen and dial.

A test that is marked with `over_each_transport` runs over TCP, over QUIC, and over WebRTC where its extra is
installed; all others over TCP. With TEST_TRANSPORT=quic both run over QUIC alone (docs/testing.md), with
`webrtc` over WebRTC, with `ws` over WebSocket, with `both` over TCP and QUIC at once, as a node does by
default.
"""

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.quic.transport import QuicTransport
from spacedrive_node.actors.swarm.websocket.transport import WebSocketTransport
from spacedrive_node.actors.swarm.websocket.wire import WebSocketOptions
from spacedrive_node.config import extras
from spacedrive_node.protocol.multiaddrs import Endpoint

_CHOSEN = os.environ.get("TEST_TRANSPORT", "")
EACH: Sequence[str] = (_CHOSEN,) if _CHOSEN else ("tcp", "quic", *extras.has_webrtc() * ("webrtc",))
"""Over which a test runs that is marked with `over_each_transport`."""
_current = _CHOSEN or "tcp"
_FORMS = {
    "tcp": ("/tcp/{port}",),
    "quic": ("/udp/{port}/quic-v1",),
    "webrtc": ("/udp/{port}/webrtc-direct",),
    "ws": ("/tcp/{port}/ws",),
    "both": ("/tcp/{port}", "/udp/{port}/quic-v1"),
}


def over_each_transport(test: Any) -> Any:
    """Run a test over each transport. The fixture `transport` is in tests/conftest.py."""
    for mark in EACH_TRANSPORT:
        test = mark(test)
    return test


EACH_TRANSPORT = [
    pytest.mark.usefixtures("transport"),
    pytest.mark.parametrize("transport", EACH, indirect=True),
]
"""The same for a module: its `pytestmark`."""


def sample(values: Sequence[str], over_each: Collection[str]) -> list[tuple[str, str]]:
    """Return (value, transport) with each value over one transport, and those of `over_each` over each."""
    return [(value, one) for value in values for one in EACH if one == EACH[0] or value in over_each]


@contextmanager
def using(transport: str) -> Iterator[None]:
    """Let the harness listen and dial over this transport meanwhile."""
    global _current
    before, _current = _current, transport
    try:
        yield
    finally:
        _current = before


def first_transport() -> str:
    """Return the transport of the first address of `listen_addresses`."""
    return _current if _current in ("quic", "webrtc", "ws") else "tcp"


class _FromSource(WebSocketTransport):
    """Dials from the address that is set."""

    source: str | None = None

    async def _connect(self, target: Endpoint) -> trio.abc.Stream:
        return await trio.open_tcp_stream(target.host, target.port, local_address=self.source)


def _new_webrtc(seed: bytes) -> Any:
    """Return a transport that dials from the address that is set. Its extra is imported only here."""
    from spacedrive_node.actors.swarm.webrtc.transport import WebRtcTransport

    class FromSource(WebRtcTransport):
        source: str | None = None

        def open(self, host: str, port: int, accept: Any) -> Any:
            return super().open(host if accept or not self.source else self.source, port, accept)

    return FromSource(create_new_key_pair(seed), seed)


def listen_addresses(port: int = 0, host: str = "/ip4/127.0.0.1") -> tuple[str, ...]:
    """Return where to listen, as multiaddrs."""
    return tuple(host + form.format(port=port) for form in _FORMS[_current])


def more_transports(seed: bytes) -> list[Any]:
    """Return what a host with this transport key has beside TCP."""
    keys = create_new_key_pair(seed)
    if _current == "ws":
        return [_FromSource(WebSocketOptions())]
    if _current == "webrtc":
        return [_new_webrtc(seed)]
    return [] if _current == "tcp" else [QuicTransport(keys, seed)]


async def dial_address(host: Any, address: str, peer: bytes, source: tuple[str, int] | None = None) -> Any:
    """Return a connection of a host with a peer at an address; `source` is where it comes from."""
    network = host.get_network()
    quic = [one for one in network.transport_manager.get_transports() if isinstance(one, QuicTransport)]
    if source is not None and "/quic-v1" in address:
        (transport,) = quic
        transport._dialling.insert(0, transport.open(*source, None))
        source = None
    if source is not None and (address.endswith("/ws") or "/webrtc-direct" in address):
        for one in network.transport_manager.get_transports():
            if hasattr(one, "source"):
                one.source, source = source[0], None
                break
    return await network.dial_addr(Multiaddr(address), ID(peer), source=source)
