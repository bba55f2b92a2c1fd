"""Keeps what goes wrong in one stream's handler, and floods of streams, away from the host.

Implements docs/protocol.md, "Limits" (streams that one source opens).
"""

from typing import Any, Final

import trio

from ..dial.addresses import block_of, is_loopback_block, source_of
from ..pairing.rate_limits import Pace
from . import multiplexer, streams
from .connections import close_connection, host_of

STREAMS_PER_S: Final = 300.0
BURST_STREAMS: Final = 600.0
"""Of one source, in the long run and at once, over all its connections. Each takes some two milliseconds of
processor time, whatever is asked on it, and its sender some hundred bytes."""
LONGEST_WAIT_S: Final = 5.0


def contain_stream_handlers(network: Any) -> None:
    """Let no exception leave a stream handler, and no stranger keep the host busy by opening streams.

    Defect (0.8.1, network/connection/swarm_connection.py:309): an exception in a stream handler ends the
    whole host, so that any stranger can; StreamEOF leaves a connection that accepts no stream any more.
    A connection with too many open streams is closed. The streams of one source are served at a pace, and one
    that would wait too long is reset.
    Test: tests/swarm/test_stream_handlers.py; for the number of streams tests/limits/test_multiplexer.py.
    """
    handle = network.common_stream_handler
    pace: Pace[str] = Pace(STREAMS_PER_S, BURST_STREAMS)

    async def contained(stream: Any) -> None:
        if multiplexer.has_too_many_streams(stream):
            await close_connection(stream.swarm_conn)
            return
        pause = pace.wait_before(_source_of(stream), trio.current_time(), LONGEST_WAIT_S)
        if pause > LONGEST_WAIT_S:
            await streams.reset(stream)
            return
        if pause > 0:
            await trio.sleep(pause)
        try:
            await handle(stream)
        except Exception:  # whatever went wrong concerns this stream alone
            await streams.reset(stream)

    network.set_stream_handler(contained)


def _source_of(stream: Any) -> str:
    """Return what one device may be taken for; on loopback, where many nodes may be, the peer."""
    host = host_of(stream) or ""
    return str(stream.muxed_conn.peer_id) if is_loopback_block(block_of(host)) else source_of(host)
