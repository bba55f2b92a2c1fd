"""The networks in which this host is now, as the kernel tells them over netlink: what a change is, and ranks.

Reads the answers to RTM_GETLINK, RTM_GETADDR and RTM_GETROUTE (rtnetlink(7)). A change is another address, a
cable that is plugged in or out, or another default route; not what containers do, whose bridges lead nowhere,
nor a new temporary address in the same IPv6 network. Pure; network_watch.py asks.
"""

import socket
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

from ...netlink import (
    ADDRESS,
    DELETED_ADDRESS,
    DELETED_LINK,
    GET_ADDRESS,
    GET_LINK,
    GET_ROUTE,
    LINK,
    NEW_ADDRESS,
    NEW_LINK,
    NEW_ROUTE,
    ROUTE,
    attributes,
    dump_request,
    messages,
    read_address,
)
from .interfaces import BRIDGE, DEFAULT_ROUTE, NO_CARRIER, ORDINARY

MAX_INTERFACES: Final = 1024
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_INFO_KIND, _IFLA_INFO_SLAVE_KIND = 3, 18, 1, 4
_RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY = 4, 5, 6
_UP, _LOOPBACK, _LOWER_UP = 0x1, 0x8, 0x10000
_TENTATIVE, _DAD_FAILED = 0x40, 0x08
_UNICAST, _MAIN_TABLE = 1, 254


@dataclass(frozen=True, slots=True)
class Networks:
    """Ranks of the interfaces (interfaces.py) by name, and what tells one place in the world from another."""

    ranks: dict[str, int]
    marks: frozenset[tuple[str, ...]]
    """Of each network in which this host is, and of each way out of it."""

    interfaces: frozenset[int]
    """The numbers of those on which these networks are."""

    @property
    def leads_anywhere(self) -> bool:
        """Whether there is any network but this host itself."""
        return bool(self.marks)


@dataclass(slots=True)
class _Link:
    name: str
    has_carrier: bool
    is_bridge: bool


@dataclass(slots=True)
class _Found:
    links: dict[int, _Link] = field(default_factory=dict)
    addresses: list[tuple[int, str]] = field(default_factory=list)
    routes: list[tuple[int, int, int, str]] = field(default_factory=list)
    """IP version, metric, interface, gateway of each default route."""


def requests() -> tuple[bytes, bytes, bytes]:
    """Return the requests whose answers `parse` reads."""
    sizes = ((GET_LINK, LINK.size), (GET_ADDRESS, ADDRESS.size), (GET_ROUTE, ROUTE.size))
    one, other, third = (dump_request(kind, size) for kind, size in sizes)
    return one, other, third


def parse(answers: Iterable[bytes]) -> Networks:
    """Return what the answers to all requests say."""
    found = _Found()
    for answer in answers:
        for kind, body in messages(answer):
            if kind == NEW_LINK and len(body) >= LINK.size and len(found.links) < MAX_INTERFACES:
                _read_link(found, body)
            elif kind == NEW_ADDRESS:
                _read_address(found, body)
            elif kind == NEW_ROUTE and len(body) >= ROUTE.size:
                _read_route(found, body)
    useful = {index: link for index, link in found.links.items() if link.has_carrier and not link.is_bridge}
    marks = {(useful[index].name, network) for index, network in found.addresses if index in useful}
    best = _best_routes(found, useful)
    ways = {("route", useful[index].name, gateway) for index, gateway in best}
    ranks = _ranks(found, {index for index, _gateway in best})
    numbers = {index for index, _network in found.addresses if index in useful}
    return Networks(ranks, frozenset({*marks, *ways}), frozenset(numbers))


def is_interruption(change: bytes, interfaces: Collection[int]) -> bool:
    """Return whether a change says that one of these interfaces was gone, if only for a moment.

    Another network may have the same addresses, 192.168.1.0/24 for example.
    """
    for kind, body in messages(change):
        if kind in (NEW_LINK, DELETED_LINK) and len(body) >= LINK.size:
            _family, _type, index, flags, _change = LINK.unpack_from(body)
            is_gone = kind == DELETED_LINK or not flags & _LOWER_UP
        elif kind == DELETED_ADDRESS and len(body) >= ADDRESS.size:
            family, _prefix, _flags, _scope, index = ADDRESS.unpack_from(body)
            is_gone = family == socket.AF_INET
        else:
            continue
        if is_gone and index in interfaces:
            return True
    return False


def _ranks(found: _Found, with_default_route: set[int]) -> dict[str, int]:
    ranks = {}
    for index, link in found.links.items():
        rank = BRIDGE if link.is_bridge else ORDINARY
        rank = DEFAULT_ROUTE if index in with_default_route else rank
        ranks[link.name] = rank if link.has_carrier else NO_CARRIER
    return ranks


def _best_routes(found: _Found, useful: dict[int, _Link]) -> set[tuple[int, str]]:
    """Return interface and gateway of the default route with the least metric, of each IP version."""
    best = set()
    for version in (4, 6):
        ways = [one[1:] for one in found.routes if one[0] == version and one[2] in useful]
        if ways:
            _metric, index, gateway = min(ways)
            best.add((index, gateway))
    return best


def _read_link(found: _Found, body: bytes) -> None:
    _family, _type, index, flags, _change = LINK.unpack_from(body)
    if flags & _LOOPBACK:
        return
    of_link = dict(attributes(body[LINK.size :]))
    info = dict(attributes(of_link.get(_IFLA_LINKINFO, b"")))
    kinds = {info.get(one, b"").rstrip(b"\0") for one in (_IFLA_INFO_KIND, _IFLA_INFO_SLAVE_KIND)}
    name = of_link.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace")
    carrier = _UP | _LOWER_UP
    found.links[index] = _Link(name, flags & carrier == carrier, b"bridge" in kinds)


def _read_address(found: _Found, body: bytes) -> None:
    address = read_address(body)
    if address is None or address.ip.is_loopback or address.ip.is_link_local:
        return
    ip = address.ip
    if ip.version == 6 and address.flags & (_TENTATIVE | _DAD_FAILED):
        return
    found.addresses.append((address.interface, str(ip) if ip.version == 4 else ip.packed[:8].hex()))


def _read_route(found: _Found, body: bytes) -> None:
    family, destination_bits, _source, _tos, table, _by, _scope, kind, _flags = ROUTE.unpack_from(body)
    if destination_bits or kind != _UNICAST or table != _MAIN_TABLE:
        return
    of_route = dict(attributes(body[ROUTE.size :]))
    index, metric = (
        int.from_bytes(of_route.get(one, b""), sys.byteorder) for one in (_RTA_OIF, _RTA_PRIORITY)
    )
    version = {socket.AF_INET: 4, socket.AF_INET6: 6}.get(family)
    if version is not None and index:
        found.routes.append((version, metric, index, of_route.get(_RTA_GATEWAY, b"").hex()))
