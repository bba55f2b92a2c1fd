"""Exact reads: the defect of the library, and its absence in this project's own."""

import pytest
from libp2p.io.exceptions import IncompleteReadError
from libp2p.io.utils import read_exactly
from libp2p.network.stream.exceptions import StreamEOF

from spacedrive_node.actors.swarm.library import streams


class _Drip:
    """A stream that gives one byte at a time."""

    async def read(self, n: int) -> bytes:
        return b"x"


async def test_exact_reads_have_no_limit_of_pieces() -> None:
    """The library's read_exactly gives up after 101 pieces; ours reads on."""
    with pytest.raises(IncompleteReadError):
        await read_exactly(_Drip(), 200)
    assert await streams.read_exactly(_Drip(), 200) == b"x" * 200


class _Pieces:
    """A stream on which these pieces arrive, and which then ends; it notes how much each read asks for."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)
        self.asked: list[int | None] = []

    async def read(self, n: int | None = None) -> bytes:
        self.asked.append(n)
        if not self._pieces:
            raise StreamEOF
        piece = self._pieces.pop(0)
        if n is not None and n < len(piece):
            self._pieces.insert(0, piece[n:])
        return piece[:n]


async def test_reading_ahead_takes_what_has_come_once() -> None:
    """A negotiation and a frame, which are read in six parts; nothing is lost where they meet."""
    stream = _Pieces(b"\x04abcd" + b"\x02ef" + b"\x00\x00\x00\x03xyz", b"more")
    streams.read_ahead(stream)
    assert await streams.read_varint_message(stream, 10) == b"abcd"
    assert await streams.read_varint_message(stream, 10) == b"ef"
    assert await streams.read_frame(stream) == b"xyz"
    assert stream.asked == [streams.READ_AHEAD_BYTES]
    assert await stream.read() == b"more"
    with pytest.raises(streams.StreamError) as caught:
        await streams.read_exactly(stream, 1)
    assert caught.value.clean


async def test_reading_ahead_holds_little() -> None:
    """What is larger is read as before, from the stream itself."""
    large = bytes(range(256)) * 64
    stream = _Pieces(large)
    streams.read_ahead(stream)
    assert await streams.read_exactly(stream, 1) == large[:1]
    assert await streams.read_exactly(stream, len(large) - 1) == large[1:]
    assert max(size or 0 for size in stream.asked[:1]) == streams.READ_AHEAD_BYTES
    assert len(stream.asked) == 2
