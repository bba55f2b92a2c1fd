"""The interfaces that the kernel tells, beside what psutil says; the filter that it runs, on real sockets."""

import select
import socket
from ipaddress import ip_address, ip_interface

import psutil
import pytest

from spacedrive_node.actors.lan import packet_filter
from spacedrive_node.actors.lan.dns_messages import MAX_PACKET_BYTES
from spacedrive_node.actors.lan.interfaces import Interface, parse
from spacedrive_node.actors.lan.sockets import read_interfaces, receive
from spacedrive_node.actors.netlink import INTERFACE_CHANGES, ChangeWatch


def test_the_interfaces_are_those_that_psutil_lists() -> None:
    """Names and flags from psutil, networks from netlink."""
    numbers = {name: index for index, name in socket.if_nameindex()}
    listed = psutil.net_if_addrs()
    found = read_interfaces()
    for interface in found:
        (name,) = [name for name, index in numbers.items() if index == interface.index]
        flags = set(psutil.net_if_stats()[name].flags.split(","))
        assert {"up", "running", "multicast"} <= flags
        assert not {"loopback", "pointopoint"} & flags
        there = {address.address.partition("%")[0] for address in listed[name]}
        assert {str(ip) for ip in interface.addresses} <= there
    usable = {
        numbers[name]
        for name, stats in psutil.net_if_stats().items()
        if {"up", "running", "multicast"} <= set(stats.flags.split(","))
        and not {"loopback", "pointopoint"} & set(stats.flags.split(","))
        and any(address.family == socket.AF_INET for address in listed.get(name, []))
    }
    assert usable <= {interface.index for interface in found}


def test_bytes_that_make_no_sense_are_no_interfaces() -> None:
    assert parse([]) == ()
    assert parse([b"", bytes(3), bytes(16), b"\xff" * 16]) == ()


def test_nothing_has_changed_at_first() -> None:
    watch = ChangeWatch(INTERFACE_CHANGES)
    watch.drain()
    watch.close()


@pytest.mark.timeout(60)
def test_a_socket_that_is_gone_tells_that_all_may_have_changed() -> None:
    watch = ChangeWatch(INTERFACE_CHANGES)
    watch.close()
    assert watch.drain() is None


def test_what_an_interface_reaches() -> None:
    lan = Interface(1, (ip_interface("10.0.0.5/24"), ip_interface("10.9.0.1/31"), ip_interface("fd00::1/64")))
    reached = {"10.0.0.9", "10.9.0.0", "fd00::9"}
    others = {
        "10.0.1.9",
        "10.0.0.255",
        "10.0.0.0",
        "127.0.0.1",
        "0.0.0.0",
        "fd01::9",
        "::1",
        "::",
        "ff02::fb",
    }
    assert {text for text in reached | others if lan.reaches(ip_address(text))} == reached
    assert (lan.has(4), lan.has(6), Interface(1, lan.networks[:1]).has(6)) == (True, True, False)


def test_the_kernel_drops_what_blocked_senders_send() -> None:
    """And nothing else, until they are blocked no more."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as good,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bad,
    ):
        receiver.bind(("0.0.0.0", 0))
        receiver.settimeout(60)
        good.bind(("127.0.0.3", 0))
        bad.bind(("127.0.0.2", 0))
        to = ("127.0.0.1", receiver.getsockname()[1])
        packet_filter.attach(
            receiver, packet_filter.program([ip_address("127.9.9.9"), ip_address("127.0.0.2")])
        )
        bad.sendto(b"bad", to)
        good.sendto(b"good", to)
        assert receiver.recv(9) == b"good"
        packet_filter.attach(receiver, packet_filter.program([]))
        bad.sendto(b"bad", to)
        assert receiver.recv(9) == b"bad"


def test_the_kernel_drops_by_ipv6_address_too() -> None:
    with (
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("::1", 0))
        receiver.settimeout(60)
        to = ("::1", receiver.getsockname()[1])
        packet_filter.attach(receiver, packet_filter.program([ip_address("fd00::1"), ip_address("::1")]))
        sender.sendto(b"dropped", to)
        packet_filter.attach(
            receiver, packet_filter.program([ip_address("fd00::1"), ip_address("::2"), ip_address("1::1")])
        )
        sender.sendto(b"passed", to)
        assert receiver.recv(9) == b"passed"


def test_packets_that_are_too_large_count_and_are_not_read() -> None:
    """Each is received with its sender and interface, so that one who floods with them is noticed."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
        receiver.bind(("127.0.0.1", 0))
        receiver.setblocking(False)
        sender.bind(("127.0.0.2", 0))
        for size in (MAX_PACKET_BYTES, MAX_PACKET_BYTES + 1):
            sender.sendto(bytes(size), receiver.getsockname())
        assert select.select([receiver], [], [], 10)[0]
        found = list(receive(receiver, 64))
        assert [len(packet.data) for packet in found] == [MAX_PACKET_BYTES, 0]
        assert {(packet.sender, packet.interface) for packet in found} == {
            ("127.0.0.2", socket.if_nametoindex("lo"))
        }
        assert list(receive(receiver, 64)) == []
