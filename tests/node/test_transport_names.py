"""`paired` events, metrics and status of a node name the transport that is used, and no other."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import get_args

import pytest
import trio

from spacedrive_node.config import extras
from spacedrive_node.messages.types import Transport
from spacedrive_node.protocol.multiaddrs import parse
from spacedrive_node.tests.harness.nodes import Node, free_port, pair, running_node
from spacedrive_node.tests.harness.websocket_hosts import make_certificate

DEADLINE = 60.0
FORMS: dict[Transport, str] = {
    "tcp": "/tcp/{}",
    "quic": "/udp/{}/quic-v1",
    "ws": "/tcp/{}/ws",
    "wss": "/tcp/{}/tls/ws",
    "webrtc": "/udp/{}/webrtc-direct",
}
_CONNECTIONS = re.compile(r"spacedrive_node_connections\{([^}]*)\} (\S+)")
_HANDSHAKES = re.compile(r"spacedrive_node_handshake_seconds_count\{([^}]*)\} (\S+)")


def at(transport: Transport, port: int | None = None) -> str:
    """An address of loopback."""
    return "/ip4/127.0.0.1" + FORMS[transport].format(port or free_port())


def settings(transport: Transport, folder: Path) -> dict[str, object]:
    """A configuration with this transport alone, and /metrics."""
    found: dict[str, object] = {"listen": (at(transport),), "metrics_listen": "127.0.0.1:0"}
    if transport == "wss":
        folder.mkdir(exist_ok=True)
        made = make_certificate(folder, ["127.0.0.1"])
        found |= {"tls_certificate": made.certificate, "tls_key": made.key, "tls_ca": made.ca}
    return found


async def scrape(node: Node, pattern: re.Pattern[str]) -> dict[Transport, float]:
    """Return the values of a metric above zero, summed by transport."""
    assert node.ready.metrics is not None
    host, _, port = node.ready.metrics.rpartition(":")
    stream = await trio.open_tcp_stream(host, int(port))
    async with stream:
        await stream.send_all(b"GET /metrics HTTP/1.0\r\n\r\n")
        text = b"".join([piece async for piece in stream]).decode()
    found: dict[Transport, float] = {}
    for labels, value in pattern.findall(text):
        named = re.search(r'transport="(\w+)"', labels)
        assert named is not None
        assert named[1] in get_args(Transport)
        assert 'outcome="failed"' not in labels or float(value) == 0
        if float(value) > 0:
            found[named[1]] = found.get(named[1], 0.0) + float(value)  # type: ignore[index]
    return found


async def until_counted(node: Node, pattern: re.Pattern[str], transport: Transport) -> None:
    """Wait until a metric names this transport, and no other."""
    found: dict[Transport, float] = {}
    with trio.fail_after(DEADLINE):
        while set(found) != {transport}:
            found = await scrape(node, pattern)
            assert set(found) <= {transport}


@pytest.mark.parametrize("transport", [one for one in FORMS if one != "webrtc" or extras.has_webrtc()])
async def test_a_pairing_over_one_transport(tmp_path: Path, transport: Transport) -> None:
    """Both devices, and every place where a transport is named."""
    options = settings(transport, tmp_path / "tls")
    there = {**options, "listen": (at(transport),)}
    async with (
        running_node(tmp_path, "anna", **options) as a,
        running_node(tmp_path, "bruno", bootstrap=(a.bootstrap,), **there) as b,
    ):
        result = await pair(a, b)
        for side, node in ((result.initiator, a), (result.joiner, b)):
            assert (side.path, side.transport) == ("direct", transport)
            assert [parse(text).transport for text in (await node.client.status()).listening] == [transport]
            await until_counted(node, _CONNECTIONS, transport)
            await until_counted(node, _HANDSHAKES, transport)


@asynccontextmanager
async def forwarding(port: int) -> AsyncIterator[int]:
    """A reverse proxy: it puts the header of one into the first request, and forwards; gives its port."""

    async def carry(one: trio.SocketStream, other: trio.SocketStream, header: bytes = b"") -> None:
        try:
            async for data in one:
                if header:
                    data = data.replace(b"\r\n", b"\r\n" + header, 1)
                    header = b""
                await other.send_all(data)
            await other.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    async def serve(near: trio.SocketStream) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", port) as far, trio.open_nursery() as nursery:
            nursery.start_soon(carry, near, far, b"X-Forwarded-For: 127.0.0.9\r\n")
            nursery.start_soon(carry, far, near)

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def test_a_pairing_behind_a_proxy(tmp_path: Path) -> None:
    """It is WebSocket on both sides of a proxy that adds no TLS, and the proxy's address is nobody's."""
    options = settings("ws", tmp_path)
    (listen,) = options["listen"]  # type: ignore[misc]
    async with forwarding(parse(listen).port) as port:
        announce = at("ws", port)
        async with running_node(
            tmp_path, "anna", **options, announce=(announce,), websocket_proxies=("127.0.0.1/32",)
        ) as a:
            assert a.ready.addresses == (announce,)
            async with running_node(
                tmp_path, "bruno", bootstrap=(a.bootstrap,), **settings("ws", tmp_path)
            ) as b:
                result = await pair(a, b)
                for side, node in ((result.initiator, a), (result.joiner, b)):
                    assert (side.path, side.transport) == ("direct", "ws")
                    await until_counted(node, _CONNECTIONS, "ws")
