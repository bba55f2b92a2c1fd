"""Addresses that this node dials, listens on and announces (their forms: protocol/multiaddrs.py).

Anything else that a stranger sends is dropped here, before it reaches libp2p's parser. Owns the address
blocks by which limits are counted. Pure, except for the list of network interfaces. Implements
docs/architecture.md, "Swarm".
"""

import ipaddress
from collections.abc import Iterable, Sequence

from multiaddr.utils import get_network_addrs

from ....protocol.multiaddrs import AddressError, Endpoint, IpAddress, parse

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
