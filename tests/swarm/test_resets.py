"""A stream that its peer resets: the defect of the library, and its absence with the correction."""

from typing import Any

import pytest
import trio
from libp2p.stream_muxer.yamux.yamux import Yamux

from spacedrive_node.actors.swarm.library import multiplexer, streams
from spacedrive_node.tests.harness.library_hosts import PROTOCOL, our_host, running


@pytest.mark.parametrize("corrected", [False, True], ids=["library", "ours"])
async def test_what_came_before_a_reset_is_read(corrected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default it is lost. Either way the reset is reported, and not a clean end."""
    if not corrected:
        monkeypatch.setattr(
            multiplexer.BoundedYamux, "_finalize_stream_locked", Yamux._finalize_stream_locked
        )

    async def answer_and_reset(stream: Any) -> None:
        await streams.write(stream, b"answer")
        await streams.reset(stream)

    server, client = our_host(1), our_host(2)
    server.set_stream_handler(PROTOCOL, answer_and_reset)
    async with running(server, client) as (address, _):
        with trio.fail_after(20):
            connection = await client.get_network().dial_addr(address, server.get_id())
            async with streams.open_stream(connection, str(PROTOCOL)) as stream:
                while not stream.muxed_stream.reset_received:  # noqa: ASYNC110 - the library has no event
                    await trio.sleep(0.001)
                if corrected:
                    assert await streams.read_exactly(stream, 6) == b"answer"
                with pytest.raises(streams.StreamError) as caught:
                    await streams.read_exactly(stream, 1)
    assert not caught.value.clean
