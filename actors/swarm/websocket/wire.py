"""What is configured for WebSocket, and the error of everything that goes wrong in it."""

import ipaddress
from dataclasses import dataclass

from ....messages.errors import SpacedriveNodeError

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class WebSocketError(SpacedriveNodeError, OSError):
    """The connection was not made, or has ended. The text is short and quotes nothing of the peer."""


@dataclass(frozen=True, slots=True)
class WebSocketOptions:
    """How this node listens, and whom it trusts.

    path: what a request has to ask for. proxies: who may say for whom a request is. certificate, key: files
    in PEM, where TLS is listened on. ca: a file with more roots that are trusted in dials.
    """

    path: str = "/"
    proxies: tuple[IpNetwork, ...] = ()
    certificate: str | None = None
    key: str | None = None
    ca: str | None = None

    def is_proxy(self, ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        """Return whether an address is one of a configured proxy."""
        return any(ip.version == network.version and ip in network for network in self.proxies)
