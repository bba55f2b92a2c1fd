"""DNS messages for TXT records, against a second implementation, and as strangers may write them."""

import os
import random
import struct

import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacedrive_node.actors.swarm.names import txt_messages
from spacedrive_node.actors.swarm.names.txt_messages import Answer, DnsError, query, question_of, read_answer
from spacedrive_node.tests.harness.function_calls import function_calls

NAME = "_dnsaddr.bootstrap.example.org"
QUESTION = question_of(NAME)


def response(*texts: str, number: int = 7, name: str = NAME) -> dns.message.Message:
    asked = dns.message.from_wire(query(number, question_of(name)))
    found = dns.message.make_response(asked)
    if texts:
        quoted = [f'"{text}"' for text in texts]
        found.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "TXT", *quoted))
    return found


def read(message: dns.message.Message) -> Answer:
    return read_answer(message.to_wire(max_size=65535), 7, QUESTION)


def test_a_query_is_what_another_implementation_reads() -> None:
    asked = dns.message.from_wire(query(0x1234, QUESTION))
    assert (asked.id, asked.flags, asked.payload) == (0x1234, dns.flags.RD, 1232)
    assert asked.question[0].name.to_text() == f"{NAME}."
    assert asked.question[0].rdtype == dns.rdatatype.TXT
    assert question_of(f"{NAME.upper()}.") == QUESTION


@pytest.mark.parametrize("name", ["", ".", "a..b", "a" * 64 + ".org", ".".join(["a"] * 200), "a" * 300])
def test_what_is_no_name_is_not_asked(name: str) -> None:
    with pytest.raises(DnsError):
        question_of(name)


def test_the_records_of_an_answer() -> None:
    found = read(response("dnsaddr=/ip4/1", "other"))  # in any order
    assert (set(found.texts), found.is_final, found.is_cut) == ({"dnsaddr=/ip4/1", "other"}, True, False)
    assert read(response()) == Answer((), True, False)


def test_records_behind_an_alias() -> None:
    """A name may be another name for one that has the records."""
    found = response()
    found.answer.append(dns.rrset.from_text(f"{NAME}.", 60, "IN", "CNAME", "elsewhere.example.org."))
    found.answer.append(dns.rrset.from_text("elsewhere.example.org.", 60, "IN", "TXT", '"dnsaddr=/ip4/1"'))
    assert read(found).texts == ("dnsaddr=/ip4/1",)


def test_strings_of_one_record_are_one_text() -> None:
    found = response()
    found.answer.append(dns.rrset.from_text(f"{NAME}.", 60, "IN", "TXT", '"dnsaddr=/ip4/" "192.0.2.1"'))
    assert read(found).texts == ("dnsaddr=/ip4/192.0.2.1",)


def test_no_such_name_is_final_and_a_failure_is_not() -> None:
    found = response()
    found.set_rcode(dns.rcode.NXDOMAIN)
    assert read(found) == Answer((), True, False)
    for rcode in (dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.FORMERR):
        found.set_rcode(rcode)
        assert read(found) == Answer((), False, False)


def test_an_answer_that_is_cut_off_is_asked_for_again() -> None:
    found = response("dnsaddr=/ip4/1")
    found.flags |= dns.flags.TC
    assert read(found) == Answer((), False, True)


def test_answers_to_other_questions_are_refused() -> None:
    wrong = [
        response("a", number=8),
        response("a", name="_dnsaddr.elsewhere.example.org"),
        dns.message.from_wire(query(7, QUESTION)),
    ]
    for message in wrong:
        with pytest.raises(DnsError):
            read(message)
    two = bytearray(response("a").to_wire())
    two[5] = 2
    with pytest.raises(DnsError):
        read_answer(bytes(two), 7, QUESTION)


def test_what_is_too_long_or_cannot_be_printed_is_left_out() -> None:
    found = response("x" * 200)
    long = " ".join(['"' + "y" * 250 + '"'] * 3)
    found.answer.append(dns.rrset.from_text("z.", 60, "IN", "TXT", long, r'"\001\255"', '"fine"'))
    assert set(read(found).texts) == {"x" * 200, "fine"}


def test_a_thousand_records() -> None:
    found = read(response(*(f"dnsaddr=/ip4/{number}" for number in range(1000))))
    assert len(found.texts) == txt_messages.MAX_TEXTS


def test_names_that_point_at_themselves_cost_nothing() -> None:
    """A pointer is never followed, so neither a loop nor a chain of ten thousand is walked."""
    head = struct.pack("!6H", 7, 0x8180, 1, 5000, 0, 0) + QUESTION
    itself = b"\xc0" + bytes([len(head)])
    record = itself + struct.pack("!HHIH", 16, 1, 60, 2) + b"\x01a"
    packet = (head + record * 5000)[: txt_messages.MAX_TCP_BYTES]
    found: list[str] = []

    def read_all() -> None:
        found.extend(read_answer(packet[: len(head) + 300 * len(record)], 7, QUESTION).texts)

    assert function_calls(read_all) < 10_000
    assert len(found) == 64


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    for packet in (data, response("dnsaddr=/ip4/1").to_wire()[:12] + QUESTION + data):
        try:
            found = read_answer(packet, 7, QUESTION)
        except DnsError:
            continue
        assert len(found.texts) <= txt_messages.MAX_TEXTS


def test_flipped_bits_and_cut_ends() -> None:
    chance = random.Random(5)
    packet = response(*(f"dnsaddr=/ip4/192.0.2.1/tcp/{number}" for number in range(9))).to_wire()
    for _time in range(int(os.environ.get("FUZZ", "3000"))):
        changed = bytearray(packet[: chance.randrange(len(packet) + 1)])
        for _flip in range(chance.randrange(4)):
            if changed:
                changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        try:
            read_answer(bytes(changed), 7, QUESTION)
        except DnsError:
            continue
