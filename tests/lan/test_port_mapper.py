"""Leases at a gateway, in virtual time; the gateway's packets are written here by hand, from the RFCs."""

import ipaddress
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacedrive_node.actors.lan import mapping_messages as packets
from spacedrive_node.actors.lan import port_mapper
from spacedrive_node.actors.lan.port_mapper import Gateway, PortMapper
from spacedrive_node.messages.to_lan import PortToMap
from spacedrive_node.messages.to_swarm import PortMapping

OWN = ipaddress.IPv4Address("192.168.1.11")
GATEWAY = Gateway(ipaddress.IPv4Address("192.168.1.1"), OWN)
PUBLIC = ipaddress.IPv4Address("45.77.1.1")
NONCE = b"twelve bytes"
TCP = PortToMap("tcp", 7520, NONCE)
UDP = PortToMap("udp", 7520, b"TWELVE BYTES")
MAPPED = (PortMapping("tcp", 7520, "45.77.1.1", 31000),)


def mapped_ip(ip: ipaddress.IPv4Address) -> bytes:
    return bytes(10) + b"\xff\xff" + ip.packed


def pcp_answer(
    *,
    result: int = 0,
    seconds: int = 3600,
    epoch: int = 100,
    nonce: bytes = NONCE,
    protocol: int = 6,
    port: int = 7520,
    external: int = 31000,
    ip: ipaddress.IPv4Address = PUBLIC,
) -> bytes:
    header = struct.pack("!BBBBII12x", 2, 0x81, 0, result, seconds, epoch)
    return header + struct.pack("!12sB3xHH16s", nonce, protocol, port, external, mapped_ip(ip))


def pmp_answer(*, result: int = 0, seconds: int = 3600, epoch: int = 100, op: int = 130) -> bytes:
    return struct.pack("!BBHIHHI", 0, op, result, epoch, 7520, 31000, seconds)


def pmp_address(ip: ipaddress.IPv4Address = PUBLIC, epoch: int = 100) -> bytes:
    return struct.pack("!BBHI", 0, 128, 0, epoch) + ip.packed


def mapper(*ports: PortToMap, gateway: Gateway | None = GATEWAY) -> PortMapper:
    made = PortMapper(lambda: 0.5)
    made.want(ports or (TCP,), 0.0)
    made.set_gateway(gateway, 0.0)
    return made


def leased(**answer: int) -> PortMapper:
    made = mapper()
    made.poll(0.0)
    made.handle_packet(pcp_answer(**answer), 0.0)  # type: ignore[arg-type]
    return made


def polls(made: PortMapper, until: float) -> Iterator[tuple[float, list[bytes]]]:
    """Let time pass; yield what is sent, and when."""
    while (at := made.wake_at()) <= until:
        if sent := made.poll(at):
            yield at, sent
        made.mappings(at)


def test_the_request_is_that_of_the_rfc() -> None:
    (sent,) = mapper().poll(0.0)
    assert sent == struct.pack("!BBHI16s", 2, 1, 0, 3600, mapped_ip(OWN)) + struct.pack(
        "!12sB3xHH16s", NONCE, 6, 7520, 7520, mapped_ip(ipaddress.IPv4Address(0))
    )
    assert len(sent) == 60


def test_an_answer_is_a_mapping() -> None:
    made = leased()
    assert made.mappings(1.0) == MAPPED
    assert made.states(1.0) == {"mapped": 1, "useless": 0, "asked": 0}


def test_without_a_gateway_nothing_is_sent() -> None:
    made = mapper(gateway=None)
    assert made.poll(0.0) == []
    assert made.wake_at() == float("inf")


def test_a_lease_is_renewed_at_half_of_its_life_with_the_port_that_it_has() -> None:
    made = leased()
    assert made.poll(1799.0) == []
    (sent,) = made.poll(1800.0)
    assert struct.unpack_from("!HH", sent, 24 + 16) == (7520, 31000)
    made.handle_packet(pcp_answer(epoch=1900), 1800.0)
    assert made.wake_at() == 3600.0
    assert made.mappings(5399.0) == MAPPED


def test_a_renewal_without_an_answer_is_repeated_and_the_lease_ends() -> None:
    made = leased()
    times = [at for at, _sent in polls(made, 3599.0)]
    assert times[:4] == [1800.0, 2700.0, 3150.0, 3375.0]
    assert len(times) < 20
    assert made.mappings(3599.0) == MAPPED
    assert made.mappings(3600.0) == ()
    assert [at for at, _sent in polls(made, 3620.0)] == [3600.0, 3603.0, 3609.0]  # as at first


def test_a_silent_gateway_is_asked_ever_more_rarely_in_both_ways() -> None:
    made = mapper()
    sent = list(polls(made, 7200.0))
    assert [at for at, _ in sent][:4] == [0.0, 3.0, 9.0, 21.0]
    assert len(sent) < 20
    versions = [{packet[0] for packet in all_sent} for _at, all_sent in sent]
    assert versions[:4] == [{2}, {2}, {0}, {2}]


@pytest.mark.parametrize("refusal", [struct.pack("!BBHI", 0, 129, 1, 5), struct.pack("!BBHI", 0, 128, 1, 5)])
def test_a_gateway_of_nat_pmp_alone(refusal: bytes) -> None:
    """It says that it does not know this version; then it is asked in its own, at once."""
    made = mapper()
    made.poll(0.0)
    made.handle_packet(refusal, 0.1)
    assert made.poll(0.1) == [b"\0\0", struct.pack("!BBHHHI", 0, 2, 0, 7520, 7520, 3600)]
    made.handle_packet(pmp_answer(), 0.2)
    assert made.mappings(0.2) == ()  # its address is not known yet
    made.handle_packet(pmp_address(), 0.3)
    assert made.mappings(0.3) == MAPPED
    made.release(1.0)
    assert made.poll(1.0) == [struct.pack("!BBHHHI", 0, 2, 0, 7520, 0, 0)]


def of_nat_pmp() -> PortMapper:
    """A port that is mapped by NAT-PMP; where, the gateway has not said, or it was lost."""
    made = mapper()
    made.poll(0.0)
    made.handle_packet(struct.pack("!BBHI", 0, 129, 1, 5), 0.0)
    made.poll(0.0)
    made.handle_packet(pmp_answer(), 0.0)
    return made


def test_a_public_address_that_was_not_told_is_asked_for_again() -> None:
    """The mapping is of no use without it, and is not renewed for half an hour."""
    made = of_nat_pmp()
    asked = list(polls(made, 1799.0))
    assert [at for at, _sent in asked][:4] == [3.0, 9.0, 21.0, 45.0]
    assert len(asked) < 12
    assert {packet for _at, sent in asked for packet in sent} == {b"\0\0"}
    made.handle_packet(pmp_address(epoch=1899), 1799.0)
    assert made.mappings(1799.0) == MAPPED
    assert made.wake_at() == 1800.0


def test_a_gateway_that_gets_its_public_address_later_is_asked_soon() -> None:
    """It was there before its line was, had none to tell, and tells everybody when it has."""
    made = of_nat_pmp()
    made.handle_packet(struct.pack("!BBHII", 0, 128, 3, 100, 0), 0.0)
    list(polls(made, 600.0))
    assert made.wake_at() > 610.0
    made.handle_announcement(pmp_address(epoch=700), 600.0)
    (asked,) = list(polls(made, 604.0))
    assert asked == (603.0, [b"\0\0"])
    made.handle_packet(pmp_address(epoch=703), 603.0)
    assert made.mappings(603.0) == MAPPED


def test_an_address_that_is_told_late_and_is_not_public_gives_the_port_back() -> None:
    made = of_nat_pmp()
    made.handle_packet(pmp_address(ipaddress.IPv4Address("10.1.1.1")), 1.0)
    assert made.poll(1.0) == [struct.pack("!BBHHHI", 0, 2, 0, 7520, 0, 0)]
    assert made.states(1.0) == {"mapped": 0, "useless": 1, "asked": 0}
    assert made.wake_at() == 1.0 + port_mapper.REFUSED_PAUSE_SECONDS


def test_everything_is_given_back_at_the_end() -> None:
    made = mapper(TCP, UDP)
    made.poll(0.0)
    made.handle_packet(pcp_answer(), 0.0)
    made.handle_packet(pcp_answer(nonce=UDP.nonce, protocol=17), 0.0)
    made.release(10.0)
    sent = made.poll(10.0)
    assert [struct.unpack_from("!I", packet, 4)[0] for packet in sent] == [0, 0]
    assert made.mappings(10.0) == ()


def test_what_was_not_given_is_not_given_back() -> None:
    made = mapper()
    made.poll(0.0)
    made.release(1.0)
    assert made.poll(1.0) == []


def test_a_port_that_is_not_wanted_any_more_is_given_back() -> None:
    made = leased()
    made.want([UDP], 5.0)
    closing, asking = made.poll(5.0)
    assert (closing[4:8], closing[36]) == (bytes(4), 6)
    assert (asking[4:8] != bytes(4), asking[36]) == (True, 17)


@pytest.mark.parametrize("epoch", [0, 50, 500])
def test_a_gateway_that_was_restarted_is_asked_anew(epoch: int) -> None:
    """Its time has gone back, or on by more or less than ours: it has forgotten the leases."""
    made = leased(epoch=1000)
    made.poll(1800.0)
    made.handle_packet(pcp_answer(epoch=1000 + epoch), 1800.0)
    assert made.mappings(1801.0) == MAPPED
    assert made.poll(1801.0) == [] or epoch
    quiet = leased(epoch=1000)
    quiet.handle_announcement(struct.pack("!BBBBII12x", 2, 0x80, 0, 0, 0, epoch), 100.0)
    (sent,) = quiet.poll(100.0)
    assert struct.unpack_from("!H", sent, 42)[0] == 31000
    assert quiet.mappings(101.0) == MAPPED
    assert quiet.mappings(161.0) == ()  # it has not answered


def test_a_gateway_that_was_not_restarted_is_not_asked_anew() -> None:
    made = leased(epoch=1000)
    for at, epoch in ((100.0, 1100), (200.0, 1201), (300.0, 1299)):
        made.handle_announcement(struct.pack("!BBBBII12x", 2, 0x80, 0, 0, 0, epoch), at)
        assert made.poll(at) == []


def test_a_flood_of_restarts_is_a_question_in_ten_seconds() -> None:
    """Anybody on the network can send them in the gateway's name."""
    made = leased(epoch=1000)
    sent = 0
    for step in range(1000):
        at = step / 10
        made.handle_announcement(struct.pack("!BBBBII12x", 2, 0x80, 0, 0, 0, step % 2 * 9999), at)
        sent += len(made.poll(at))
        made.handle_packet(pcp_answer(epoch=step % 2 * 9999), at)
    assert sent <= 11


def test_another_public_address_of_the_gateway_is_noticed() -> None:
    made = mapper()
    made.poll(0.0)
    made.handle_packet(struct.pack("!BBHI", 0, 129, 1, 5), 0.0)
    made.poll(0.0)
    made.handle_packet(pmp_address(epoch=100), 0.0)
    made.handle_packet(pmp_answer(epoch=100), 0.0)
    made.handle_announcement(pmp_address(ipaddress.IPv4Address("45.77.2.2"), epoch=150), 50.0)
    assert made.poll(50.0)[0] == b"\0\0"
    made.handle_packet(pmp_address(ipaddress.IPv4Address("45.77.2.2"), epoch=150), 50.0)
    made.handle_packet(pmp_answer(epoch=150), 50.0)
    assert [one.external_host for one in made.mappings(51.0)] == ["45.77.2.2"]


@pytest.mark.parametrize("ip", ["192.168.0.5", "10.1.1.1", "100.64.3.3", "127.0.0.1", "0.0.0.0"])
def test_an_address_that_is_not_public_is_useless_and_given_back(ip: str) -> None:
    """Another NAT is behind this one."""
    made = mapper()
    made.poll(0.0)
    made.handle_packet(pcp_answer(ip=ipaddress.IPv4Address(ip)), 0.0)
    assert made.mappings(0.0) == ()
    assert made.states(0.0) == {"mapped": 0, "useless": 1, "asked": 0}
    (sent,) = made.poll(0.0)
    assert sent[4:8] == bytes(4)
    assert made.wake_at() == port_mapper.REFUSED_PAUSE_SECONDS


@pytest.mark.parametrize(
    "answer",
    [
        pcp_answer(nonce=b"another one!"),
        pcp_answer(port=7521),
        pcp_answer(protocol=17),
        pcp_answer(protocol=1),
        pcp_answer(external=0),
        pcp_answer(seconds=0),
        pcp_answer()[:59],
        pcp_answer() + bytes(2000),
        b"\x02\x01" + pcp_answer()[2:],
        b"\x01" + pcp_answer()[1:],
        pcp_answer()[:44] + bytes(16),
        b"",
    ],
    ids=["nonce", "port", "protocol", "no protocol", "no port", "no time", "cut off", "too long", "a request",
         "version", "no IPv4", "nothing"],
)  # fmt: skip
def test_an_answer_that_does_not_fit_maps_nothing(answer: bytes) -> None:
    made = mapper()
    made.poll(0.0)
    made.handle_packet(answer, 0.0)
    assert made.mappings(0.0) == ()


def test_an_answer_that_was_not_asked_for_changes_nothing() -> None:
    made = mapper()
    made.handle_packet(pcp_answer(), 0.0)
    assert made.mappings(0.0) == ()
    made = leased()
    made.handle_packet(pcp_answer(external=666), 1.0)
    made.handle_packet(pcp_answer(result=2), 1.0)
    assert made.mappings(1.0) == MAPPED


@pytest.mark.parametrize(
    ("result", "seconds", "pause"), [(2, 0, 1800.0), (8, 0, 60.0), (8, 300, 300.0), (8, 10**9, 1800.0)]
)
def test_a_refusal_is_asked_again_later(result: int, seconds: int, pause: float) -> None:
    made = mapper()
    made.poll(0.0)
    made.handle_packet(pcp_answer(result=result, seconds=seconds), 0.0)
    assert made.wake_at() == pause


def test_a_lease_of_a_century_is_renewed_all_the_same() -> None:
    made = leased(seconds=2**32 - 1)
    assert made.wake_at() == port_mapper.MAX_LEASE_SECONDS / 2


def test_another_gateway_has_given_nothing() -> None:
    made = leased()
    made.set_gateway(Gateway(ipaddress.IPv4Address("10.0.0.1"), ipaddress.IPv4Address("10.0.0.7")), 5.0)
    assert made.mappings(5.0) == ()
    (sent,) = made.poll(5.0)
    assert sent[8:24] == mapped_ip(ipaddress.IPv4Address("10.0.0.7"))


@given(st.binary(max_size=80), st.booleans())
def test_arbitrary_packets_raise_nothing_and_map_nothing(data: bytes, to_all: bool) -> None:
    made = mapper(TCP, UDP)
    made.poll(0.0)
    (made.handle_announcement if to_all else made.handle_packet)(data, 0.0)
    assert made.mappings(0.0) == ()
    packets.parse(data)
