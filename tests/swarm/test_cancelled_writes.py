"""Whoever gives up while it writes costs its own stream: the connection and its other streams go on."""

import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import libp2p.stream_muxer.muxer_multistream as multistream
import pytest
import trio
import trio.testing
from libp2p.io.exceptions import ConnectionClosedError
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.library import host_lifecycle, multiplexer, packet_writer, streams
from spacedrive_node.actors.swarm.library.connections import close_connection, transport_of
from spacedrive_node.actors.swarm.websocket.transport import WebSocketTransport
from spacedrive_node.tests.harness.library_hosts import PROTOCOL, our_host, plain_host
from spacedrive_node.tests.harness.websocket_hosts import make_certificate

DEADLINE = 30.0
LISTEN = {
    "tcp": "/ip4/127.0.0.1/tcp/0",
    "ws": "/ip4/127.0.0.1/tcp/0/ws",
    "wss": "/ip4/127.0.0.1/tcp/0/tls/ws",
    "quic": "/ip4/127.0.0.1/udp/0/quic-v1",
    "webrtc": "/ip4/127.0.0.1/udp/0/webrtc-direct",
}


async def echo(stream: Any) -> None:
    """Answer each frame until the peer closes its half."""
    try:
        while True:
            await streams.write_frame(stream, await streams.read_frame(stream))
    except streams.StreamError as error:
        await (streams.close if error.clean else streams.reset)(stream)


@asynccontextmanager
async def two_hosts(
    transport: str, folder: Path, *, corrected: bool = True
) -> AsyncIterator[tuple[Any, Any, Any]]:
    """A connection of one host with another, and both hosts, which echo."""
    if transport == "webrtc":
        pytest.importorskip("google_crc32c", reason="the extra webrtc is not installed: make webrtc")
    options = make_certificate(folder, ["127.0.0.1"]) if transport == "wss" else None

    def make(number: int) -> Any:
        websocket = None if options is None else WebSocketTransport(options)
        if corrected:
            made = our_host(
                number,
                quic=transport == "quic",
                websocket=transport == "ws" or websocket,
                webrtc=transport == "webrtc",
            )
        else:
            made = plain_host(number)
        made.set_stream_handler(PROTOCOL, echo)
        return made

    one, other = make(1), make(2)
    async with host_lifecycle.run_host(one), host_lifecycle.run_host(other):
        await other.get_network().listen(Multiaddr(LISTEN[transport]))
        ((address,),) = [listener.get_addrs() for listener in other.get_network().listeners.values()]
        with trio.fail_after(DEADLINE):
            connection = await one.get_network().dial_addr(address, other.get_id())
            while not other.get_network().get_connections(one.get_id()):
                await trio.lowlevel.checkpoint()
        assert transport_of(connection.muxed_conn) == transport
        yield connection, one, other


async def request(connection: Any, payload: bytes) -> bytes:
    """Have a frame echoed on a stream of its own."""
    with trio.fail_after(DEADLINE):
        async with streams.open_stream(connection, PROTOCOL, streams.as_frame(payload)) as stream:
            return await streams.read_frame(stream)


async def give_up_after(turns: int, act: Callable[[], Any]) -> None:
    """Begin something, and cancel it after so many turns of the event loop; 0: before it begins."""
    with trio.CancelScope() as scope:
        if not turns:
            scope.cancel()
        async with trio.open_nursery() as nursery:

            async def give_up() -> None:
                for _ in range(turns):
                    await trio.lowlevel.checkpoint()
                scope.cancel()

            nursery.start_soon(give_up)
            await act()
            nursery.cancel_scope.cancel()


async def some_requests(connection: Any) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(request, connection, b"given up" * 500)


async def echoed(stream: Any) -> bool:
    """Whether a frame comes back on a stream that is open."""
    with trio.fail_after(DEADLINE):
        await streams.write_frame(stream, b"still there")
        return await streams.read_frame(stream) == b"still there"


async def use_while_others_give_up(connection: Any) -> None:
    """Hundreds of requests, five at once, each cancelled at another moment, while another stream is used."""
    async with streams.open_stream(connection, PROTOCOL) as lasting:
        for number in range(60):
            await give_up_after(number % 20, partial(some_requests, connection))
            assert await echoed(lasting)
    assert await request(connection, b"after all") == b"after all"


@pytest.mark.parametrize("transport", ["tcp", "ws", "wss", "quic", "webrtc"])
async def test_requests_that_are_given_up_leave_the_connection_alone(transport: str, tmp_path: Path) -> None:
    """The other stream goes on, and so does the connection on both sides."""
    async with two_hosts(transport, tmp_path) as (connection, _, other):
        (theirs,) = other.get_network().get_connections()
        await use_while_others_give_up(connection)
        assert not connection.is_closed
        assert not theirs.is_closed


async def test_the_library_loses_the_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is. When this fails, packet_writer.py can go."""
    monkeypatch.setattr(multistream, "Yamux", multiplexer.Yamux)
    async with two_hosts("tcp", tmp_path, corrected=False) as (connection, *_):
        with pytest.raises((streams.StreamError, ExceptionGroup)):
            await use_while_others_give_up(connection)


async def fill(connection: Any, other: Any, nursery: trio.Nursery) -> None:
    """Let the peer read nothing any more, and write until the socket takes no more; then give up."""
    (theirs,) = other.get_network().get_connections()

    async def never(_size: int | None = None) -> bytes:
        await trio.sleep_forever()

    theirs.muxed_conn.secured_conn.read = never
    muxed = connection.muxed_conn
    data = struct.pack(">BBHII", 0, 0, 0, 999, 60_000) + bytes(60_000)
    scope = trio.CancelScope()

    async def write() -> None:
        with scope, suppress(ConnectionClosedError):
            while not muxed.is_closed:
                await muxed._write_frame(data)

    nursery.start_soon(write)
    await trio.testing.wait_all_tasks_blocked(0.2)
    assert muxed.packets._turn.locked()
    scope.cancel()


SOCKETS = pytest.mark.parametrize("transport", ["tcp", "ws", "wss"])


@SOCKETS
async def test_a_peer_that_takes_nothing_loses_its_connection(
    transport: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the bound, although whoever wrote has given up before."""
    monkeypatch.setattr(packet_writer, "MAX_WRITE_S", 3.0)
    async with trio.open_nursery() as nursery, two_hosts(transport, tmp_path) as (connection, one, other):
        await fill(connection, other, nursery)
        assert not connection.is_closed
        with trio.fail_after(DEADLINE):
            await connection.event_closed.wait()
            while one.get_network().get_connections():
                await trio.lowlevel.checkpoint()
        with pytest.raises(ConnectionClosedError):
            await connection.muxed_conn.packets.write(b"more")


@SOCKETS
async def test_nobody_waits_for_a_peer_that_takes_nothing(
    transport: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever wants to write, reset a stream or close the connection is done when it says so."""
    monkeypatch.setattr(packet_writer, "MAX_WRITE_S", 2 * DEADLINE)
    async with two_hosts(transport, tmp_path) as (connection, one, other), trio.open_nursery() as nursery:
        stream = await connection.new_stream()
        await fill(connection, other, nursery)
        with trio.fail_after(DEADLINE):  # also for the packet that is under way, which has twice as long
            with trio.move_on_after(0.1) as given_up:
                await streams.write(stream, b"x")
            assert given_up.cancelled_caught
            await streams.reset(stream)
            await close_connection(connection)
            assert connection.muxed_conn.is_closed
            assert not one.get_network().get_connections()
            while connection.muxed_conn.packets._turn.locked():
                await trio.lowlevel.checkpoint()


@SOCKETS
async def test_the_end_of_a_host_does_not_wait_for_such_a_peer(
    transport: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does whoever wrote to it."""
    monkeypatch.setattr(packet_writer, "MAX_WRITE_S", 2 * DEADLINE)
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery, two_hosts(transport, tmp_path) as (connection, _, other):
            await fill(connection, other, nursery)


async def test_what_others_were_to_say_is_said(tmp_path: Path) -> None:
    """Frames that open streams wait for the next packet; they are not lost with whoever gives up on that."""
    async with two_hosts("tcp", tmp_path) as (connection, _, _other):
        muxed = connection.muxed_conn
        await trio.testing.wait_all_tasks_blocked(0.1)  # identify is over: nothing else writes
        first, second = await connection.new_stream(), await connection.new_stream()
        opened = muxed.packets.delayed
        assert len(opened) == 24
        async with muxed.packets._turn:  # a third one is writing
            await give_up_after(3, lambda: streams.write(first, b"given up"))
            await give_up_after(3, first.reset)
        sent: list[bytes] = []
        send = muxed.packets._send

        async def noted(packet: bytes) -> None:
            sent.append(packet)
            await send(packet)

        muxed.packets._send = noted
        await streams.write(second, b"x")
        reset = struct.pack(">BBHII", 0, 1, 8, first.muxed_stream.stream_id, 0)
        data = struct.pack(">BBHII", 0, 0, 0, second.muxed_stream.stream_id, 1) + b"x"
        assert sent == [opened + reset + data]
