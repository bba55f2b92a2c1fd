"""The messages of streams: both directions, in any pieces, and with what is wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("google_crc32c", reason="the extra webrtc is not installed: make webrtc")

from spacedrive_node.actors.swarm.webrtc import frames
from spacedrive_node.actors.swarm.webrtc.sctp_sender import MAX_PART_BYTES
from spacedrive_node.actors.swarm.webrtc.wire import MalformedError

MESSAGES = st.lists(
    st.tuples(st.binary(max_size=300), st.sampled_from([None, frames.FIN, frames.RESET, frames.FIN_ACK]))
)


@given(MESSAGES, st.integers(1, 50))
def test_messages_come_out_as_they_went_in(messages: list[tuple[bytes, int | None]], piece: int) -> None:
    """However they are cut, and all their bytes are accounted for."""
    wire = b"".join(frames.encode(data, flag) for data, flag in messages)
    buffer, found, taken = bytearray(), [], 0
    for at in range(0, len(wire), piece):
        buffer += wire[at : at + piece]
        for size, data, flag in frames.decode(buffer):
            taken += size
            found.append((data, flag))
    assert found == messages
    assert taken == len(wire)


def test_the_largest_message_fills_three_parts() -> None:
    """And is below the 4096 bytes that go-libp2p reads at once."""
    largest = len(frames.encode(bytes(frames.MAX_PAYLOAD_BYTES)))
    assert 3 * MAX_PART_BYTES - 4 <= largest <= min(3 * MAX_PART_BYTES, 4096)


@pytest.mark.parametrize("wire", ["ffffff", "81800a", "021501", "0312ff01", "031205aa", "0108", "0112"])
def test_what_is_wrong_is_refused(wire: str) -> None:
    """A length without end or too large, another field, a field that is cut off."""
    with pytest.raises(MalformedError):
        list(frames.decode(bytearray.fromhex(wire)))


def test_fields_that_are_unknown_are_skipped() -> None:
    """go-libp2p sends a number with why it reads no more."""
    assert list(frames.decode(bytearray.fromhex("0408011800"))) == [(5, b"", frames.STOP_SENDING)]
    assert list(frames.decode(bytearray.fromhex("062201aa12012a"))) == [(7, b"*", None)]


@given(st.binary(max_size=200))
def test_hostile_bytes_are_read_without_harm(data: bytes) -> None:
    """Either messages, or MalformedError; what is kept is a part of what came."""
    buffer = bytearray(data)
    try:
        taken = sum(size for size, _, _ in frames.decode(buffer))
    except MalformedError:
        return
    assert taken + len(buffer) == len(data)
