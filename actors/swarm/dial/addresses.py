"""Addresses that this node dials, listens on and announces: a closed set of multiaddr forms.

Allowed are /ip4, /ip6, /dns, /dns4 and /dns6 with /tcp/<port>, with or without a trailing /p2p. Anything else
that a stranger sends is dropped here, before it reaches libp2p's parser. Owns the address blocks by which
limits are counted. Pure, except for the list of network interfaces. Implements docs/architecture.md, "Swarm".
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from multiaddr.utils import get_network_addrs

from ....messages.errors import SpacedriveNodeError

MAX_ADDRESSES = 32
_MAX_ADDRESS_CHARACTERS = 256
_FORM = re.compile(
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
    """One parsed address. `host` is an IP address in canonical text or a host name."""

    family: Family
    host: str
    port: int

    def __str__(self) -> str:
        return f"/{self.family}/{self.host}/tcp/{self.port}"

    @property
    def ip(self) -> IpAddress | None:
        """The IP address, or None for a name."""
        return ipaddress.ip_address(self.host) if self.family in ("ip4", "ip6") else None

    def with_port(self, port: int) -> "Endpoint":
        """Return the same host with another port."""
        return Endpoint(self.family, self.host, port)

    def with_ip(self, ip: IpAddress) -> "Endpoint":
        """Return the same port at `ip`."""
        return Endpoint("ip4" if ip.version == 4 else "ip6", str(ip), self.port)


def parse(text: str) -> Endpoint:
    """Parse one multiaddr; a trailing /p2p component is dropped. Raises AddressError."""
    match = _FORM.fullmatch(text) if len(text) <= _MAX_ADDRESS_CHARACTERS else None
    if match is None:
        raise AddressError("only /ip4, /ip6 or /dns with /tcp/<port> is supported")
    family, host, port = cast(Family, match[1]), match[2], int(match[3])
    if port > 65535:
        raise AddressError("no such port")
    if family in ("ip4", "ip6"):
        try:
            ip = ipaddress.IPv4Address(host) if family == "ip4" else ipaddress.IPv6Address(host)
        except ValueError:
            raise AddressError("not an IP address") from None
        return Endpoint(family, str(ip), port)
    if _HOST_NAME.fullmatch(host) is None:
        raise AddressError("not a host name")
    return Endpoint(family, host, port)


def usable(texts: Iterable[str]) -> list[Endpoint]:
    """Return those of the first 32 addresses that can be dialled, without repeats, in their order."""
    found: dict[Endpoint, None] = {}
    for text in list(texts)[:MAX_ADDRESSES]:
        try:
            endpoint = parse(text)
        except AddressError:
            continue
        ip = endpoint.ip
        if endpoint.port == 0 or (ip is not None and (ip.is_unspecified or ip.is_multicast)):
            continue
        found[endpoint] = None
    return list(found)


def is_local_network(ip: IpAddress) -> bool:
    """Return whether `ip` belongs to this host or a private network (what --lan-only allows)."""
    ip = unmapped(ip)
    return ip.is_private or ip.is_loopback or ip.is_link_local


def is_local_host(host: str) -> bool:
    """Return whether the text is an IP address for which `is_local_network` holds."""
    try:
        return is_local_network(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        return False


def unmapped(ip: IpAddress) -> IpAddress:
    """Return the IPv4 address inside an IPv4-mapped IPv6 address, otherwise `ip`."""
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return ip if mapped is None else mapped


def block_of(host: str) -> str | None:
    """Return the address block by which limits are counted: /24 of IPv4, /56 of IPv6.

    None when `host` is no IP address: the connection is gone. (docs/protocol.md, "Limits")
    """
    try:
        ip = unmapped(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        return None
    return str(ipaddress.ip_network((ip, 24 if ip.version == 4 else 56), strict=False))


def is_loopback_block(block: str | None) -> bool:
    """Return whether a block of `block_of` belongs to this host, where many nodes may share it."""
    return block is not None and ipaddress.ip_network(block).is_loopback


def interface_addresses() -> list[IpAddress]:
    """Return the addresses of this host's interfaces, without loopback and link-local ones."""
    found = [ipaddress.ip_address(text) for text in (*get_network_addrs(4), *get_network_addrs(6))]
    return [ip for ip in found if not (ip.is_loopback or ip.is_link_local or ip.is_unspecified)]


def announced(
    listening: Sequence[Endpoint], configured: Sequence[str], interfaces: Sequence[IpAddress]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (addresses to announce, addresses that only this host reaches).

    Configured addresses replace the found ones. Loopback is announced only when there is nothing else.
    """
    reachable: dict[str, None] = {}
    local: dict[str, None] = {}
    for endpoint in listening:
        ip = endpoint.ip
        if ip is None:
            continue
        if ip.is_unspecified:
            local[str(endpoint.with_ip(ipaddress.ip_address("127.0.0.1" if ip.version == 4 else "::1")))] = (
                None
            )
            for interface in interfaces:
                if interface.version == ip.version:
                    reachable[str(endpoint.with_ip(interface))] = None
        elif ip.is_loopback:
            local[str(endpoint)] = None
        else:
            reachable[str(endpoint)] = None
    addresses = tuple(configured) or tuple(reachable) or tuple(local)
    return addresses[:MAX_ADDRESSES], tuple(local)[:MAX_ADDRESSES]
