"""Which packets are read: by where they come from, how many, and what they are about."""

from collections import Counter
from ipaddress import ip_address, ip_interface

from spacedrive_node.actors.lan.admission import (
    BLOCK_AFTER_PACKETS,
    BLOCK_SECONDS,
    MAX_BLOCKED,
    MAX_SOURCES,
    READ_PACKETS_PER_SECOND,
    SOURCE_BURST,
    Admission,
)
from spacedrive_node.actors.lan.dns_messages import PTR, Question, query, response
from spacedrive_node.actors.lan.interfaces import Interface
from spacedrive_node.actors.lan.packets import MDNS_PORT, Place
from spacedrive_node.actors.lan.service import SERVICE

LAN = Interface(2, (ip_interface("10.1.0.5/16"), ip_interface("fd00::5/64")))
ASKED = query([Question(SERVICE, PTR)])
ANSWERED = response([])[:12] + ASKED[12:]


def admission() -> Admission:
    made = Admission()
    made.set_interfaces([LAN])
    return made


def outcome(judge: Admission, data: bytes = ASKED, sender: str = "10.1.0.9", port: int = MDNS_PORT) -> str:
    before = Counter(judge.counts)
    admitted = judge.admit(data, sender, port, LAN.index, 1.0)
    ((found, number),) = (Counter(judge.counts) - before).items()
    assert number == 1
    assert (admitted is not None) == (found == "read")
    return found


def test_a_sender_must_be_on_the_link() -> None:
    """IPv6 link-local addresses always are, with or without their zone."""
    judge = admission()
    for sender in ("10.1.0.9", "10.1.0.5", "fd00::9", "fe80::9", "fe80::9%eth0"):
        assert outcome(judge, sender=sender) == "read"
    for sender in ("10.2.0.9", "8.8.8.8", "127.0.0.1", "fd01::9", "::1", "10.1.255.255"):
        assert outcome(judge, sender=sender) == "off_link"
    assert judge.admit(ASKED, "10.1.0.9", MDNS_PORT, 77, 1.0) is None
    place, message = judge.admit(ASKED, "fe80::9%eth0", 4, LAN.index, 1.0) or (None, None)
    assert place == Place(LAN.index, ip_address("fe80::9"), 4)
    assert message is not None
    assert message.questions == (Question(SERVICE, PTR),)


def test_other_services_are_not_read() -> None:
    assert outcome(admission(), query([Question((b"_ipp", b"_tcp", b"local"), PTR)])) == "other_service"
    assert outcome(admission(), b"") == "other_service"
    assert outcome(admission(), query([Question(SERVICE, PTR)]).upper()) == "read"


def test_rubbish_and_responses_from_another_port_are_malformed() -> None:
    assert outcome(admission(), ASKED[:-1]) == "malformed"
    assert outcome(admission(), ASKED, port=40_000) == "read"
    malformed = ASKED[:2] + b"\x84\0" + ASKED[4:]
    assert outcome(admission(), malformed) == "read"
    assert outcome(admission(), malformed, port=40_000) == "malformed"


def test_one_who_sends_too_much_is_cut_and_then_blocked_for_a_while() -> None:
    """Others are heard all the time."""
    judge = admission()
    found = Counter(outcome(judge) for _ in range(BLOCK_AFTER_PACKETS + 200))
    assert found["read"] == SOURCE_BURST
    assert outcome(judge, sender="10.1.0.10") == "read"
    assert judge.blocked == {ip_address("10.1.0.9"): 1.0 + BLOCK_SECONDS}
    judge.unblock(1.0 + BLOCK_SECONDS)
    assert judge.blocked == {}
    assert judge.admit(ASKED, "10.1.0.9", MDNS_PORT, LAN.index, 60.0) is not None


def test_a_crowd_is_bounded_in_all() -> None:
    judge = admission()
    senders = [f"10.1.{high}.{low}" for high in range(8) for low in range(1, 251)]
    found = Counter(outcome(judge, sender=sender) for sender in senders)
    assert found == {"read": READ_PACKETS_PER_SECOND, "too_many": len(senders) - READ_PACKETS_PER_SECOND}
    assert len(judge._sources) == MAX_SOURCES
    for sender in senders[:100]:
        for _ in range(BLOCK_AFTER_PACKETS + 100):
            outcome(judge, sender=sender)
    assert len(judge.blocked) == MAX_BLOCKED
