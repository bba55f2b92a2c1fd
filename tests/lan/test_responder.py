"""The responder in virtual time: what it says, when, to whom, and what it takes back."""

from ipaddress import ip_address, ip_interface

import pytest

from spacedrive_node.actors.lan.admission import SOURCE_PACKETS_PER_SECOND
from spacedrive_node.actors.lan.dns_messages import (
    ANY,
    PTR,
    TXT,
    DnsMessage,
    Pointer,
    Question,
    Text,
    decode,
)
from spacedrive_node.actors.lan.interfaces import Interface
from spacedrive_node.actors.lan.packets import MDNS_PORT, Packet, Place
from spacedrive_node.actors.lan.responder import MAX_CODES_PER_ANSWER, MAX_PACKET_BYTES, Responder
from spacedrive_node.actors.lan.service import SERVICE, TTL_SECONDS, instance_name
from spacedrive_node.protocol.peer_ids import peer_id_text
from spacedrive_node.tests.harness.sample_frames import PEER

ONE, OTHER = "0" * 15 + "1", "0" * 15 + "2"
LAN = Interface(2, (ip_interface("192.168.1.5/24"), ip_interface("fe80::5/64"), ip_interface("fd00::5/64")))
WIRELESS = Interface(3, (ip_interface("10.0.0.5/8"),))
LISTENING = ("/ip4/0.0.0.0/tcp/7520", "/ip6/::/tcp/7520")
ASKS_SERVICE = Question(SERVICE, PTR)


class Time:
    """A responder, and the time."""

    def __init__(self, *interfaces: Interface) -> None:
        self.now = 100.0
        self.responder = Responder(random=lambda: 0.5)
        self.responder.set_interfaces(interfaces, self.now)

    def packets(self) -> list[Packet]:
        return self.responder.poll(self.now)

    def until(self, end: float) -> list[tuple[float, Packet]]:
        """Let the time pass; return what is sent, and when."""
        sent = []
        while (moment := max(self.responder.wake_at(), self.now)) <= end:
            self.now = moment
            sent += [(round(moment, 3), packet) for packet in self.packets()]
        self.now = end
        return sent

    def ask(self, *questions: Question, known: tuple[Pointer, ...] = (), port: int = MDNS_PORT) -> Place:
        place = Place(LAN.index, ip_address("192.168.1.9"), port)
        self.responder.handle_query(DnsMessage(77, False, questions, known), place, self.now)
        return place


def instances(packet: Packet, *, ttl: int = TTL_SECONDS) -> set[str]:
    """The codes of which a packet speaks, with this time to live."""
    message = decode(packet.data)
    assert {record.ttl for record in message.records} == {ttl}
    return {record.target[0].decode() for record in message.records if isinstance(record, Pointer)}


def strings(packet: Packet) -> list[str]:
    (text,) = [record for record in decode(packet.data).records if isinstance(record, Text)]
    return [string.decode() for string in text.strings]


def quiet(*interfaces: Interface) -> Time:
    """A responder that shows ONE and has announced it, a minute ago."""
    time = Time(*interfaces)
    time.responder.announce(ONE, PEER, LISTENING, time.now)
    time.until(time.now + 60)
    return time


def test_a_code_is_announced_four_times_on_each_interface_with_the_addresses_of_that_interface() -> None:
    time = Time(LAN, WIRELESS)
    time.responder.announce(ONE, PEER, LISTENING, time.now)
    sent = time.until(10_000.0)
    for interface, addresses in (
        (LAN, ["a=/ip4/192.168.1.5/tcp/7520", "a=/ip6/fd00::5/tcp/7520", "a=/ip6/fe80::5/tcp/7520"]),
        (WIRELESS, ["a=/ip4/10.0.0.5/tcp/7520"]),
    ):
        there = [(moment, packet) for moment, packet in sent if packet.interface == interface.index]
        assert [moment for moment, _ in there] == [100.0, 101.0, 103.0, 107.0]
        for _, packet in there:
            assert packet.to is None
            assert instances(packet) == {ONE}
            assert strings(packet) == [f"p={peer_id_text(PEER)}", *addresses]
            (pointer, text) = decode(packet.data).records
            assert (pointer.name, text.name) == (SERVICE, instance_name(ONE))


@pytest.mark.parametrize("listening", [("/ip4/127.0.0.1/tcp/7520",), ("/ip4/203.0.113.1/tcp/7520",), ()])
def test_addresses_that_nobody_there_reaches_are_not_announced(listening: tuple[str, ...]) -> None:
    time = Time(LAN)
    time.responder.announce(ONE, PEER, listening, time.now)
    assert time.until(10_000.0) == []


def test_only_what_is_listened_on_is_announced() -> None:
    time = Time(LAN, WIRELESS)
    time.responder.announce(ONE, PEER, ("/ip4/10.0.0.5/tcp/1", "/ip6/::/tcp/2"), time.now)
    sent = {packet.interface: strings(packet)[1:] for _, packet in time.until(100.5)}
    assert sent == {
        LAN.index: ["a=/ip6/fd00::5/tcp/2", "a=/ip6/fe80::5/tcp/2"],
        WIRELESS.index: ["a=/ip4/10.0.0.5/tcp/1"],
    }


def test_questions_by_multicast_are_answered_soon_and_once_a_second() -> None:
    time = quiet(LAN, WIRELESS)
    for _ in range(50):
        time.ask(ASKS_SERVICE)
    ((moment, packet),) = time.until(time.now + 0.5)
    assert 160.02 <= moment <= 160.12
    assert (packet.interface, packet.to, instances(packet)) == (LAN.index, None, {ONE})
    time.ask(Question(SERVICE, ANY), Question(instance_name(ONE), TXT))
    ((again, packet),) = time.until(time.now + 10)
    assert again == pytest.approx(moment + 1.0)


def test_other_questions_are_not_answered() -> None:
    time = quiet(LAN)
    time.ask(Question(SERVICE, TXT), Question(instance_name(ONE), PTR), Question(instance_name(OTHER), TXT))
    time.ask(Question((b"_services", b"_dns-sd", b"_udp", b"local"), PTR), Question((), ANY))
    time.ask()
    assert time.until(time.now + 100) == []


def test_known_answers_are_not_repeated() -> None:
    """Unless half of their time is over."""
    time = quiet(LAN)
    time.ask(ASKS_SERVICE, known=(Pointer(SERVICE, instance_name(ONE), TTL_SECONDS // 2),))
    assert time.until(time.now + 10) == []
    time.ask(ASKS_SERVICE, known=(Pointer(SERVICE, instance_name(OTHER), TTL_SECONDS),))
    assert len(time.until(time.now + 10)) == 1
    time.ask(ASKS_SERVICE, known=(Pointer(SERVICE, instance_name(ONE), TTL_SECONDS // 2 - 1),))
    assert len(time.until(time.now + 10)) == 1


def test_who_asks_for_a_unicast_answer_gets_it_at_once() -> None:
    """And all others get one too if they have heard nothing for a quarter of the time to live."""
    time = quiet(LAN)
    place = time.ask(Question(SERVICE, PTR, unicast=True))
    (packet,) = time.packets()
    assert (packet.to, instances(packet)) == (place, {ONE})
    assert decode(packet.data).questions == ()
    assert [packet.to for _, packet in time.until(time.now + 1)] == [None]
    time.ask(Question(SERVICE, PTR, unicast=True))
    assert [packet.to for _, packet in time.until(time.now + 10)] == [place]


def test_who_asks_from_another_port_gets_an_answer_of_plain_dns() -> None:
    time = quiet(LAN)
    place = time.ask(ASKS_SERVICE, port=40_000)
    ((_, packet),) = time.until(time.now + 10)
    assert (packet.to, instances(packet, ttl=10)) == (place, {ONE})
    message = decode(packet.data)
    assert (message.id, message.questions) == (77, (ASKS_SERVICE,))


def test_answers_to_single_devices_are_bounded() -> None:
    """Nobody makes this node send much to whom he pretends to be."""
    time = quiet(LAN)
    for number in range(300):
        time.responder.announce(f"{number:016x}", PEER, LISTENING, time.now)
    time.until(time.now + 60)
    time.ask(ASKS_SERVICE, port=40_000)
    packets = time.packets()
    assert all(len(packet.data) <= MAX_PACKET_BYTES for packet in packets)
    first = set().union(*(instances(packet, ttl=10) for packet in packets))
    assert len(first) == MAX_CODES_PER_ANSWER
    for _ in range(50):
        time.ask(ASKS_SERVICE, port=40_000)
    assert len(time.packets()) <= 50
    time.now += 10
    time.ask(ASKS_SERVICE, port=40_000)
    second = set().union(*(instances(packet, ttl=10) for packet in time.packets()))
    assert second - first  # another part of them


def test_many_codes_are_told_in_turns_and_each_of_them_is() -> None:
    """A listener reads so many packets of one sender; what all ask at once does not come all at once."""
    time = Time(LAN)
    codes = {f"{number:016x}" for number in range(256)}
    for instance in codes:
        time.responder.announce(instance, PEER, LISTENING, time.now)
    for _ in range(2):
        begin, told = time.now, set()
        sent = time.until(time.now + len(codes) / MAX_CODES_PER_ANSWER)
        for second in range(len(codes) // MAX_CODES_PER_ANSWER):
            there = [packet for moment, packet in sent if second <= moment - begin < second + 1]
            assert 0 < len(there) <= SOURCE_PACKETS_PER_SECOND
            told |= set().union(*map(instances, there))
        assert told == codes
        time.until(time.now + 200)
        time.ask(ASKS_SERVICE)
        time.now = time.responder.wake_at()
    for instance in codes:
        time.responder.withdraw(instance)
    assert set().union(*(instances(packet, ttl=0) for packet in time.packets())) == codes


def test_what_is_withdrawn_is_taken_back() -> None:
    time = quiet(LAN, WIRELESS)
    time.responder.announce(OTHER, PEER, LISTENING, time.now)
    time.packets()
    time.responder.withdraw(ONE)
    packets = time.packets()
    assert {packet.interface for packet in packets} == {LAN.index, WIRELESS.index}
    assert all(instances(packet, ttl=0) == {ONE} for packet in packets)
    assert {one for _, packet in time.until(10_000.0) for one in instances(packet)} == {OTHER}
    time.ask(Question(instance_name(ONE), TXT))
    assert time.until(20_000.0) == []


def test_a_changed_address_is_announced_and_the_former_one_taken_back() -> None:
    time = quiet(WIRELESS)
    moved = Interface(WIRELESS.index, (ip_interface("10.0.0.6/8"),))
    time.responder.set_interfaces([moved], time.now)
    goodbye, hello = time.packets()
    assert strings(goodbye)[1:] == ["a=/ip4/10.0.0.5/tcp/7520"]
    assert instances(goodbye, ttl=0) == {ONE}
    assert strings(hello)[1:] == ["a=/ip4/10.0.0.6/tcp/7520"]
    assert instances(hello) == {ONE}


def test_an_interface_that_comes_back_is_told_again() -> None:
    time = quiet(LAN)
    time.responder.set_interfaces([], time.now)
    assert time.until(time.now + 10) == []
    time.responder.set_interfaces([LAN], time.now)
    assert [instances(packet) for packet in time.packets()] == [{ONE}]


def test_the_same_again_says_nothing_new() -> None:
    time = quiet(LAN)
    time.responder.announce(ONE, PEER, LISTENING, time.now)
    time.responder.set_interfaces([LAN], time.now)
    assert time.until(10_000.0) == []
