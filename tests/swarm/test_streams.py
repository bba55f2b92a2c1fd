"""Exact reads: the defect of the library, and its absence in this project's own."""

import pytest
from libp2p.io.exceptions import IncompleteReadError
from libp2p.io.utils import read_exactly

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
