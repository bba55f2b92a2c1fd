"""STUN messages: what is answered, from what, and what is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacedrive_node.actors.swarm.webrtc import stun

NAME, TRANSACTION = stun.new_name(), b"transaction!"
ASKED = stun.request(NAME, TRANSACTION)


@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::7"])
def test_a_request_is_answered_from_what_is_in_it(host: str) -> None:
    """Nothing else is needed; the answer tells where the asker was seen, and is shorter than the question."""
    read = stun.read_request(ASKED)
    assert read == stun.Request(TRANSACTION, NAME)
    answer = stun.response(read, host, 4711)
    assert stun.is_response_to(answer, TRANSACTION, NAME)
    assert not stun.is_response_to(answer, b"another one!", NAME)
    assert not stun.is_response_to(answer, TRANSACTION, stun.new_name())
    assert len(answer) < len(ASKED)


def test_the_second_version_of_the_name_is_answered_too() -> None:
    """libp2p/specs 715: the password of the listener is its part of the name all the same."""
    theirs = b"libp2p+webrtc+v2/" + b"p" * 24
    message = stun._sealed(1, TRANSACTION, stun._attribute(6, theirs + b":abcd"), theirs)
    assert stun.read_request(message) == stun.Request(TRANSACTION, theirs)


def test_requests_that_are_not_of_this_protocol_get_no_answer() -> None:
    """Another name, another password, no name, no integrity, another method."""
    other = b"somebody else"
    assert stun.read_request(stun.request(other, TRANSACTION)) is None
    assert stun.read_request(stun._sealed(1, TRANSACTION, stun._attribute(6, NAME + b":x"), other)) is None
    assert stun.read_request(stun._sealed(1, TRANSACTION, stun._attribute(6, NAME), NAME)) is None
    assert stun.read_request(stun._sealed(1, TRANSACTION, b"", NAME)) is None
    assert stun.read_request(stun._sealed(3, TRANSACTION, stun._attribute(6, NAME + b":x"), NAME)) is None
    assert stun.read_request(ASKED[:20]) is None
    assert stun.read_request(ASKED + bytes(4)) is None
    assert stun.read_request(stun._sealed(1, TRANSACTION, stun._attribute(0x8000, bytes(2000)), NAME)) is None


@given(st.binary(max_size=300), st.integers(0, len(ASKED) - 1), st.integers(0, 255))
def test_hostile_bytes_are_read_without_harm(data: bytes, at: int, byte: int) -> None:
    """Anything, and a true request with one byte changed: what is before the end of its integrity counts."""
    stun.read_request(data)
    stun.is_response_to(data, TRANSACTION, NAME)
    changed = ASKED[:at] + bytes([byte]) + ASKED[at + 1 :]
    read = stun.read_request(changed)
    is_covered = at < len(ASKED) - 8
    assert (read is None) == (is_covered and changed != ASKED)
