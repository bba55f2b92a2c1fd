"""Bytes as frames and back: what a peer may send, and what ends a connection. Pure."""

import os
import random

import pytest

from spacedrive_node.actors.swarm.websocket.frames import (
    MAX_IDLE_FRAMES_PER_S,
    MAX_MESSAGE_BYTES,
    ByteFrames,
    FrameError,
)
from spacedrive_node.tests.harness.websocket_hosts import masked

BINARY, TEXT, CLOSE, PING, PONG, MORE, LAST = 0x82, 0x81, 0x88, 0x89, 0x8A, 0x02, 0x80
FUZZ = int(os.environ.get("FUZZ", "3000"))


def taken(frames: ByteFrames, data: bytes, now: float = 0.0) -> bytes:
    frames.receive(data)
    found = b""
    while (piece := frames.next(now)) is not None:
        found += piece
    return found


def test_both_sides_understand_each_other() -> None:
    """Of any size, in pieces of any size; a client masks, a server does not."""
    client, server = ByteFrames(is_client=True), ByteFrames(is_client=False)
    for size in (1, 125, 126, 65535, 65536):
        sent = os.urandom(size)
        assert taken(server, client.data(sent)) == sent
        assert taken(client, server.data(sent)) == sent
    sent = os.urandom(1000)
    framed = client.data(sent)
    assert b"".join(taken(server, framed[at : at + 1]) for at in range(len(framed))) == sent


def test_bytes_come_before_their_frame_is_complete() -> None:
    """So that a long frame costs no memory."""
    frames = ByteFrames(is_client=False)
    whole = masked(BINARY, b"x" * 3_000_000)
    assert len(taken(frames, whole[:1000])) == 1000 - 14
    buffered = frames._frames._frame_decoder.buffer
    assert len(buffered.buffer) < 100


def test_parts_of_a_message_are_one_stream() -> None:
    """With a ping in between, as the protocol allows."""
    frames = ByteFrames(is_client=False)
    data = masked(MORE, b"one ") + masked(PING, b"now") + masked(0x00, b"two ") + masked(LAST, b"three")
    assert taken(frames, data) == b"one two three"
    assert frames.pong() == b"\x8a\x03now"
    assert frames.pong() == b""


def test_only_the_last_of_several_pings_is_answered() -> None:
    """RFC 6455, 5.5.3."""
    frames = ByteFrames(is_client=False)
    taken(frames, masked(PING, b"1") + masked(PING, b"2"))
    assert frames.pong() == b"\x8a\x012"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x82\x01x", 1002),  # not masked
        (masked(TEXT, b"hello"), 1003),
        (masked(0x80, b"no message to go on with"), 1002),
        (masked(MORE, b"a") + masked(BINARY, b"b"), 1002),
        (masked(0xC2, b"reserved bit"), 1002),
        (masked(0x83, b"reserved opcode"), 1002),
        (masked(0x09, b"part of a ping"), 1002),
        (masked(PING, b"x" * 126), 1002),
        (masked(CLOSE, b"\x03"), 1002),
        (masked(CLOSE, b"\x00\x01"), 1002),
        (masked(CLOSE, b"\x03\xe8\xff"), 1007),
        (b"\x82\xfe\x00\x01mask", 1002),
        (b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xffmask", 1002),
    ],
)
def test_what_is_not_allowed_ends_the_connection(data: bytes, code: int) -> None:
    """Each with its code."""
    with pytest.raises(FrameError) as caught:
        taken(ByteFrames(is_client=False), data)
    assert caught.value.code == code


def test_a_client_takes_no_masked_frames() -> None:
    """RFC 6455, 5.1."""
    with pytest.raises(FrameError):
        taken(ByteFrames(is_client=True), masked(BINARY, b"x"))


@pytest.mark.parametrize("frame", [masked(PING, b""), masked(PONG, b"x"), masked(BINARY, b"")])
def test_frames_without_bytes_are_bounded_in_a_second(frame: bytes) -> None:
    """A flood of them ends the connection; as many as are allowed in each second do not."""
    frames = ByteFrames(is_client=False)
    for second in range(3):
        taken(frames, frame * MAX_IDLE_FRAMES_PER_S, float(second + 1))
    with pytest.raises(FrameError) as caught:
        taken(frames, frame, 3.5)
    assert caught.value.code == 1008


def test_empty_parts_of_a_message_are_bounded_too() -> None:
    """A message that has begun is no excuse."""
    frames = ByteFrames(is_client=False)
    taken(frames, masked(MORE, b"x"))
    with pytest.raises(FrameError):
        taken(frames, masked(0x00, b"") * (MAX_IDLE_FRAMES_PER_S + 1))


@pytest.mark.parametrize("in_parts", [False, True])
def test_a_message_is_bounded(in_parts: bool) -> None:
    """In one frame, and in many; the next message counts anew."""
    frames, piece = ByteFrames(is_client=False), b"x" * 65536
    for _ in range(2):
        assert len(taken(frames, masked(BINARY, piece))) == len(piece)
    most = MAX_MESSAGE_BYTES // len(piece)
    data = masked(BINARY, piece * (most + 1))
    if in_parts:
        data = masked(MORE, piece) + masked(0x00, piece) * most
    with pytest.raises(FrameError) as caught:
        taken(frames, data)
    assert caught.value.code == 1009


def test_one_call_looks_at_some_hundred_frames() -> None:
    """Whatever has arrived, others have their turn."""
    frames = ByteFrames(is_client=False)
    frames.receive(masked(BINARY, b"x") * 1000)
    assert len(frames.next(0.0) or b"") <= 256


def test_after_a_close_frame_nothing_is_read() -> None:
    """Also what came with it."""
    frames = ByteFrames(is_client=False)
    assert taken(frames, masked(BINARY, b"x") + masked(CLOSE, b"") + masked(BINARY, b"y")) == b"x"
    assert frames.has_ended
    assert taken(frames, masked(BINARY, b"z")) == b""


def test_hostile_frames_end_in_an_error_or_in_bytes() -> None:
    """Random changes of valid frames, in random pieces, raise nothing else."""
    chance = random.Random(7)
    for _ in range(FUZZ):
        frames = ByteFrames(is_client=chance.random() < 0.5)
        kinds = (BINARY, MORE, LAST, 0x00, PING, PONG, CLOSE, TEXT)
        data = bytearray(
            b"".join(masked(chance.choice(kinds), chance.randbytes(chance.randrange(200))) for _ in range(4))
        )
        for _ in range(chance.randrange(4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            while data:
                size = chance.randrange(1, 300)
                taken(frames, bytes(data[:size]), 1.0)
                del data[:size]
        except FrameError:
            continue
