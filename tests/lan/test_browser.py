"""The browser in virtual time: what it asks, and what it believes of what it hears."""

from ipaddress import ip_address, ip_interface

import pytest

from spacedrive_node.actors.lan.browser import (
    MAX_DEVICES,
    MAX_DEVICES_PER_SOURCE,
    MAX_QUESTIONS_FOR_TEXT,
    MAX_REPORTS_OF_DEVICE,
    Browser,
)
from spacedrive_node.actors.lan.dns_messages import (
    PTR,
    TXT,
    DnsMessage,
    Pointer,
    Question,
    Record,
    Text,
    decode,
    response,
)
from spacedrive_node.actors.lan.interfaces import Interface
from spacedrive_node.actors.lan.packets import MDNS_PORT, Packet, Place
from spacedrive_node.actors.lan.service import (
    MAX_ADDRESSES,
    SERVICE,
    encoded_records,
    instance_name,
    strings_of,
)
from spacedrive_node.messages.base import encode
from spacedrive_node.messages.to_discovery import LanPeer
from spacedrive_node.messages.to_discovery import decode as decode_for_discovery
from spacedrive_node.messages.types import PeerAddresses
from spacedrive_node.protocol.peer_ids import peer_id_of

ONE, OTHER = "0" * 15 + "1", "0" * 15 + "2"
LAN = Interface(2, (ip_interface("192.168.1.5/24"), ip_interface("fe80::5/64"), ip_interface("fd00::5/64")))
WIRELESS = Interface(3, (ip_interface("10.0.0.5/8"),))
SOURCE = "192.168.1.9"


def peer(number: int) -> bytes:
    return peer_id_of(number.to_bytes(32, "big"))


def browsing(*interfaces: Interface) -> Browser:
    browser = Browser(random=lambda: 0.5)
    browser.browse(ONE, 0.0)
    browser.set_interfaces(interfaces or (LAN,), 0.0)
    return browser


def hear(browser: Browser, *said: Record, source: str = SOURCE, interface: int = LAN.index) -> list[LanPeer]:
    place = Place(interface, ip_address(source), MDNS_PORT)
    return browser.handle_response(DnsMessage(0, True, (), said), place, 0.0)


def say(number: int, *addresses: str, instance: str = ONE, ttl: int = 120) -> tuple[Record, ...]:
    return decode(response(encoded_records(instance, strings_of(peer(number), addresses), ttl))).records


def questions(packet: Packet) -> tuple[Question, ...]:
    message = decode(packet.data)
    assert (message.response, message.records) == (False, ())
    return message.questions


def test_the_question_is_for_the_service_and_its_pauses_double() -> None:
    """Never for a code: who hears it does not learn which code was entered."""
    browser = browsing(LAN, WIRELESS)
    asked: dict[int, list[tuple[float, tuple[Question, ...]]]] = {LAN.index: [], WIRELESS.index: []}
    while (now := browser.wake_at()) < 100.0:
        for packet in browser.poll(now):
            assert packet.to is None
            asked[packet.interface].append((now, questions(packet)))
    for times in asked.values():
        assert [moment for moment, _ in times] == [0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0]
        assert times[0][1] == (Question(SERVICE, PTR, unicast=True),)
        assert {one for _, one in times[1:]} == {(Question(SERVICE, PTR),)}


def test_another_code_and_another_interface_are_asked_for_soon() -> None:
    browser = browsing(LAN)
    browser.poll(0.0)
    browser.browse(OTHER, 0.2)
    assert browser.wake_at() == 1.0  # no question within a second of the last
    browser.poll(1.0)
    browser.set_interfaces([LAN, WIRELESS], 1.1)
    assert browser.wake_at() == pytest.approx(1.17)
    assert [packet.interface for packet in browser.poll(browser.wake_at())] == [WIRELESS.index]


def test_without_a_code_nothing_is_asked_and_nothing_believed() -> None:
    browser = browsing(LAN)
    browser.stop(ONE)
    assert browser.poll(1000.0) == []
    assert browser.wake_at() == float("inf")
    assert hear(browser, *say(1, "/ip4/192.168.1.9/tcp/1")) == []


def test_a_device_is_reported_with_what_it_is_believed_about() -> None:
    """Addresses in a network of the interface; its own is no hearsay. Never loopback or another network."""
    named = hear(
        browsing(),
        *say(
            1,
            "/ip4/127.0.0.1/tcp/1", "/ip4/0.0.0.0/tcp/1", "/ip4/10.0.0.1/tcp/1", "/ip4/8.8.8.8/tcp/1",
            "/ip6/::1/tcp/1", "/ip6/fd01::9/tcp/1", "/ip6/::ffff:10.0.0.9/tcp/1",
            "/ip4/192.168.1.255/tcp/1", "/dns4/localhost/tcp/1",
            "/ip4/192.168.1.9/tcp/0", "/ip4/224.0.0.251/tcp/1", "rubbish", "",
        ),
    )  # fmt: skip
    assert named == []
    believed = ("/ip4/192.168.1.9/tcp/1", "/ip4/192.168.1.7/tcp/2", "/ip6/fd00::9/tcp/3")
    (report,) = hear(browsing(), *say(1, "/ip4/10.0.0.1/tcp/1", *believed))
    assert report == LanPeer(ONE, ip_address(SOURCE).packed, PeerAddresses(peer(1), believed, believed[1:]))


def test_an_address_that_is_too_long_behind_an_interface_is_left_out() -> None:
    """The others of the same device are told, in a message that discovery takes."""
    name = ".".join("abc"[number] * 60 for number in range(3)) + ".example.net"
    named = (f"/ip6/fe80::9/tcp/1/tls/sni/{name}.{'d' * 25}/ws", "/ip6/fe80::9/tcp/1")
    (told,) = hear(browsing(), *say(7, *named), source="fe80::9")
    assert told.named.addresses == ("/ip6zone/2/ip6/fe80::9/tcp/1",)
    assert decode_for_discovery(encode(told)) == told


def test_a_link_local_address_is_one_behind_the_interface_on_which_it_was_named() -> None:
    """The sender's own is no hearsay, also where it came with a zone of this host."""
    (report,) = hear(browsing(), *say(1, "/ip6/fe80::9/tcp/1", "/ip6/fe80::8/tcp/1"), source="fe80::9")
    addresses = ("/ip6zone/2/ip6/fe80::9/tcp/1", "/ip6zone/2/ip6/fe80::8/tcp/1")
    assert report.named == PeerAddresses(peer(1), addresses, addresses[1:])


def test_what_is_said_on_one_network_counts_for_that_one() -> None:
    """On the wireless network nobody is believed about the cable's, and the reverse."""
    browser = browsing(LAN, WIRELESS)
    said = say(1, "/ip4/192.168.1.9/tcp/1", "/ip4/10.0.0.9/tcp/1")
    (on_lan,) = hear(browser, *said)
    assert on_lan.named.addresses == ("/ip4/192.168.1.9/tcp/1",)
    (on_wireless,) = hear(browser, *said, source="10.0.0.9", interface=WIRELESS.index)
    assert on_wireless.named.addresses == ("/ip4/10.0.0.9/tcp/1",)
    assert hear(browser, *said, interface=99) == []


def test_what_is_not_about_a_code_that_is_looked_for_is_dropped() -> None:
    browser = browsing()
    assert hear(browser, *say(1, "/ip4/192.168.1.9/tcp/1", instance=OTHER)) == []
    assert hear(browser, *say(1, "/ip4/192.168.1.9/tcp/1", ttl=0)) == []
    for strings in ([], [b"p=QmNothing"], [b"p=\xff"], [*strings_of(peer(1), []), *strings_of(peer(2), [])]):
        said = Text(instance_name(ONE), (*strings, b"a=/ip4/192.168.1.9/tcp/1"), 120)
        assert hear(browser, said) == []
    assert hear(browser, Text((ONE.encode(), b"_other", b"_udp", b"local"), (), 120)) == []


def test_the_same_is_reported_once_until_it_is_asked_for_anew() -> None:
    browser = browsing()
    said = say(1, "/ip4/192.168.1.9/tcp/1")
    assert len(hear(browser, *said)) == 1
    assert hear(browser, *said) == []
    browser.browse(ONE, 5.0)
    assert len(hear(browser, *said)) == 1


def test_one_who_says_much_takes_little_room() -> None:
    """Devices of one address, other addresses of one device, and devices in all."""
    browser = browsing()
    reports = [one for number in range(100) for one in hear(browser, *say(number, "/ip4/192.168.1.9/tcp/1"))]
    assert len(reports) == MAX_DEVICES_PER_SOURCE
    reports = [
        one
        for port in range(1, 100)
        for one in hear(browser, *say(1, f"/ip4/192.168.1.8/tcp/{port}"), source="192.168.1.8")
    ]
    assert len(reports) == MAX_REPORTS_OF_DEVICE
    many = say(2, *(f"/ip4/192.168.1.7/tcp/{port}" for port in range(1, 100)))
    (report,) = hear(browser, *many, source="192.168.1.7")
    assert len(report.named.addresses) == MAX_ADDRESSES
    for host in range(10, 250):
        hear(browser, *say(host, f"/ip4/192.168.1.{host}/tcp/1"), source=f"192.168.1.{host}")
    assert sum(len(search.found) for search in browser._searches.values()) == MAX_DEVICES


def test_a_responder_that_does_not_say_who_it_is_is_asked_a_few_times() -> None:
    """One that never answers costs four questions, and others are heard meanwhile."""
    browser = browsing()
    pointer = Pointer(SERVICE, instance_name(ONE), 120)
    asked, now = 0, 0.0
    for _ in range(100):
        hear(browser, pointer)
        now += 1.0
        asked += sum(Question(instance_name(ONE), TXT) in questions(packet) for packet in browser.poll(now))
    assert asked == MAX_QUESTIONS_FOR_TEXT
    assert len(hear(browser, pointer, *say(1, "/ip4/192.168.1.9/tcp/1"))) == 1
