"""What a stream handler raises stays there: the defect of the library, and its absence with the correction.

A test whose first half fails shows that the library no longer needs that correction: remove it.
"""

from typing import Any

import pytest
import trio
from libp2p.network.stream.exceptions import StreamEOF

from spacedrive_node.actors.swarm.library import connections, streams
from spacedrive_node.tests.harness.library_hosts import PROTOCOL, make, our_host, running


@pytest.mark.parametrize("corrected", [False, True])
async def test_an_exception_in_a_handler_stays_there(corrected: bool) -> None:
    """A stream handler that raises ends the host by default; contained, the next stream is served."""

    async def fails(_stream: Any) -> None:
        raise RuntimeError("a defect")

    async def two_streams() -> None:
        client = our_host(2)
        server = make(corrected, 1)
        server.set_stream_handler(PROTOCOL, fails)
        async with running(server, client) as (address, _):
            connection = await client.get_network().dial_addr(address, server.get_id())
            for _ in range(2):
                with pytest.raises(streams.StreamError), trio.fail_after(5):
                    async with streams.open_stream(connection, str(PROTOCOL)) as stream:
                        await streams.read_exactly(stream, 1)

    if corrected:
        await two_streams()
    else:
        with pytest.raises(BaseExceptionGroup) as caught:
            await two_streams()
        assert caught.value.subgroup(RuntimeError) is not None


async def test_a_stream_that_ends_early_leaves_the_connection_alive() -> None:
    """StreamEOF out of a handler leaves a connection that accepts nothing any more; contained, it goes on."""

    async def ends(_stream: Any) -> None:
        raise StreamEOF

    server, client = our_host(1), our_host(2)
    server.set_stream_handler(PROTOCOL, ends)
    async with running(server, client) as (address, _):
        connection = await client.get_network().dial_addr(address, server.get_id())
        for _ in range(3):
            with pytest.raises(streams.StreamError), trio.fail_after(5):
                async with streams.open_stream(connection, str(PROTOCOL)) as stream:
                    await streams.read_exactly(stream, 1)
        assert connections.is_alive(connection)
