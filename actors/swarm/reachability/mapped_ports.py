"""Which ports the gateway is asked to open, and what its answer is taken for. Pure.

Owns the names of the mappings (their nonces), which follow from the transport key: a node that was killed
finds its own mapping again, and nobody else on the network can close it. Implements docs/protocol.md, "Ports
of the gateway".
"""

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable, Sequence

from ....messages.to_lan import MapPorts, PortToMap
from ....messages.to_swarm import PortMapping
from ....messages.types import PortProtocol
from ..dial.addresses import Endpoint
from ..dial.hearsay import is_public
from .core import CHECKED_TRANSPORTS

MAX_PORTS = 8
_NONCE_BYTES = 12


def ports_to_map(listening: Sequence[Endpoint], announced: Iterable[Endpoint], seed: bytes) -> MapPorts:
    """Return what to ask of the gateway: nothing, if this host has a public IPv4 address itself."""
    if any(one.family == "ip4" and one.ip is not None and is_public(one.ip) for one in announced):
        return MapPorts(())
    wanted: dict[tuple[PortProtocol, int], None] = {}
    for endpoint in listening:
        ip = endpoint.ip
        is_reached = isinstance(ip, ipaddress.IPv4Address) and not ip.is_loopback
        if is_reached and endpoint.transport in CHECKED_TRANSPORTS:
            wanted["udp" if endpoint.is_udp else "tcp", endpoint.port] = None
    ports = [PortToMap(protocol, port, _nonce(seed, protocol, port)) for protocol, port in wanted]
    return MapPorts(tuple(ports[:MAX_PORTS]))


def endpoints(mappings: Iterable[PortMapping], listening: Sequence[Endpoint]) -> list[Endpoint]:
    """Return the public addresses of what the gateway has opened for ports on which this node listens."""
    ports = {(one.is_udp, one.port) for one in listening}
    found = []
    for mapping in mappings:
        is_udp = mapping.protocol == "udp"
        try:
            ip = ipaddress.IPv4Address(mapping.external_host)
        except ValueError:
            continue
        if is_public(ip) and (is_udp, mapping.port) in ports:
            found.append(Endpoint("ip4", str(ip), mapping.external_port, "quic" if is_udp else "tcp"))
    return found


def _nonce(seed: bytes, protocol: PortProtocol, port: int) -> bytes:
    message = f"spacedrive port mapping {protocol} {port}".encode()
    return hmac.new(seed, message, hashlib.sha256).digest()[:_NONCE_BYTES]
