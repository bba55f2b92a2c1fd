"""The gateway of this host, as the kernel tells it over netlink.

Reads the answers to RTMGET_ROUTE (rtnetlink(7)). Owns the form of these bytes, which come from the kernel and
from nobody else. Pure; mapping_sockets.py asks.
"""

import ipaddress
import socket
import sys
from collections.abc import Iterable
from typing import Final

from ..netlink import GET_ROUTE, NEW_ROUTE, ROUTE, attributes, dump_request, messages
from .interfaces import Interface
from .port_mapper import Gateway

_RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY = 4, 5, 6
_UNICAST: Final = 1


def request() -> bytes:
    """Return the request whose answers `gateway` reads."""
    return dump_request(GET_ROUTE, ROUTE.size)


def gateway(answers: Iterable[bytes], interfaces: Iterable[Interface]) -> Gateway | None:
    """Return the gateway of the default route with the least metric; None: there is none.

    Nor is there one whose network is none of an interface's: it is reached in some other way.
    """
    found: list[tuple[int, int, ipaddress.IPv4Address]] = []
    for answer in answers:
        for kind, body in messages(answer):
            if kind != NEW_ROUTE or len(body) < ROUTE.size:
                continue
            family, destination_bits, _source, _tos, _table, _by, _scope, type_, _flags = ROUTE.unpack_from(
                body
            )
            if family != socket.AF_INET or destination_bits or type_ != _UNICAST:
                continue
            of_route = dict(attributes(body[ROUTE.size :]))
            router, oif = of_route.get(_RTA_GATEWAY, b""), of_route.get(_RTA_OIF, b"")
            if len(router) == 4 and len(oif) == 4:
                metric = int.from_bytes(of_route.get(_RTA_PRIORITY, b""), sys.byteorder)
                found.append((metric, int.from_bytes(oif, sys.byteorder), ipaddress.IPv4Address(router)))
    by_index = {interface.index: interface for interface in interfaces}
    for _metric, index, address in sorted(found, key=lambda one: one[0]):
        interface = by_index.get(index)
        for network in () if interface is None else interface.networks:
            if isinstance(network, ipaddress.IPv4Interface) and address in network.network:
                return Gateway(address, network.ip)
    return None
