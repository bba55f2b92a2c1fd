"""The HTTP face of metrics over real sockets, with clients that behave and clients that do not."""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from spacedrive_node.actors import http_server as connections
from spacedrive_node.actors.metrics import http_server, main
from spacedrive_node.messages.actor_configs import MetricsConfig
from spacedrive_node.messages.base import encode
from spacedrive_node.messages.child_protocol import (
    Deliver,
    Ready,
    Start,
    Step,
    Stop,
    decode_from_child,
    decode_to_child,
)
from spacedrive_node.messages.from_supervisor import Alive
from spacedrive_node.messages.to_gateway import Readiness
from spacedrive_node.messages.to_metrics import Observed, Sample
from spacedrive_node.supervisor.channel import Channel


class Node:
    """Plays the supervisor for one metrics actor; answers AreYouAlive while `alive`."""

    def __init__(self, channel: Channel[Any], port: int) -> None:
        self.channel, self.port = channel, port
        self.alive = True
        self.asked = trio.Event()
        self.checkpoint: bytes | None = None
        self._inputs = 0
        self._done: dict[int, trio.Event] = {}

    async def run(self) -> None:
        while True:
            frame = await self.channel.receive()
            if not isinstance(frame, Step):
                continue
            self.checkpoint = frame.checkpoint or self.checkpoint
            if frame.input in self._done:
                self._done[frame.input].set()
            for out in frame.out:
                assert (out.to, out.kind) == ("supervisor", "AreYouAlive")
                self.asked.set()
                if self.alive:
                    request = msgspec.msgpack.decode(out.body)["request"]
                    await self._deliver("supervisor", Alive(request))

    async def _deliver(self, sender: str, message: Any) -> trio.Event:
        self._inputs += 1
        done = self._done[self._inputs] = trio.Event()
        body = msgspec.Raw(encode(message))
        kind = type(message).__name__
        await self.channel.send(Deliver(self._inputs, sender, 1, kind, os.urandom(16), body))
        return done

    async def tell(self, sender: str, message: Any) -> None:
        await (await self._deliver(sender, message)).wait()

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def raw(self, data: bytes) -> bytes:
        """Send bytes, end the sending side, and return all that comes back."""
        stream = await self.connect()
        async with stream:
            try:
                await stream.send_all(data)
                await stream.send_eof()
            except trio.BrokenResourceError:
                pass  # the server had enough
            return await _rest(stream)

    async def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str, bytes]:
        """Return status, content type and body."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        request = f"{method} {path} HTTP/1.1\r\nHost: x\r\n{lines}Connection: close\r\n\r\n"
        head, _, body = (await self.raw(request.encode())).partition(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:])
        return int(head.split()[1]), fields[b"content-type"].decode(), body


async def _rest(stream: trio.SocketStream) -> bytes:
    received = b""
    try:
        while data := await stream.receive_some(65536):
            received += data
    except trio.BrokenResourceError:
        pass  # reset after what had been sent
    return received


@asynccontextmanager
async def running() -> AsyncIterator[Node]:
    listening = socket.create_server(("127.0.0.1", 0))
    here, there = trio.testing.memory_stream_pair()
    channel = Channel(here, decode_from_child)
    config = msgspec.Raw(encode(MetricsConfig(socket_fd=listening.fileno(), version="9.9")))
    with listening, trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(main, Channel(there, decode_to_child))
            await channel.send(Start("metrics", 1, config))
            assert isinstance(await channel.receive(), Ready)
            node = Node(channel, listening.getsockname()[1])
            async with trio.open_nursery() as own:
                own.start_soon(node.run)
                yield node
                own.cancel_scope.cancel()
            await channel.send(Stop())


async def test_metrics_in_both_forms() -> None:
    """Prometheus text unless OpenMetrics is accepted; values appear at once."""
    async with running() as node:
        await node.tell("swarm", Observed(samples=(Sample("dht_routing_table_peers", (), 4),)))
        status, content_type, body = await node.get("/metrics")
        assert (status, content_type.split(";")[0]) == (200, "text/plain")
        assert b"spacedrive_node_dht_routing_table_peers 4.0\n" in body
        assert b'spacedrive_node_build_info{version="9.9"} 1.0\n' in body
        await node.tell("swarm", Observed(samples=(Sample("dht_routing_table_peers", (), 5),)))
        accept = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;q=0.5"
        status, content_type, body = await node.get("/metrics?x=1", Accept=accept)
        assert (status, content_type.split(";")[0]) == (200, "application/openmetrics-text")
        assert b"spacedrive_node_dht_routing_table_peers 5.0\n" in body
        assert body.endswith(b"# EOF\n")


async def test_livez_asks_the_supervisor() -> None:
    """200 when it answers; 503 after the deadline when it does not."""
    async with running() as node:
        assert (await node.get("/livez"))[0] == 200
        assert node.asked.is_set()


async def test_livez_without_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline ends the wait, and a later answer disturbs nobody."""
    monkeypatch.setattr(http_server, "ALIVE_SECONDS", 0.05)
    async with running() as node:
        node.alive = False
        assert (await node.get("/livez"))[0] == 503
        await node.tell("supervisor", Alive(1))
        monkeypatch.setattr(http_server, "ALIVE_SECONDS", 10.0)
        node.alive = True
        assert (await node.get("/livez"))[0] == 200


async def test_what_is_not_alive_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """A supervisor that stands still passes nothing on: /readyz fails with /livez, and says why."""
    async with running() as node:
        for sender, part in (("vault", "vault"), ("swarm", "swarm"), ("discovery", "dht")):
            await node.tell(sender, Readiness(part, True))
        assert (await node.get("/readyz"))[0] == 200
        monkeypatch.setattr(http_server, "ALIVE_SECONDS", 0.05)
        node.alive = False
        assert (await node.get("/livez"))[0] == 503
        status, _, body = await node.get("/readyz")
        assert status == 503
        assert body.startswith(b"supervisor: not ready")
        page = (await node.get("/metrics"))[2]
        assert b"spacedrive_node_alive 0.0\n" in page
        assert b"spacedrive_node_ready 0.0\n" in page
        monkeypatch.setattr(http_server, "ALIVE_SECONDS", 10.0)
        node.alive = True
        page = (await node.get("/metrics"))[2]
        assert b"spacedrive_node_alive 1.0\n" in page
        assert b"spacedrive_node_ready 1.0\n" in page


async def test_readyz_says_what_is_missing() -> None:
    """503 until every part is ready, naming each; 200 then; 503 again when one is lost."""
    async with running() as node:
        await node.tell("vault", Readiness("vault", True))
        await node.tell("swarm", Readiness("swarm", True))
        status, _, body = await node.get("/readyz")
        assert status == 503
        assert body == b"vault: ready\nswarm: ready\ndht: not ready (not started)\n"
        await node.tell("discovery", Readiness("dht", True, "not wanted"))
        assert await node.get("/readyz") == (
            200,
            "text/plain; charset=utf-8",
            b"vault: ready\nswarm: ready\ndht: ready (not wanted)\n",
        )
        await node.tell("swarm", Readiness("swarm", False, "port\x1b[2J taken\nvault: ready"))
        status, _, body = await node.get("/readyz")
        assert status == 503
        assert b"\x1b" not in body
        assert body.count(b"\n") == 3


async def test_other_paths_and_methods() -> None:
    """404 for what is not there, 405 with Allow for what is not done; HEAD has no body."""
    async with running() as node:
        assert (await node.get("/"))[0] == 404
        assert (await node.get("http://x/metrics"))[0] == 404
        assert (await node.get("/metrics", "DELETE"))[0] == 405
        assert b"allow: get, head" in (await node.raw(b"PUT /livez HTTP/1.1\r\nHost: x\r\n\r\n")).lower()
        status, _, body = await node.get("/metrics", "HEAD")
        assert (status, body) == (200, b"")


async def test_keep_alive_and_pipelining() -> None:
    """Two requests on one connection get two answers, in order."""
    async with running() as node:
        request = b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
        assert (await node.raw(request + request.replace(b"nothing", b"readyz"))).count(b"HTTP/1.1 ") == 2


async def test_a_request_with_a_body_ends_the_connection() -> None:
    """The body is not read, however long it says to be."""
    async with running() as node:
        post = b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\nabc"
        assert (await node.raw(post)).startswith(b"HTTP/1.1 405 ")


async def test_garbage_is_refused() -> None:
    """What is not HTTP, too long a header, a TLS hello, half a request: an error or silence, never a hang."""
    async with running() as node:
        for data, status in (
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), b"400"),
            (b"GET /metrics HTTP/1.1\r\n\r\n", b"400"),
            (b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", b"431"),
        ):
            answer = await node.raw(data)
            assert answer.startswith(b"HTTP/1.1 " + status) or answer == b""
        await node.raw(b"GET /metr")
        await node.raw(b"")
        assert (await node.get("/metrics"))[0] == 200


@settings(max_examples=15)
@given(st.lists(st.binary(max_size=300), max_size=8))
def test_any_bytes(chunks: list[bytes]) -> None:
    """Random bytes after a plausible beginning end the connection and nothing else."""

    async def attempt() -> None:
        async with running() as node:
            for chunk in chunks:
                await node.raw(b"GET /metrics HTTP/1.1\r\n" + chunk)
            assert (await node.get("/metrics"))[0] == 200

    trio.run(attempt)


async def test_slow_clients_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that never sends and one that never finishes its header are closed at their deadlines."""
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.05)
    async with running() as node:
        for beginning in (b"", b"GET /metrics HT"):
            async with await node.connect() as stream:
                await stream.send_all(beginning or b"")
                assert await _rest(stream) == b""


async def test_a_client_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection ends; the others are answered all the while."""
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.2)
    async with running() as node:
        async with await node.connect() as stream:
            ended = False
            try:
                while True:
                    await stream.send_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 200)
            except trio.BrokenResourceError:
                ended = True
            assert ended
        monkeypatch.undo()
        assert (await node.get("/metrics"))[0] == 200


async def test_the_oldest_connection_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many hold connections open, a new one is served."""
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 3)
    async with running() as node:
        held = [await node.connect() for _ in range(10)]
        for stream in held:
            await stream.send_all(b"GET /me")
        assert (await node.get("/metrics"))[0] == 200
        assert await _rest(held[0]) == b""
        for stream in held:
            await trio.aclose_forcefully(stream)


async def test_without_a_socket() -> None:
    """No HTTP wanted: it still adds up."""
    here, there = trio.testing.memory_stream_pair()
    channel: Channel[Any] = Channel(here, decode_from_child)
    config = msgspec.Raw(encode(MetricsConfig(socket_fd=None, version="1")))
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(main, Channel(there, decode_to_child))
            await channel.send(Start("metrics", 1, config))
            assert isinstance(await channel.receive(), Ready)
            body = msgspec.Raw(encode(Observed()))
            await channel.send(Deliver(1, "swarm", 1, "Observed", bytes(16), body))
            assert (await channel.receive()).input == 1
            await channel.send(Stop())
