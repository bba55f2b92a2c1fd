"""The messages of AutoNAT v2: bytes as protobuf has them; anything else raises one error and nothing more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacedrive_node.actors.swarm.reachability import autonat_messages as m

# Written down from the specification's .proto with protoc's rules: tag, then varint, fixed64 or length.
GOLDEN = [
    (
        m.DialRequest((b"ab", b"c"), 0x0102030405060708),
        "0a100a0261620a0163110807060504030201",
    ),
    (m.DialResponse(m.ResponseStatus.OK, 1, m.DialStatus.DIAL_ERROR), "120708c80110011864"),
    (m.DialDataRequest(2, 30_000), "1a06080210b0ea01"),
    (m.DialDataResponse(3), "22050a03000000"),
]


@pytest.mark.parametrize(("message", "written"), GOLDEN, ids=lambda one: type(one).__name__)
def test_bytes_are_those_of_protobuf(message: m.Message, written: str) -> None:
    assert m.encode(message).hex() == written
    assert m.decode(bytes.fromhex(written)) == message


def test_the_nonce_comes_back() -> None:
    assert m.encode_dial_back(7) == b"\x09" + bytes([7]) + bytes(7)
    assert m.decode_dial_back(m.encode_dial_back(2**64 - 1)) == 2**64 - 1
    assert m.decode_dial_back_response(m.DIAL_BACK_RESPONSE)
    assert not m.decode_dial_back_response(b"\x08\x01")


def test_unknown_fields_are_passed_over() -> None:
    more = b"\x78\x05" + b"\x7a\x02hi" + b"\x7d" + bytes(4)
    assert m.decode(more + m.encode(m.DialDataRequest(0, 1)) + more) == m.DialDataRequest(0, 1)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x0a", b"\x0a\x05ab", b"\x13", b"\xff" * 12, b"\x12\x03\x08\xe7\x07", b"\x12\x02\x18\x05"],
    ids=[
        "nothing",
        "no length",
        "cut off",
        "group",
        "endless number",
        "unknown status",
        "unknown dial status",
    ],
)
def test_what_is_malformed_raises(data: bytes) -> None:
    with pytest.raises(m.AutonatMessageError):
        m.decode(data)


def test_addresses_are_bounded_and_keep_their_places() -> None:
    """An answer names an address by its place in the request."""
    request = m.DialRequest((b"x" * 300, b"y", *[b"z"] * 100), 1)
    read = m.decode(m.encode(request))
    assert isinstance(read, m.DialRequest)
    assert read.addresses[:2] == (b"", b"y")
    assert len(read.addresses) == m.MAX_ADDRESSES


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_else(data: bytes) -> None:
    for read in (m.decode, m.decode_dial_back, m.decode_dial_back_response):
        try:
            read(data)
        except m.AutonatMessageError:
            continue
