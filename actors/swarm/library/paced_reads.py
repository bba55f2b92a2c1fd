"""How fast the frames of one connection are taken: a peer that sends more waits, and nobody else does.

Defect (0.8.1, stream_muxer/yamux/yamux.py:1182): frames are handled as fast as they come. One packet full of
frames that open streams and reset them costs its sender next to nothing and this side some milliseconds,
again and again. A bound on open streams does not help, for these are closed.
"""

from typing import Any

import trio
from libp2p.stream_muxer.yamux.yamux import FLAG_RST, FLAG_SYN, HEADER_SIZE, TYPE_DATA, TYPE_WINDOW_UPDATE

READS_PER_S = 8000.0
"""Parts of frames (a header, a body) that are read on one connection in the long run, and at once after a
rest. An exchange takes twelve, so there may be some three hundred in a second."""
STREAM_COST_READS, RESET_COST_READS = 16.0, 64.0
"""What a frame counts for in addition that opens a stream, which costs most here, or that resets one, which
an honest peer seldom does."""
_MAX_DEBT_READS = 400.0
"""Before there is a wait. Each read would otherwise wait for as long as the clock is coarse."""


class PacedReads:
    """A secured connection as its multiplexer reads it; everything else is the connection's own."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._credit = READS_PER_S
        self._counted_at = trio.current_time()
        self._header = b""
        """The beginning of a header that has not come completely."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def read(self, n: int | None = None) -> bytes:
        """Read from the connection, and wait if it has sent too much of late."""
        data = bytes(await self._connection.read(n))
        cost = 1.0
        if self._header or n == HEADER_SIZE:
            self._header += data
            if len(self._header) >= HEADER_SIZE or not data:
                cost += _additional_cost(self._header)
                self._header = b""
        now = trio.current_time()
        earned = (now - self._counted_at) * READS_PER_S
        self._credit = min(self._credit + earned, READS_PER_S) - cost
        self._counted_at = now
        if self._credit < -_MAX_DEBT_READS:
            await trio.sleep(-self._credit / READS_PER_S)
        return data


def _additional_cost(header: bytes) -> float:
    if len(header) < HEADER_SIZE or header[1] not in (TYPE_DATA, TYPE_WINDOW_UPDATE):
        return 0.0
    opens, resets = bool(header[3] & FLAG_SYN), bool(header[3] & FLAG_RST)
    return opens * STREAM_COST_READS + resets * RESET_COST_READS
