"""Addresses that this node dials, listens on and announces (their forms: protocol/multiaddrs.py).

Anything else that a stranger sends is dropped here, before it reaches libp2p's parser. Owns the address
blocks by which limits are counted. Pure, but for the list of network interfaces. Implements
docs/architecture.md, "Swarm".
"""

import ipaddress
from collections.abc import Iterable, Sequence

from ....protocol.multiaddrs import AddressError, Endpoint, IpAddress, parse
from . import interfaces

__all__ = ["AddressError", "Endpoint", "IpAddress", "parse"]

MAX_ADDRESSES = 32


def usable(texts: Iterable[str]) -> list[Endpoint]:
    """Return those of the first 32 addresses that can be dialled, without repeats, in their order."""
    found: dict[Endpoint, None] = {}
    for text in list(texts)[:MAX_ADDRESSES]:
        try:
            endpoint = parse(text)
        except AddressError:
            continue
        ip = None if endpoint.ip is None else unmapped(endpoint.ip)
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


def ip_of(host: str | None) -> IpAddress | None:
    """Return the IP address in a text, without its zone and not mapped; None when there is none."""
    try:
        return None if host is None else unmapped(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        return None


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


def source_of(host: str) -> str:
    """Return what one device may be taken for: an IPv4 address, a block of IPv6.

    Not an IPv4 block: others are in it, and nothing that refuses may count them together.
    """
    try:
        ip = unmapped(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        return host
    return str(ip) if ip.version == 4 else str(ipaddress.ip_network((ip, 56), strict=False))


def is_loopback_block(block: str | None) -> bool:
    """Return whether a block of `block_of` belongs to this host, where many nodes may share it."""
    return block is not None and ipaddress.ip_network(block).is_loopback


def interface_addresses() -> list[IpAddress]:
    """Return the addresses of this host's interfaces, the most useful first (interfaces.py)."""
    return interfaces.addresses()


def announced(
    listening: Sequence[Endpoint], configured: Sequence[str], found: Sequence[IpAddress]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (addresses to announce, addresses that only this host reaches).

    Configured addresses replace the found ones. An address that is listened on comes before those that
    /ip4/0.0.0.0 and /ip6/:: stand for, and these are in the order of `found`. Loopback is announced only
    when there is nothing else.
    """
    reachable: dict[str, int] = {}
    local: dict[str, None] = {}
    for endpoint in listening:
        ip = endpoint.ip
        if ip is None:
            continue
        if ip.is_unspecified:
            local[str(endpoint.with_ip(ipaddress.ip_address("127.0.0.1" if ip.version == 4 else "::1")))] = (
                None
            )
            for place, interface in enumerate(found):
                if interface.version == ip.version:
                    reachable.setdefault(str(endpoint.with_ip(interface)), place)
        elif ip.is_loopback:
            local[str(endpoint)] = None
        else:
            reachable[str(endpoint)] = -1
    addresses = tuple(configured) or tuple(sorted(reachable, key=reachable.__getitem__)) or tuple(local)
    return addresses[:MAX_ADDRESSES], tuple(local)[:MAX_ADDRESSES]
