"""Addresses that this node dials, listens on and announces (their forms: protocol/multiaddrs.py).

Anything else that a stranger sends is dropped here, before it reaches libp2p's parser. Owns the address
blocks by which limits are counted. Pure, but for the list of network interfaces. Implements
docs/architecture.md, "Swarm".
"""

import ipaddress
from collections.abc import Iterable, Sequence
from typing import TypeGuard

from ....protocol.best_addresses import Place, best
from ....protocol.multiaddrs import AddressError, Endpoint, IpAddress, is_zoned, parse, unmapped
from . import interfaces
from .interfaces import OwnAddress

__all__ = ["AddressError", "Endpoint", "IpAddress", "parse", "unmapped"]

MAX_ADDRESSES = 32
MAX_ZONES = 4
"""A link-local address without a zone is dialled behind this many interfaces."""


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
        if endpoint.transport == "webrtc" and not endpoint.certhash:
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


MAX_DIRECT_BEFORE_CIRCUITS = 2
"""Who takes few addresses (a QR text, a DHT server) gets some of both kinds."""
RELAY_BLOCK = "relay:"
"""Before the peer id of a relay: the block, and in place of an IP address, of all that come through it."""


def block_of(host: str) -> str | None:
    """Return the address block by which limits are counted: /24 of IPv4, /56 of IPv6, or one relay.

    None when `host` is no IP address: the connection is gone. (docs/protocol.md, "Limits")
    """
    if host.startswith(RELAY_BLOCK):
        return host
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


def host_in(block: str | None) -> str | None:
    """Return an IP address in a block of `block_of`, as text; None where there is none: behind a relay."""
    return block.partition("/")[0] if _is_of_addresses(block) else None


def is_loopback_block(block: str | None) -> bool:
    """Return whether a block of `block_of` belongs to this host, where many nodes may share it."""
    return _is_of_addresses(block) and ipaddress.ip_network(block).is_loopback


def is_public_block(block: str | None) -> bool:
    """Return whether a block of `block_of` is one of the Internet; peers behind a relay count as that."""
    return block is not None and (not _is_of_addresses(block) or ipaddress.ip_network(block).is_global)


def _is_of_addresses(block: str | None) -> TypeGuard[str]:
    return block is not None and not block.startswith(RELAY_BLOCK)


def interface_addresses() -> list[OwnAddress]:
    """Return the addresses of this host's interfaces, the most useful first (interfaces.py).

    Link-local ones only if there are no others: two devices on one cable.
    """
    return interfaces.addresses() or [OwnAddress(ip) for ip in interfaces.link_local_addresses()]


def own_addresses() -> list[IpAddress]:
    """Return every address of this host."""
    loopback = map(ipaddress.ip_address, ("127.0.0.1", "::1"))
    found = [one.ip for one in interfaces.addresses()]
    return [*found, *interfaces.link_local_addresses(), *loopback]


def with_zones(endpoint: Endpoint) -> list[Endpoint]:
    """Return where to dial an endpoint: a link-local one behind its interface, by number.

    Behind each interface, if it names none, or one that this host does not have: whoever named it may have
    meant an interface of their own.
    """
    if endpoint.ip is None or not is_zoned(endpoint.ip):
        return [endpoint]
    named = zone_number(endpoint.zone)
    numbers = [number for _name, number in interfaces.zones()] if named is None else [named]
    return [endpoint.with_zone(str(number)) for number in numbers[:MAX_ZONES]]


def zone_number(zone: str) -> int | None:
    """Return the number of the interface that a zone names; None if none with link-local addresses does."""
    return next((number for name, number in interfaces.zones() if zone in (name, str(number))), None)


def announced(
    listening: Sequence[Endpoint], configured: Sequence[str], found: Sequence[OwnAddress]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (addresses to announce, addresses that only this host reaches).

    Configured addresses are announced as they are. Otherwise it is the best four: of those that are listened
    on, and of `found` in place of /ip4/0.0.0.0 and /ip6/::. Loopback is announced only when there is nothing
    else.
    """
    places: list[Place] = []
    local: list[Place] = []
    anywhere = [one for one in listening if one.ip is not None and one.ip.is_unspecified]
    for endpoint in listening:
        if endpoint in anywhere:
            loopback = ipaddress.ip_address("127.0.0.1" if endpoint.family == "ip4" else "::1")
            local.append(Place(endpoint.with_ip(loopback)))
        elif endpoint.ip is not None and endpoint.ip.is_loopback:
            local.append(Place(endpoint))
        else:
            places.append(Place(endpoint.with_zone("")))
    for own in found:
        for endpoint in anywhere:
            if endpoint.family == f"ip{own.ip.version}":
                places.append(Place(endpoint.with_ip(own.ip), own.rank, own.is_good))
    addresses = configured or [str(endpoint) for endpoint in best(places or local)]
    here = dict.fromkeys(str(place.endpoint) for place in local)
    return tuple(addresses)[:MAX_ADDRESSES], tuple(here)[:MAX_ADDRESSES]


def with_circuits(direct: Sequence[str], circuits: Sequence[str]) -> tuple[str, ...]:
    """Return what to announce: direct addresses and those through relays; the first is a direct one."""
    first, rest = direct[:MAX_DIRECT_BEFORE_CIRCUITS], direct[MAX_DIRECT_BEFORE_CIRCUITS:]
    return (*first, *circuits, *rest)[:MAX_ADDRESSES]
