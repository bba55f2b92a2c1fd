"""The relay before a node for each transport that has one."""

from typing import Literal

from spacedrive_node.tests.harness.faults.tcp_relay import TcpRelay
from spacedrive_node.tests.harness.faults.udp_relay import UdpRelay

RelayedTransport = Literal["tcp", "quic"]
RELAYED_TRANSPORTS: tuple[RelayedTransport, ...] = ("tcp", "quic")
Relay = TcpRelay | UdpRelay


def relay_of(transport: RelayedTransport) -> Relay:
    """Return a new relay for this transport."""
    return TcpRelay() if transport == "tcp" else UdpRelay()


def listen_address(transport: RelayedTransport, port: int) -> str:
    """Return the end of a multiaddr, after the IP address."""
    return f"/tcp/{port}" if transport == "tcp" else f"/udp/{port}/quic-v1"
