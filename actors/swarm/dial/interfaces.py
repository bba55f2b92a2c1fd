"""The network interfaces of this host, in the order in which others are likely to reach them.

A machine with containers has more addresses of empty bridges than of its own, and few fit into a QR code.
First comes the interface of the default route, then others, then bridges and what is plugged into them, and
last what has no carrier; of each kind IPv4 and IPv6 in turn, so that neither fills a QR code alone. Owns
reading /sys and /proc, which happens once, before the sandbox closes (`remember`); netlink tells what is new
afterwards (links.py). Never leaves an address out; link-local ones are asked for by themselves. Where the
kernel cannot be asked, because no descriptor is left, the answer is what it said last.
"""

import ipaddress
import socket
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from ....protocol.multiaddrs import IpAddress
from ... import netlink

DEFAULT_ROUTE, ORDINARY, BRIDGE, NO_CARRIER = range(4)
_MAX_INTERFACES: Final = 1024
_MAX_FILE_CHARACTERS: Final = 1 << 20
_UP: Final = 0x1
"""Flag of a route (linux/route.h, RTF_UP)."""


class _Snapshot(NamedTuple):
    """What the kernel says: each interface's name by its number, and (name, address) of each address."""

    names: dict[int, str]
    addresses: list[tuple[str, str]]


_remembered: dict[str, int] | None = None
_last: _Snapshot | None = None


def remember() -> None:
    """Read the state of the interfaces, for `addresses`."""
    global _remembered
    _remembered = ranks(Path("/"))


def set_ranks(ranks_by_name: Mapping[str, int]) -> None:
    """Set the state of the interfaces anew: netlink has told of a change (links.py)."""
    global _remembered
    _remembered = dict(ranks_by_name)


class OwnAddress(NamedTuple):
    """An address of this host, and the rank of its interface."""

    ip: IpAddress
    rank: int = ORDINARY

    @property
    def is_good(self) -> bool:
        """Whether its interface may lead to other hosts: it is no bridge, and has a carrier."""
        return self.rank < BRIDGE


def addresses() -> list[OwnAddress]:
    """Return the addresses of this host, the most useful first, without loopback and link-local ones."""
    return in_order(_found(), _ranks())


def link_local_addresses() -> list[IpAddress]:
    """Return the link-local addresses of this host, which mean something on one link only."""
    ips = (ipaddress.ip_address(text) for _name, text in _found())
    return sorted((ip for ip in ips if ip.is_link_local), key=lambda ip: ip.version)


def zones() -> list[tuple[str, int]]:
    """Return name and number of each interface that has a link-local IPv6 address, most useful first."""
    now = _snapshot()
    linked = {
        name for name, text in now.addresses if ":" in text and ipaddress.ip_address(text).is_link_local
    }
    numbered = [(name, number) for number, name in now.names.items() if name in linked]
    known = _ranks()
    return sorted(numbered, key=lambda one: (known.get(one[0], ORDINARY), one[1]))


def network() -> frozenset[str]:
    """Return what tells the networks in which this host is from others: it changes when they do.

    The own IPv4 addresses, of IPv6 the networks alone (addresses there change by themselves); not those of
    bridges, which come and go with containers.
    """
    known = _ranks()
    found = {ipaddress.ip_address(text) for name, text in _found() if known.get(name, ORDINARY) != BRIDGE}
    return frozenset(
        str(ip) if ip.version == 4 else f"{int(ip) >> 64:x}"
        for ip in found
        if not (ip.is_loopback or ip.is_link_local)
    )


def in_order(found: Iterable[tuple[str, str]], ranks_by_name: Mapping[str, int]) -> list[OwnAddress]:
    """Return the usable addresses of (interface, address) pairs: by rank, IPv4 and IPv6 in turn.

    Within one rank and IP version public addresses come first, and then they stay as they came.
    """
    rank_of: dict[IpAddress, int] = {}
    for name, text in found:
        ip = ipaddress.ip_address(text)
        if not (ip.is_loopback or ip.is_link_local or ip.is_unspecified):
            rank = ranks_by_name.get(name, ORDINARY)
            rank_of[ip] = min(rank, rank_of.get(ip, rank))
    places: Counter[tuple[int, int]] = Counter()
    keys: dict[IpAddress, tuple[int, int, int]] = {}
    for ip in sorted(rank_of, key=lambda one: not one.is_global):
        rank = rank_of[ip]
        keys[ip] = (rank, places[rank, ip.version], ip.version)
        places[rank, ip.version] += 1
    return [OwnAddress(ip, rank_of[ip]) for ip in sorted(keys, key=keys.__getitem__)]


def _found() -> list[tuple[str, str]]:
    """Return (interface, address without its zone) of every address of this host. Raises OSError."""
    return _snapshot().addresses


def _snapshot() -> _Snapshot:
    """Ask the kernel, or repeat what it said last. Raises OSError if it has never said anything."""
    global _last
    try:
        _last = _asked()
    except OSError:  # no descriptor is left to ask it with: that must not end the swarm, which holds them
        if _last is None:
            raise
    return _last


def _asked() -> _Snapshot:
    names = dict(socket.if_nameindex())
    answers = netlink.ask(netlink.dump_request(netlink.GET_ADDRESS, netlink.ADDRESS.size))
    told = (
        netlink.read_address(body)
        for answer in answers
        for kind, body in netlink.messages(answer)
        if kind == netlink.NEW_ADDRESS
    )
    found = [
        (names[one.interface], str(one.ip)) for one in told if one is not None and one.interface in names
    ]
    return _Snapshot(names, found)


def _ranks() -> dict[str, int]:
    if _remembered is None:
        remember()
    return _remembered or {}


def ranks(root: Path) -> dict[str, int]:
    """Return the rank of each interface, as sysfs(5) and proc(5) below `root` have it."""
    found: dict[str, int] = {}
    try:
        folders = sorted((root / "sys/class/net").iterdir())[:_MAX_INTERFACES]
    except OSError:
        folders = []
    for folder in folders:
        if _read(folder / "carrier").strip() != "1":  # cannot be read while the interface is down
            found[folder.name] = NO_CARRIER
        elif (folder / "bridge").exists() or (folder / "brport").exists():
            found[folder.name] = BRIDGE
        else:
            found[folder.name] = ORDINARY
    for name in _default_route_interfaces(root):
        if found.get(name) != NO_CARRIER:
            found[name] = DEFAULT_ROUTE
    return found


def _default_route_interfaces(root: Path) -> set[str]:
    """Return the interfaces of the default routes with the least metric, one for each IP version."""
    found = set()
    four = [line.split() for line in _read(root / "proc/net/route").splitlines()[1:]]
    six = [line.split() for line in _read(root / "proc/net/ipv6_route").splitlines()]
    routes4 = [
        (int(row[6]), row[0])
        for row in four
        if len(row) >= 8 and row[1] == row[7] == "00000000" and int(row[3], 16) & _UP
    ]
    routes6 = [
        (int(row[5], 16), row[9])
        for row in six
        if len(row) >= 10
        and row[0] == "0" * 32
        and row[1] == "00"
        and row[9] != "lo"
        and int(row[8], 16) & _UP
    ]
    for routes in (routes4, routes6):
        if routes:
            found.add(min(routes)[1])
    return found


def _read(path: Path) -> str:
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            return file.read(_MAX_FILE_CHARACTERS)
    except OSError:
        return ""
