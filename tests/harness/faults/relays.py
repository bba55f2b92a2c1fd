"""The relay before a node for each transport that has one."""

from typing import Literal

from spacedrive_node.config import extras
from spacedrive_node.tests.harness.faults.tcp_relay import TcpRelay
from spacedrive_node.tests.harness.faults.udp_relay import UdpRelay

RelayedTransport = Literal["tcp", "quic", "webrtc"]
RELAYED_TRANSPORTS: tuple[RelayedTransport, ...] = (
    ("tcp", "quic", "webrtc") if extras.has_webrtc() else ("tcp", "quic")
)
Relay = TcpRelay | UdpRelay


def relay_of(transport: RelayedTransport) -> Relay:
    """Return a new relay for this transport."""
    return TcpRelay() if transport == "tcp" else UdpRelay(by_sender=transport == "webrtc")


def listen_address(transport: RelayedTransport, port: int) -> str:
    """Return the end of a multiaddr, after the IP address."""
    forms = {"tcp": "/tcp/{}", "quic": "/udp/{}/quic-v1", "webrtc": "/udp/{}/webrtc-direct"}
    return forms[transport].format(port)
