"""Keeps what goes wrong in one stream's handler away from the connection and from the host."""

from typing import Any

from . import multiplexer, streams
from .connections import close_connection


def contain_stream_handlers(network: Any) -> None:
    """Let no exception leave a stream handler, and close a connection that opens too many streams.

    Defect (0.8.1, network/connection/swarm_connection.py:309): an exception in a stream handler ends the
    whole host, so that any stranger can; StreamEOF leaves a connection that accepts no stream any more.
    Test: tests/swarm/test_stream_handlers.py; for the number of streams tests/limits/test_multiplexer.py.
    """
    handle = network.common_stream_handler

    async def contained(stream: Any) -> None:
        if multiplexer.has_too_many_streams(stream):
            await close_connection(stream.swarm_conn)
            return
        try:
            await handle(stream)
        except Exception:  # whatever went wrong concerns this stream alone
            await streams.reset(stream)

    network.set_stream_handler(contained)
