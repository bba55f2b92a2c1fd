"""DNS messages: what is written two other libraries read, and the reverse; whatever comes costs little."""

import random

import dns.flags
import dns.message
import dns.rdataclass
import dns.rrset
import pytest
import zeroconf

from spacedrive_node.actors.lan.dns_messages import (
    ANY,
    MAX_PACKET_BYTES,
    MAX_RECORDS,
    PTR,
    TXT,
    DnsError,
    DnsMessage,
    Pointer,
    Question,
    Text,
    decode,
    encode_record,
    query,
    response,
)
from spacedrive_node.actors.lan.service import SERVICE, encoded_records, instance_name, strings_of
from spacedrive_node.tests.harness.function_calls import function_calls
from spacedrive_node.tests.harness.sample_frames import PEER

INSTANCE = "0123456789abcdef"
STRINGS = strings_of(PEER, ["/ip4/10.0.0.2/tcp/7520", "/ip6/fd00::2/tcp/7520"])
RECORDS = encoded_records(INSTANCE, STRINGS)
SERVICE_TEXT = "_spacedrive-pair._udp.local."
INSTANCE_TEXT = f"{INSTANCE}.{SERVICE_TEXT}"


def test_dnspython_reads_what_is_written() -> None:
    read = dns.message.from_wire(response(RECORDS, id=7, questions=[Question(SERVICE, PTR)]))
    assert (read.id, read.flags) == (7, dns.flags.QR | dns.flags.AA)
    assert [str(rrset.name) for rrset in read.question] == [SERVICE_TEXT]
    assert {(str(rrset.name), rrset.ttl, str(rrset[0])) for rrset in read.answer} == {
        (SERVICE_TEXT, 120, INSTANCE_TEXT),
        (INSTANCE_TEXT, 120, " ".join(f'"{string.decode()}"' for string in STRINGS)),
    }


def test_zeroconf_reads_what_is_written() -> None:
    read = zeroconf.DNSIncoming(response(RECORDS))
    assert read.valid
    assert read.is_response()
    pointer, text = read.answers()
    assert isinstance(pointer, zeroconf.DNSPointer)
    assert (pointer.name, pointer.alias, pointer.unique) == (SERVICE_TEXT, INSTANCE_TEXT, False)
    assert isinstance(text, zeroconf.DNSText)
    assert text.text == b"".join(bytes([len(string)]) + string for string in STRINGS)
    asked = zeroconf.DNSIncoming(query([Question(SERVICE, PTR, unicast=True)]))
    assert [(one.name, one.type, one.unicast) for one in asked.questions] == [(SERVICE_TEXT, PTR, True)]


def test_what_others_write_is_read() -> None:
    """With pointers, other sections, other types and upper case."""
    out = zeroconf.DNSOutgoing(0x8400)
    out.add_answer_at_time(zeroconf.DNSPointer(SERVICE_TEXT.upper(), PTR, 1, 60, INSTANCE_TEXT.upper()), 0)
    out.add_additional_answer(zeroconf.DNSAddress("other.local.", 1, 1, 60, bytes(4)))
    out.add_additional_answer(zeroconf.DNSText(INSTANCE_TEXT, TXT, 0x8001, 60, b"\x03a=b\x00"))
    assert decode(out.packets()[0]) == DnsMessage(
        0,
        True,
        (),
        (Pointer(SERVICE, instance_name(INSTANCE), 60), Text(instance_name(INSTANCE), (b"a=b", b""), 60)),
    )
    asked = dns.message.make_query(SERVICE_TEXT, "ANY", id=9)
    asked.flags = 0
    asked.answer.append(dns.rrset.from_text(SERVICE_TEXT, 60, "IN", "PTR", INSTANCE_TEXT))
    assert decode(asked.to_wire()) == DnsMessage(
        9, False, (Question(SERVICE, ANY),), (Pointer(SERVICE, instance_name(INSTANCE), 60),)
    )


HEADER = bytes((0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0))
LOOPS = {
    "a pointer to itself": HEADER + b"\xc0\x0c",
    "two pointers to each other": HEADER + b"\xc0\x0e\xc0\x0c",
    "a label and a pointer back to it": HEADER + b"\x01a\xc0\x0c",
    "a pointer ahead": HEADER + b"\xc0\x20" + bytes(30),
    "a name of more than 255 bytes": HEADER + b"\x3f".join([b"", *[b"a" * 63] * 5]) + bytes(11),
    "a label of 64 bytes": HEADER + b"\x40" + b"a" * 64 + bytes(11),
    "a record that is cut off": HEADER + bytes(1) + b"\0\x0c\0\x01\0\0\0\x78\0\x40",
    "a pointer record with bytes behind its name": HEADER + bytes(1) + b"\0\x0c\0\x01\0\0\0\x78\0\x02\0\0",
    "a string that is cut off": HEADER + bytes(1) + b"\0\x10\0\x01\0\0\0\x78\0\x02\x05a",
    "too many records": HEADER[:6] + (MAX_RECORDS + 1).to_bytes(2, "big") + bytes(4 + 11 * (MAX_RECORDS + 1)),
    "too many bytes": HEADER + bytes(MAX_PACKET_BYTES),
    "an error": HEADER[:3] + b"\x03" + HEADER[4:] + bytes(11),
    "nothing": b"",
}


@pytest.mark.parametrize("data", LOOPS.values(), ids=LOOPS)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(DnsError):
        decode(data)


def test_a_packet_that_is_made_to_be_slow_is_refused_at_once() -> None:
    """Hundreds of names that all lead through the same hundred labels, over which dnspython takes long."""
    name = b"\x01a" * 120 + b"\0"
    record = b"\xc0\x0c\0\x0c\0\x01\0\0\0\x78\0\x02\xc0\x0c"
    data = HEADER[:6] + (200).to_bytes(2, "big") + bytes(4) + name + record[2:] + record * 199

    def refuse() -> None:
        with pytest.raises(DnsError, match="labels"):
            decode(data)

    assert function_calls(refuse) < 20_000


def test_random_records_come_back_as_they_were() -> None:
    rng = random.Random(5)
    for _ in range(200):
        name = tuple(rng.randbytes(rng.randint(1, 40)).lower() for _ in range(rng.randint(0, 5)))
        strings = tuple(rng.randbytes(rng.randint(0, 255)) for _ in range(rng.randint(0, 4)))
        made = (Text(name, strings, rng.randrange(2**31)), Pointer(name, name[1:], 0))
        assert decode(response([encode_record(one) for one in made])) == DnsMessage(0, True, (), made)
