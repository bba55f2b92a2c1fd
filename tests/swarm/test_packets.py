"""How many packets a request with its answer costs: by the library as it is, and with the corrections.

A test whose first half fails says that the library no longer needs that correction: remove it.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import libp2p.stream_muxer.muxer_multistream as multistream
import pytest
import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.peer.peerstore import PeerStoreError
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.library import host_factory, host_lifecycle, multiplexer, streams

LOCAL = Multiaddr("/ip4/127.0.0.1/tcp/0")
PROTOCOL = "/test/echo/1.0.0"
LIBRARY_CREDIT = multiplexer._send_window_update
DEADLINE = 60


@pytest.fixture(autouse=True)
def put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The corrections are process-wide."""
    monkeypatch.setattr(multistream, "Yamux", multistream.Yamux)
    name = "_auto_tune_and_send_window_update"
    monkeypatch.setattr(multiplexer.YamuxStream, name, getattr(multiplexer.YamuxStream, name))


@asynccontextmanager
async def two_hosts(corrected: bool) -> AsyncIterator[tuple[Any, Any]]:
    """A host that answers each frame with the same bytes, and a connection of another host to it."""
    serving, asking = (
        host_factory.new_host(create_new_key_pair(bytes([number]) * 32), 16, list) for number in (1, 2)
    )
    if not corrected:
        multistream.Yamux = multiplexer.Yamux
        multiplexer.YamuxStream._auto_tune_and_send_window_update = LIBRARY_CREDIT

    async def echo(stream: Any) -> None:
        frame = await streams.read_frame(stream)
        async with multiplexer.one_packet(stream):
            await streams.write_frame(stream, frame)
            await stream.close()

    serving.set_stream_handler(TProtocol(PROTOCOL), echo)
    async with host_lifecycle.run_host(serving), host_lifecycle.run_host(asking):
        await serving.get_network().listen(LOCAL)
        address = Multiaddr(str(serving.get_transport_addrs()[0]))
        with trio.fail_after(DEADLINE):
            connection = await asking.get_network().dial_addr(address, serving.get_id())
            while not serving.get_network().get_connections():
                await trio.lowlevel.checkpoint()  # the dial does not wait for the other side to finish
            yield serving, connection


@asynccontextmanager
async def counted(serving: Any, connection: Any) -> AsyncIterator[Counter[str]]:
    """Count what is sealed and sent by each side inside."""
    count: Counter[str] = Counter()
    (theirs,) = (one for many in serving.get_network().connections.values() for one in many)
    for side, muxed in (("asks", connection.muxed_conn), ("answers", theirs.muxed_conn)):
        write = muxed.secured_conn.write

        async def noted(data: bytes, side: str = side, write: Any = write) -> None:
            count[side] += 1
            await write(data)

        muxed.secured_conn.write = noted
    yield count


async def settled(serving: Any, connection: Any) -> None:
    """Wait until identify has run on both sides: it sends packets too."""
    (theirs,) = (one for many in serving.get_network().connections.values() for one in many)
    with trio.fail_after(DEADLINE):
        while not all(_is_settled(one) for one in (connection, theirs)):
            await trio.lowlevel.checkpoint()


def _is_settled(connection: Any) -> bool:
    try:
        protocols = connection.swarm.peerstore.get_protocols(connection.muxed_conn.peer_id)
    except PeerStoreError:
        return False
    return bool(protocols) and not connection.get_streams() and not connection.muxed_conn.streams


@pytest.mark.parametrize("corrected", [False, True])
async def test_packets_of_one_exchange(corrected: bool) -> None:
    """Uncorrected every frame of the multiplexer is one; corrected, one there and two back."""
    async with two_hosts(corrected) as (serving, connection):
        await settled(serving, connection)
        request = streams.as_frame(b"x" * 150)
        async with (
            counted(serving, connection) as count,
            streams.open_stream(connection, PROTOCOL, request) as stream,
        ):
            assert await streams.read_frame(stream) == b"x" * 150
        if corrected:
            assert count == {"asks": 1, "answers": 2}
        else:
            assert count.total() >= 10


async def test_credit_is_given_when_it_is_needed() -> None:
    """More than a window passes through one stream: it neither stops nor costs a packet for each piece."""
    async with two_hosts(True) as (serving, connection):
        await settled(serving, connection)
        total = 3 * 256 * 1024
        received = trio.Event()

        async def swallow(stream: Any) -> None:
            await streams.read_exactly(stream, total)
            received.set()

        serving.set_stream_handler(TProtocol("/test/swallow"), swallow)
        async with counted(serving, connection) as count:
            async with streams.open_stream(connection, "/test/swallow") as stream:
                await streams.write(stream, bytes(total))
                await received.wait()
            assert count["answers"] <= 12


async def test_a_peer_that_does_not_speak_it() -> None:
    """It says so, or resets the stream upon bytes that it does not understand."""
    async with two_hosts(True) as (_serving, connection):
        with pytest.raises(streams.StreamError):
            async with streams.open_stream(connection, "/test/unknown", b"request"):
                pytest.fail("agreed")
        async with streams.open_stream(connection, PROTOCOL, streams.as_frame(b"x")) as stream:
            assert await streams.read_frame(stream) == b"x"


async def test_what_waits_is_sent_before_an_answer_is_waited_for() -> None:
    """Whoever reads inside `together` has the peer sent what it was told there."""
    async with (
        two_hosts(True) as (_serving, connection),
        streams.open_stream(connection, PROTOCOL) as stream,
        multiplexer.one_packet(stream),
    ):
        await streams.write_frame(stream, b"x")
        assert await streams.read_frame(stream) == b"x"
