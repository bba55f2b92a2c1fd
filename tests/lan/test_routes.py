"""Where the gateway is, from what the kernel says."""

import ipaddress
import struct
import sys

from spacedrive_node.actors.lan import routes
from spacedrive_node.actors.lan.interfaces import Interface
from spacedrive_node.actors.lan.port_mapper import Gateway

LAN = Interface(2, (ipaddress.ip_interface("192.168.1.11/24"), ipaddress.ip_interface("fd00::1/64")))
OTHER = Interface(3, (ipaddress.ip_interface("10.0.0.7/8"),))


def route(
    gateway: str, index: int, metric: int = 0, *, bits: int = 0, kind: int = 1, family: int = 2
) -> bytes:
    attributes = b"".join(
        struct.pack("=HH", 8, number) + value
        for number, value in (
            (4, index.to_bytes(4, sys.byteorder)),
            (5, ipaddress.IPv4Address(gateway).packed),
            (6, metric.to_bytes(4, sys.byteorder)),
        )
    )
    body = struct.pack("=BBBBBBBBI", family, bits, 0, 0, 254, 3, 0, kind, 0) + attributes
    return struct.pack("=IHHII", 16 + len(body), 24, 2, 0, 0) + body


def found(*answers: bytes) -> Gateway | None:
    return routes.gateway(answers, (LAN, OTHER))


def test_the_default_route_with_the_least_metric_names_it() -> None:
    assert found(route("10.0.0.1", 3, 600), route("192.168.1.1", 2, 100)) == Gateway(
        ipaddress.IPv4Address("192.168.1.1"), ipaddress.IPv4Address("192.168.1.11")
    )


def test_other_routes_do_not() -> None:
    assert found(route("192.168.1.1", 2, bits=24)) is None
    assert found(route("192.168.1.1", 2, kind=7)) is None
    assert found(route("192.168.1.1", 2, family=10)) is None
    assert found() is None


def test_a_gateway_in_no_network_of_its_interface_is_none() -> None:
    assert found(route("192.168.2.1", 2)) is None
    assert found(route("192.168.1.1", 9)) is None
    assert found(route("192.168.2.1", 2), route("10.0.0.1", 3, 5)) == Gateway(
        ipaddress.IPv4Address("10.0.0.1"), ipaddress.IPv4Address("10.0.0.7")
    )


def test_cut_off_answers_name_nothing() -> None:
    whole = route("192.168.1.1", 2)
    for length in range(len(whole)):
        found(whole[:length])
