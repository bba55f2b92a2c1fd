"""One plain libp2p host in a separate process, with the project's corrections: `bare_host serve | dial`.

Shows what a connection and a request cost without a node. Speaks JSON lines (benchmarks/json_processes.py):

    serve   prints {"address", "peer"}; answers each request with as many bytes as the request wants
    dial    {"address", "peer", "requests": n, "size", "answer"} → {"connect": s, "requests": [s, …]}
"""

import itertools
import json
import os
import sys
import time
from typing import Any

import trio
from libp2p.custom_types import TProtocol

from ...actors.swarm.dial.dialer import Dialer
from ...actors.swarm.host import Host, open_host
from ...actors.swarm.library import connection_limits, multiplexer, streams
from ...messages.actor_configs import SwarmConfig

PROTOCOL = "/benchmark/echo/1.0.0"
_CONNECTIONS = 64


class Open:
    """Everybody may connect (connection_limits.Gate)."""

    def allows(self, host: str) -> bool:
        """Admit every address."""
        return True

    def pause_before_handshake(self, _source: str) -> float:
        """Let each begin at once."""
        return 0.0

    def is_slow(self, _address_block: str | None) -> bool:
        """No block is slow."""
        return False


async def _serve(host: Host) -> None:
    async def answer(stream: Any) -> None:
        frame = await streams.read_frame(stream)
        async with multiplexer.one_packet(stream):
            await streams.write_frame(stream, bytes(int.from_bytes(frame[:2], "big")))
            await stream.close()

    async def note(level: str, event: str, /, **fields: object) -> None:
        return

    host.libp2p.set_stream_handler(TProtocol(PROTOCOL), answer)
    await host.listen(SwarmConfig(listen=("/ip4/127.0.0.1/tcp/0",)), (), note)
    say(address=host.listening[0], peer=host.peer.hex())
    async for _ in lines():
        pass


async def _dial(host: Host) -> None:
    async with trio.open_nursery() as nursery:
        dialer = Dialer(host.network, host.peer, nursery)
        say(ready=True)
        async for order in lines():
            say(**await _once(dialer, order))
        nursery.cancel_scope.cancel()


async def _once(dialer: Dialer, order: dict[str, Any]) -> dict[str, Any]:
    frame = int(order["answer"]).to_bytes(2, "big") + bytes(order["size"] - 2)
    marks = [time.monotonic()]
    connection = await dialer.connect(bytes.fromhex(order["peer"]), [order["address"]])
    marks.append(time.monotonic())
    for _ in range(order["requests"]):
        async with streams.open_stream(connection, PROTOCOL, streams.as_frame(frame)) as stream:
            await streams.read_frame(stream)
        marks.append(time.monotonic())
    await dialer.drop(connection)
    took = [end - begin for begin, end in itertools.pairwise(marks)]
    return {"connect": took[0], "requests": took[1:]}


async def lines() -> Any:
    """Yield the JSON lines of standard input."""
    buffer = bytearray()
    async with trio.lowlevel.FdStream(os.dup(0)) as stdin:
        while data := await stdin.receive_some(1 << 16):
            buffer += data
            while (end := buffer.find(b"\n")) >= 0:
                yield json.loads(buffer[:end])
                del buffer[: end + 1]


def say(**line: object) -> None:
    """Print one JSON line."""
    print(json.dumps(line), flush=True)


async def _main(role: str) -> None:
    async with open_host(os.urandom(32), _CONNECTIONS) as host:
        connection_limits.limit_inbound_connections(host.network, Open())
        await (_serve if role == "serve" else _dial)(host)


if __name__ == "__main__":
    trio.run(_main, sys.argv[1])
