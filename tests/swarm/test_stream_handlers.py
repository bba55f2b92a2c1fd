"""What a stream handler raises stays there: the defect of the library, and its absence with the correction.

A test whose first half fails shows that the library no longer needs that correction: remove it.
"""

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from libp2p.network.stream.exceptions import StreamEOF

from spacedrive_node.actors.swarm.library import connections, stream_handlers, streams
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
                with pytest.raises(streams.StreamError), trio.fail_after(60):
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
            with pytest.raises(streams.StreamError), trio.fail_after(60):
                async with streams.open_stream(connection, str(PROTOCOL)) as stream:
                    await streams.read_exactly(stream, 1)
        assert connections.is_alive(connection)


class OneStream:
    """A stream from a host, of which only its end is told."""

    def __init__(self, host: str, peer: str, seen: Counter[str]) -> None:
        self._host, self._seen = host, seen
        self.muxed_conn = SimpleNamespace(peer_id=peer, get_remote_address=lambda: (host, 4001))
        self.muxed_stream = SimpleNamespace(conn=SimpleNamespace(streams={}))

    async def reset(self) -> None:
        self._seen[f"{self._host} reset"] += 1


async def test_the_streams_of_one_source_are_served_at_a_pace(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over all its connections; what would wait too long is reset, and others are served at once."""
    monkeypatch.setattr(stream_handlers.multiplexer, "has_too_many_streams", lambda _stream: False)
    seen: Counter[str] = Counter()

    async def serve(stream: OneStream) -> None:
        seen[stream._host] += 1

    def use(handler: Any) -> None:
        network.handler = handler

    network = SimpleNamespace(common_stream_handler=serve, set_stream_handler=use)
    stream_handlers.contain_stream_handlers(network)
    burst, rate = int(stream_handlers.BURST_STREAMS), stream_handlers.STREAMS_PER_S
    waiting = int(rate * stream_handlers.LONGEST_WAIT_S)
    async with trio.open_nursery() as nursery:
        for number in range(burst + waiting + 100):
            nursery.start_soon(network.handler, OneStream("192.0.2.1", f"peer {number}", seen))
        for number in range(2 * burst):
            nursery.start_soon(network.handler, OneStream("127.0.0.1", f"peer {number}", seen))
        nursery.start_soon(network.handler, OneStream("192.0.2.2", "another", seen))
        await trio.testing.wait_all_tasks_blocked()
        assert seen["192.0.2.1"] == pytest.approx(burst, abs=2)
        assert (seen["192.0.2.2"], seen["127.0.0.1"]) == (1, 2 * burst)
        assert seen["192.0.2.1 reset"] == pytest.approx(100, abs=2)
    assert seen["192.0.2.1"] + seen["192.0.2.1 reset"] == burst + waiting + 100
