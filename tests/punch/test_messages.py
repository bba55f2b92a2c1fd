"""The messages of DCUtR, as others write them and as nobody should."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacedrive_node.actors.swarm.punch import messages
from spacedrive_node.protocol.multiaddrs import parse

ENDPOINTS = (parse("/ip4/45.77.1.1/tcp/7520"), parse("/ip4/45.77.1.1/udp/7520/quic-v1"))


def test_the_bytes_are_those_of_the_specification() -> None:
    """Type is field 1, with 100 and 300; an address is field 2, as a binary multiaddr."""
    assert messages.sync() == bytes.fromhex("03 08 ac02")
    assert messages.connect(ENDPOINTS[:1]) == bytes.fromhex("0c 0864 1208 042d4d0101 061d60")
    assert messages.read(messages.sync()[1:]) == messages.Sync()
    assert messages.read(messages.connect(ENDPOINTS)[1:]) == messages.Connect(ENDPOINTS)


def test_addresses_that_are_none_are_left_out() -> None:
    bad = bytes.fromhex("0864 1203 ffffff 1200 1208 042d4d0101 061d60")
    assert messages.read(bad) == messages.Connect(ENDPOINTS[:1])


@pytest.mark.parametrize("bad", [b"", b"\x08\x01", b"\xff", bytes.fromhex("1208042d4d0101061d60")])
def test_what_is_no_message(bad: bytes) -> None:
    with pytest.raises(messages.PunchMessageError):
        messages.read(bad)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_none(data: bytes) -> None:
    try:
        message = messages.read(data)
    except messages.PunchMessageError:
        return
    assert isinstance(message, messages.Sync | messages.Connect)
