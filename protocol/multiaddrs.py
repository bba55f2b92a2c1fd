"""The multiaddr forms of this node, a closed set: what it dials, listens on, announces, is configured with.

Allowed are /ip4, /ip6, /dns, /dns4 and /dns6 with /tcp/<port>, with or without a trailing /p2p; a link-local
/ip6 may follow /ip6zone/<interface>. The settings and the swarm read addresses with the same `parse`, so that
what one accepts the other can use. Pure; without libp2p's parser, which strangers' texts never reach.
"""

import ipaddress
import re
from dataclasses import dataclass, replace
from typing import Literal, cast

from ..messages.errors import SpacedriveNodeError
from ..messages.types import Transport

MAX_ADDRESS_CHARACTERS = 256
_FORM = re.compile(
    r"(?:/ip6zone/([A-Za-z0-9._:@-]{1,15}))?"
    r"/(ip4|ip6|dns|dns4|dns6)/([A-Za-z0-9.:_-]{1,253})/tcp/([0-9]{1,5})(?:/p2p/[A-Za-z0-9]{1,128})?"
)
_HOST_NAME = re.compile(
    r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\.?"
)

Family = Literal["ip4", "ip6", "dns", "dns4", "dns6"]
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressError(SpacedriveNodeError, ValueError):
    """Not one of the multiaddr forms that this node uses."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One parsed address. `host` is an IP address in canonical text or a host name.

    `zone` is the interface behind which a link-local IPv6 address is, by name or number; "" if none is named.
    """

    family: Family
    host: str
    port: int
    transport: Transport = "tcp"
    zone: str = ""

    def __str__(self) -> str:
        zone = f"/ip6zone/{self.zone}" if self.zone else ""
        return f"{zone}/{self.family}/{self.host}/tcp/{self.port}"

    @property
    def ip(self) -> IpAddress | None:
        """The IP address, or None for a name."""
        return ipaddress.ip_address(self.host) if self.family in ("ip4", "ip6") else None

    def with_port(self, port: int) -> "Endpoint":
        """Return the same host with another port."""
        return replace(self, port=port)

    def with_zone(self, zone: str) -> "Endpoint":
        """Return the same address behind another interface, or behind none that is named."""
        return replace(self, zone=zone)

    def with_ip(self, ip: IpAddress) -> "Endpoint":
        """Return the same port at `ip`."""
        return Endpoint("ip4" if ip.version == 4 else "ip6", str(ip), self.port, self.transport)


def parse(text: str) -> Endpoint:
    """Parse one multiaddr; a trailing /p2p component is dropped. Raises AddressError.

    An IPv4 address that is mapped into IPv6 is the IPv4 address.
    """
    match = _FORM.fullmatch(text) if len(text) <= MAX_ADDRESS_CHARACTERS else None
    if match is None:
        raise AddressError("only /ip4, /ip6 or /dns with /tcp/<port> is supported")
    zone, family, host, port = match[1] or "", cast(Family, match[2]), match[3], int(match[4])
    if port > 65535:
        raise AddressError("no such port")
    if family in ("ip4", "ip6"):
        try:
            ip = ipaddress.IPv4Address(host) if family == "ip4" else ipaddress.IPv6Address(host)
        except ValueError:
            raise AddressError("not an IP address") from None
        if zone and not is_zoned(ip):
            raise AddressError("a zone belongs to a link-local IPv6 address")
        return replace(Endpoint(family, host, port).with_ip(unmapped(ip)), zone=zone)
    if zone or _HOST_NAME.fullmatch(host) is None:
        raise AddressError("not a host name")
    return Endpoint(family, host, port)


def unmapped(ip: IpAddress) -> IpAddress:
    """Return the IPv4 address inside an IPv4-mapped IPv6 address, otherwise `ip`."""
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return ip if mapped is None else mapped


def is_zoned(ip: IpAddress) -> bool:
    """Return whether `ip` leads nowhere without the interface behind which it is."""
    return ip.version == 6 and ip.is_link_local
