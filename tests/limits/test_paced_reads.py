"""A connection on which frames come without end is read at a bounded rate, and an honest one at once."""

import struct

import pytest
import trio

from spacedrive_node.actors.swarm.library.paced_reads import (
    READS_PER_S,
    RESET_COST_READS,
    STREAM_COST_READS,
    PacedReads,
)
from spacedrive_node.tests.limits.test_multiplexer import RST, SYN, WINDOW, attacked, yamux

PING = 2


class Endless:
    """A secured connection that repeats the same frames for ever, in pieces of at most `piece` bytes."""

    def __init__(self, data, piece=1 << 16):
        self.data, self.piece, self.read_so_far = data, piece, 0

    async def read(self, n):
        await trio.lowlevel.checkpoint()
        at = self.read_so_far % len(self.data)
        part = (self.data[at:] + self.data)[: min(n, self.piece)]
        self.read_so_far += len(part)
        return part


async def read_frames(connection, count):
    for _ in range(count):
        left = 12
        while left:
            left -= len(await connection.read(left))


@pytest.mark.parametrize("piece", [1 << 16, 7])
@pytest.mark.parametrize(
    ("frames", "cost"),
    [
        (yamux(PING, SYN, 0, 7), 1),
        (yamux(WINDOW, 0, 2, 1000), 1),
        (yamux(WINDOW, SYN, 3, 0) + yamux(WINDOW, RST, 3, 0), 1 + (STREAM_COST_READS + RESET_COST_READS) / 2),
        (yamux(0, SYN | RST, 3, 0), 1 + STREAM_COST_READS + RESET_COST_READS),
    ],
    ids=["pings", "window updates", "streams that are reset", "both in one frame"],
)
async def test_a_flood_of_frames_waits(autojump_clock, frames, cost, piece) -> None:
    """Also one whose headers come in pieces, each of which counts."""
    connection, began, count = PacedReads(Endless(frames, piece)), trio.current_time(), 50_000
    await read_frames(connection, count)
    assert trio.current_time() - began >= count * cost / READS_PER_S - 1.1


async def test_what_an_honest_peer_sends_does_not_wait(autojump_clock) -> None:
    """Two hundred streams within a second, again and again, with a dozen frames each."""
    stream = yamux(WINDOW, SYN, 3, 0) + yamux(WINDOW, 0, 3, 0) * 11
    connection = PacedReads(Endless(stream))
    for second in range(30):
        await read_frames(connection, 200 * 12)
        assert trio.current_time() == pytest.approx(second)
        await trio.sleep(1)


async def test_bodies_are_what_was_sent(autojump_clock) -> None:
    """Also bodies as long as a header, and a connection that ends within a header."""
    data = struct.pack(">I", 7) * 5
    connection = PacedReads(Endless(data))
    assert b"".join([await connection.read(n) for n in (12, 5, 3)]) == data
    assert connection.data == data


@pytest.mark.parametrize("corrected", [False, True])
async def test_the_multiplexer_of_a_connection_is_paced(corrected: bool) -> None:
    async with attacked(corrected) as (theirs, _wire):
        assert isinstance(theirs.muxed_conn.secured_conn, PacedReads) == corrected
        assert not theirs.is_closed
