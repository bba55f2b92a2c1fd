"""What strangers send to a listener: half requests, other protocols, floods; and what stays of it."""

import random

import pytest
import trio

from spacedrive_node.actors.swarm.websocket import stream as websocket_stream
from spacedrive_node.actors.swarm.websocket import upgrade_limits
from spacedrive_node.actors.swarm.websocket.http_upgrade import BAD_REQUEST, NOT_FOUND
from spacedrive_node.actors.swarm.websocket.stream import WebSocketStream
from spacedrive_node.tests.harness.websocket_hosts import (
    DEADLINE,
    Served,
    masked,
    receive,
    receive_all,
    request,
    served,
)

BINARY, PING, CLOSE = 0x82, 0x89, 0x88


async def echo(connection: WebSocketStream) -> None:
    while data := await connection.read(1000):
        await connection.write(data)
    await connection.close()


async def still_serves(listening: Served) -> None:
    """A client of this project sends and gets back."""
    with trio.fail_after(DEADLINE):
        connection = await listening.dial()
        await connection.write(b"hello")
        assert await connection.read(5) == b"hello"
        await connection.close()


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", NOT_FOUND),
        (b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", NOT_FOUND),
        (request("/admin"), NOT_FOUND),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100), BAD_REQUEST),
        (b"\x13/multistream/1.0.0\n\n\r\n\r\n", BAD_REQUEST),
        (request("/", "x: " + "y" * 17_000), BAD_REQUEST),
        (b"GET / HTTP/1.1\r\n" * 2000, BAD_REQUEST),
    ],
)
async def test_all_else_is_answered_shortly_and_closed(data: bytes, answer: bytes) -> None:
    """And counted as a handshake that failed; others are served."""
    async with served(handler=echo) as listening:
        failed: list[tuple[str, bool]] = []
        listening.transport.observe = lambda transport, _seconds, ok: failed.append((transport, ok))
        client = await listening.open(data)
        assert await receive_all(client) in (answer, b"")  # a reset may overtake it, if more was sent
        assert failed == [("ws", False)]
        assert len(listening.transport.upgrades) == 0
        assert listening.connections == []
        await still_serves(listening)


async def test_the_answer_arrives_at_a_sender_of_a_whole_request() -> None:
    """Nothing is left unread, so no reset overtakes it."""
    async with served() as listening:
        assert await receive_all(await listening.open(request("/admin"))) == NOT_FOUND


@pytest.mark.parametrize("data", [b"", request()[:-2]])
async def test_half_a_request_is_given_up(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """After a time that also a trickle does not lengthen."""
    monkeypatch.setattr(upgrade_limits, "UPGRADE_TIMEOUT_S", 0.2)
    async with served(handler=echo) as listening:
        client = await listening.open(data)
        assert await receive_all(client) == b""
        assert len(listening.transport.upgrades) == 0


async def test_idle_sockets_of_one_block_are_bounded() -> None:
    """One more takes the place of the oldest, so that whoever says nothing keeps nobody out."""
    async with served(handler=echo) as listening:
        idle = [await listening.open() for _ in range(upgrade_limits.MAX_UPGRADES_PER_BLOCK)]
        with trio.fail_after(DEADLINE):
            while len(listening.transport.upgrades) < len(idle):  # noqa: ASYNC110
                await trio.sleep(0.01)
        await still_serves(listening)
        assert await receive_all(idle[0]) == b""
        assert len(listening.transport.upgrades) == len(idle) - 1


async def test_a_flood_of_pings_ends_its_connection_alone() -> None:
    """It is told why; others are served meanwhile."""
    async with served(handler=echo) as listening:
        client = await listening.upgraded()
        async with trio.open_nursery() as nursery:

            async def flood() -> None:
                try:
                    while True:
                        await client.send_all(masked(PING, b"x" * 100) * 100)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    return

            nursery.start_soon(flood)
            await still_serves(listening)
            received = await receive_all(client)
            nursery.cancel_scope.cancel()
        assert len(received) < 102 * 110  # an answer to each allowed one at most
        assert (await listening.accepted())._closed.is_set()


async def test_pings_are_answered_while_this_side_writes_to_nobody() -> None:
    """A peer that does not read holds up the writer, and never the reader."""
    async with served() as listening:
        client = await listening.upgraded()
        connection = await listening.accepted()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.write, b"x" * 50_000_000)  # more than any socket takes
            await client.send_all(masked(PING, b"?") + masked(BINARY, b"read me"))
            with trio.fail_after(DEADLINE):
                assert await connection.read(7) == b"read me"
                await client.send_all(masked(PING, b"!") + masked(BINARY, b"and me"))
                assert await connection.read(6) == b"and me"
            nursery.cancel_scope.cancel()


async def test_what_nobody_reads_stays_with_the_peer() -> None:
    """This side keeps one read of the socket, whatever a peer sends."""
    async with served() as listening:
        client = await listening.upgraded()
        connection = await listening.accepted()
        sent = 0
        with trio.move_on_after(1):
            while sent < 64 * 1024 * 1024:
                await client.send_all(masked(BINARY, b"x" * 60_000))
                sent += 60_000
        assert sent < 32 * 1024 * 1024
        with trio.fail_after(DEADLINE):
            assert await connection.read(1) == b"x"
        kept = len(connection._arrived) + len(connection._frames._frames._frame_decoder.buffer)
        assert kept <= 65536


async def test_closing_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while a peer takes nothing, and a writer waits for it: nor for the time-out of a Close frame."""
    monkeypatch.setattr(websocket_stream, "CLOSE_TIMEOUT_S", 2 * DEADLINE)
    async with served() as listening:
        await listening.upgraded()
        connection = await listening.accepted()
        async with trio.open_nursery() as nursery:

            async def write() -> None:
                with pytest.raises(Exception, match="closed"):
                    await connection.write(b"x" * 50_000_000)

            nursery.start_soon(write)
            await trio.testing.wait_all_tasks_blocked(0.1)
            with trio.fail_after(DEADLINE):
                await connection.close()


async def test_a_close_frame_is_the_end_of_the_stream() -> None:
    """As the end of TCP is; and a Close frame comes back."""
    async with served(handler=echo) as listening:
        client = await listening.upgraded()
        await client.send_all(masked(BINARY, b"x") + masked(CLOSE, b"\x03\xe8"))
        assert await receive_all(client) == b"\x82\x01x\x88\x02\x03\xe8"


async def test_a_peer_that_is_gone_is_noticed_at_once() -> None:
    """The end of TCP without a Close frame, as the system sends it for a killed process."""
    async with served() as listening:
        client = await listening.upgraded()
        connection = await listening.accepted()
        await client.aclose()
        with trio.fail_after(DEADLINE):  # long before it would be asked by a ping
            assert await connection.read(1) == b""


async def test_a_silent_peer_is_asked_and_then_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that answers stays."""
    monkeypatch.setattr(websocket_stream, "PING_INTERVAL_S", 0.3)
    monkeypatch.setattr(websocket_stream, "MAX_SILENCE_S", 2.5)
    async with served(handler=echo) as listening:
        living = await listening.dial()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(living.read, 1)
            client = await listening.upgraded()
            assert await receive(client) == b"\x89\x00"
            received = await receive_all(client)
            assert received.endswith(b"\x88\x02\x03\xe9")
            await living.write(b"x")
            await trio.testing.wait_all_tasks_blocked()
            assert not living._closed.is_set()
            nursery.cancel_scope.cancel()


async def test_random_bytes_after_the_upgrade_end_their_connection_alone() -> None:
    """Frames of any kind, cut anywhere."""
    chance = random.Random(5)
    async with served(handler=echo) as listening:
        for _ in range(100):
            client = await listening.upgraded()
            kind = chance.randrange(256)
            data = masked(kind, chance.randbytes(chance.randrange(70))) + chance.randbytes(30)
            await client.send_all(data)
            await client.send_eof()
            await receive_all(client)
            await client.aclose()
        await still_serves(listening)
        with trio.fail_after(DEADLINE):
            while not all(one._closed.is_set() for one in listening.connections):  # noqa: ASYNC110
                await trio.sleep(0.01)
