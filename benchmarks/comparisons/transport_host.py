"""A plain libp2p host with one transport, for benchmarks: `transport_host KIND serve [IP] | dial`.

KIND is tcp, quic, ws, webrtc, or library-quic, library-ws: the library's own transport of that name.
Everything above it is this project's, but for library-tcp: a host as the library makes it.
tests/interop/js/transport_host.mjs is the same for js-libp2p. Speaks JSON lines (json_processes.py):

    serve   prints {"address", "peer", "pid"}; takes as many bytes as it is told and sends as many
            {"settle": true} → {"settled": true}, when what is of no use any more was freed
    dial    {"address", "peer", "requests": n, "bulk": bytes}
            → {"connect", "requests": […], "up", "down", "cpu"}, in seconds
            {"address", "peer", "hold": n} → {"held": n}, with n connections that stay
"""

import gc
import itertools
import os
import sys
import time
from contextlib import suppress
from typing import Any

import libp2p
import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from ...actors.swarm.library import connection_limits, host_factory, host_lifecycle, streams
from ...actors.swarm.library.security import noise_only
from .bare_host import Open, lines, say

PROTOCOL = "/benchmark/bulk/1.0.0"
_CONNECTIONS = 512
_PIECE = 1 << 16
_LISTEN = {
    "tcp": "/ip4/{}/tcp/0",
    "quic": "/ip4/{}/udp/0/quic-v1",
    "ws": "/ip4/{}/tcp/0/ws",
    "webrtc": "/ip4/{}/udp/0/webrtc-direct",
}


def _host(kind: str, seed: bytes) -> Any:
    keys = create_new_key_pair(seed)
    if kind == "library-tcp":
        return libp2p.new_host(key_pair=keys, sec_opt=noise_only(keys))
    more: list[Any] = []
    if kind == "quic":
        from ...actors.swarm.quic.transport import QuicTransport

        more = [QuicTransport(keys, seed)]
    elif kind == "ws":
        from ...actors.swarm.websocket.transport import WebSocketTransport
        from ...actors.swarm.websocket.wire import WebSocketOptions

        more = [WebSocketTransport(WebSocketOptions())]
    elif kind == "webrtc":
        from ...actors.swarm.webrtc.transport import WebRtcTransport

        more = [WebRtcTransport(keys, seed)]
    elif kind == "library-quic":
        from libp2p.transport.quic.transport import QUICTransport

        more = [QUICTransport(keys.private_key)]
    host = host_factory.new_host(keys, _CONNECTIONS, list, more)
    if kind == "library-ws":
        from libp2p.transport.websocket.transport import WebsocketTransport

        network = host.get_network()
        network.transport_manager.add_transports([WebsocketTransport(network.upgrader)])
    # All come from one address here.
    connection_limits.limit_inbound_connections(host.get_network(), Open())
    return host


async def _serve(host: Any, kind: str, ip: str) -> None:
    async def serve(stream: Any) -> None:
        order = await streams.read_exactly(stream, 8)
        up, down = int.from_bytes(order[:4], "big"), int.from_bytes(order[4:], "big")
        await _take(stream, up)
        await _give(stream, down)
        with suppress(streams.StreamError):
            await streams.read_exactly(stream, 1)  # the library's QUIC may lose data before an end (0009)
        await streams.close(stream)

    host.set_stream_handler(TProtocol(PROTOCOL), serve)
    await host.get_network().listen(Multiaddr(_LISTEN[kind.removeprefix("library-")].format(ip)))
    address = str(host.get_transport_addrs()[0]).partition("/p2p/")[0]
    say(address=address, peer=host.get_id().to_bytes().hex(), pid=os.getpid())
    async for _ in lines():
        gc.collect()
        say(settled=True)


async def _dial(host: Any, kind: str) -> None:
    held = []
    say(ready=True)
    async for order in lines():
        address, peer = Multiaddr(order["address"]), ID(bytes.fromhex(order["peer"]))
        if "hold" in order:
            for _ in range(order["hold"]):
                held.append(await host.get_network().dial_addr(address, peer))
            say(held=len(held))
        else:
            say(
                **await _once(
                    host.get_network(), address, peer, order, is_ours=not kind.startswith("library")
                )
            )


async def _once(
    network: Any, address: Multiaddr, peer: ID, order: dict[str, Any], *, is_ours: bool
) -> dict[str, Any]:
    """Connect, ask, send and take. A request goes with the proposal of its protocol where `is_ours`."""
    bulk = order["bulk"]
    marks = [time.monotonic()]
    connection = await network.dial_addr(address, peer)
    marks.append(time.monotonic())
    for _ in range(order["requests"]):
        await _exchange(connection, 32, 32, at_once=is_ours)
        marks.append(time.monotonic())
    began = time.process_time()
    await _exchange(connection, bulk, 1)
    marks.append(time.monotonic())
    await _exchange(connection, 1, bulk)
    marks.append(time.monotonic())
    cpu = time.process_time() - began
    await connection.close()
    took = [end - begin for begin, end in itertools.pairwise(marks)]
    return {"connect": took[0], "requests": took[1:-2], "up": took[-2], "down": took[-1], "cpu": cpu}


async def _exchange(connection: Any, up: int, down: int, *, at_once: bool = False) -> None:
    order = up.to_bytes(4, "big") + down.to_bytes(4, "big")
    async with streams.open_stream(connection, PROTOCOL, order + bytes(up) if at_once else b"") as stream:
        if not at_once:
            await streams.write(stream, order)
            await _give(stream, up)
        await _take(stream, down)


async def _give(stream: Any, size: int) -> None:
    piece = bytes(_PIECE)
    for start in range(0, size, _PIECE):
        await streams.write(stream, piece[: min(_PIECE, size - start)])


async def _take(stream: Any, size: int) -> None:
    for start in range(0, size, _PIECE):
        await streams.read_exactly(stream, min(_PIECE, size - start))


async def _main(kind: str, role: str, ip: str) -> None:
    host = _host(kind, os.urandom(32))
    async with host_lifecycle.run_host(host):
        await (_serve(host, kind, ip) if role == "serve" else _dial(host, kind))


if __name__ == "__main__":
    trio.run(_main, sys.argv[1], sys.argv[2], (sys.argv[3:] or ["127.0.0.1"])[0])
