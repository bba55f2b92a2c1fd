"""The network interfaces that multicast, and their networks, as the kernel tells them over netlink.

Reads the answers to RTM_GETLINK and RTM_GETADDR (rtnetlink(7)). Pure; actors/netlink.py asks.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ...messages.to_gateway import MAX_LAN_INTERFACES
from ...protocol.multiaddrs import IpAddress
from ..netlink import (
    ADDRESS,
    GET_ADDRESS,
    GET_LINK,
    LINK,
    NEW_ADDRESS,
    NEW_LINK,
    dump_request,
    messages,
    read_address,
)

IpInterface = ipaddress.IPv4Interface | ipaddress.IPv6Interface

MAX_INTERFACES: Final = MAX_LAN_INTERFACES
"""Linux joins a group on twenty interfaces for each socket (igmp_max_memberships)."""
_UP, _LOOPBACK, _POINT_TO_POINT, _RUNNING, _MULTICAST = 0x1, 0x8, 0x10, 0x40, 0x1000
_USELESS: Final = 0x20 | 0x40 | 0x08
"""Addresses that are deprecated, not yet, or not at all, this host's own (IFA_F_DEPRECATED, _TENTATIVE,
_DADFAILED)."""


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface that is up and multicasts: its number, and its addresses with their networks."""

    index: int
    networks: tuple[IpInterface, ...]

    @property
    def addresses(self) -> tuple[IpAddress, ...]:
        """The addresses of this host on it."""
        return tuple(network.ip for network in self.networks)

    def has(self, version: int) -> bool:
        """Return whether it has an address of this IP version."""
        return any(network.version == version for network in self.networks)

    def reaches(self, ip: IpAddress) -> bool:
        """Return whether `ip` can be another host's address in one of its networks."""
        if ip.is_loopback or ip.is_unspecified or ip.is_multicast:
            return False
        return any(
            ip in network.network and not _is_broadcast(ip, network)
            for network in self.networks
            if ip.version == network.version
        )


def _is_broadcast(ip: IpAddress, network: IpInterface) -> bool:
    if ip.version == 6 or network.network.prefixlen >= 31:
        return False
    return ip in (network.network.network_address, network.network.broadcast_address)


def requests() -> tuple[bytes, bytes]:
    """Return the two requests whose answers `parse` reads: one dump each."""
    return dump_request(GET_LINK, LINK.size), dump_request(GET_ADDRESS, ADDRESS.size)


def parse(answers: Iterable[bytes]) -> tuple[Interface, ...]:
    """Return the interfaces in the answers to both requests, in the order of their numbers."""
    usable: set[int] = set()
    networks: dict[int, list[IpInterface]] = {}
    for answer in answers:
        for kind, body in messages(answer):
            if kind == NEW_LINK:
                _family, _type, index, flags, _change = LINK.unpack_from(body)
                wanted = _UP | _RUNNING | _MULTICAST
                if flags & wanted == wanted and not flags & (_LOOPBACK | _POINT_TO_POINT):
                    usable.add(index)
            elif kind == NEW_ADDRESS:
                address = read_address(body)
                if address is not None and not (address.ip.version == 6 and address.flags & _USELESS):
                    network = ipaddress.ip_interface((address.ip, address.prefix_bits))
                    networks.setdefault(address.interface, []).append(network)
    found = [Interface(index, tuple(networks[index])) for index in sorted(usable & networks.keys())]
    return tuple(found[:MAX_INTERFACES])
