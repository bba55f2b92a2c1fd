"""Ping: the library keeps an entry for each peer that ever pinged; corrected, it forgets them."""

import pytest
import trio
from libp2p.host.ping import ID as PING_ID

from spacedrive_node.actors.swarm.library import ping, streams
from spacedrive_node.tests.harness.library_hosts import our_host, plain_host, running


@pytest.mark.parametrize(("corrected", "kept"), [(False, 1), (True, 0)], ids=["library", "ours"])
async def test_who_has_pinged_is_forgotten(corrected: bool, kept: int) -> None:
    """After the answer and the end of the stream."""
    server, client = plain_host(1), our_host(2)
    service = server.get_mux().handlers[PING_ID].__self__
    if corrected:
        ping.forget_who_pinged(server)
    ended = trio.Event()
    answer = server.get_mux().handlers[PING_ID]

    async def watched(stream: object) -> None:
        await answer(stream)
        ended.set()

    server.set_stream_handler(PING_ID, watched)
    async with running(server, client) as (address, _):
        with trio.fail_after(20):
            connection = await client.get_network().dial_addr(address, server.get_id())
            async with streams.open_stream(connection, str(PING_ID)) as stream:
                await streams.write(stream, b"p" * 32)
                assert await streams.read_exactly(stream, 32) == b"p" * 32
                assert len(service._inbound_streams) == 1
                await streams.close(stream)
            await ended.wait()
    assert len(service._inbound_streams) == kept
