"""DHT servers and clients in one process, each the swarm and discovery of a node (dht_participant.py).

Speaks JSON lines (json_processes.py), in which a node is {"peer", "addresses"}:

    {"servers": n, "known": [node, …], "seed"}          →  {"nodes": [node, …]}, each joined through a few
    {"announce": key, "known": [node, …]}               →  {"provider", "first", "all", "servers", "requests"}
    {"find": key, "provider": peer, "known": [node, …]} →  {"seconds", "requests", "hops"}

Each client is new, knows those nodes and no other, and is no server itself. Times are seconds; null:
it did not come to that. An argument is the IPv4 address where they listen, in place of loopback.
"""

import json
import os
import random
import sys
import time
from typing import Any

import trio

from ..messages.to_discovery import Find, StartProviding
from ..messages.types import DhtMode, PeerAddresses
from .dht_participant import DhtParticipant

_HOST = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1"
_THROUGH = 3
_JOIN = 10.0
_PATIENCE = 20.0
_QUIET = 0.4
"""Seconds without a request after which an announcement is over: fewer than it waits before it repeats
one.
"""
_INSTANCE = "0" * 16
_SESSION = "session-00000000000000aa"


def to_json(node: PeerAddresses) -> dict[str, Any]:
    """Return a node as it stands in a line."""
    return {"peer": node.peer.hex(), "addresses": list(node.addresses)}


def from_json(node: dict[str, Any]) -> PeerAddresses:
    """Read it."""
    return PeerAddresses(bytes.fromhex(node["peer"]), tuple(node["addresses"]))


async def _start(
    nursery: trio.Nursery, through: list[PeerAddresses], mode: DhtMode = "auto"
) -> DhtParticipant:
    node = DhtParticipant(nursery, _HOST)
    await node.start(through, mode)
    if through:
        await node.wait_until(lambda: node.servers == len(through), _JOIN)
    return node


async def _servers(nursery: trio.Nursery, order: dict[str, Any]) -> dict[str, Any]:
    draw = random.Random(order["seed"])
    known = [from_json(node) for node in order["known"]]
    started = []
    for _ in range(order["servers"]):
        node = await _start(nursery, draw.sample(known, min(_THROUGH, len(known))))
        known.append(node.own)
        started.append(to_json(node.own))
    return {"nodes": started}


async def _announce(nursery: trio.Nursery, order: dict[str, Any]) -> dict[str, Any]:
    node = await _start(nursery, [from_json(one) for one in order["known"]], "client")
    node.forget()
    began = time.monotonic()
    await node.deliver("discovery", _SESSION, StartProviding(bytes.fromhex(order["announce"]), _INSTANCE))
    with trio.move_on_after(_PATIENCE):
        while not _told(node) or node.pending or time.monotonic() - _newest(node) < _QUIET:
            await trio.sleep(_QUIET / 10)
    told = _told(node)
    return {
        "provider": node.own.peer.hex(),
        "first": min(told) - began if told else None,
        "all": max(told) - began if told else None,
        "servers": len(told),
        "requests": len(node.requests),
    }


def _told(node: DhtParticipant) -> list[float]:
    return [
        one.answered
        for one in node.requests.values()
        if one.op == "add_provider" and one.answered is not None
    ]


def _newest(node: DhtParticipant) -> float:
    return max(max(one.at, one.answered or 0.0, one.failed or 0.0) for one in node.requests.values())


async def _find(nursery: trio.Nursery, order: dict[str, Any]) -> dict[str, Any]:
    node = await _start(nursery, [from_json(one) for one in order["known"]], "client")
    provider = bytes.fromhex(order["provider"])
    node.forget()
    began = time.monotonic()
    await node.deliver("discovery", _SESSION, Find(bytes.fromhex(order["find"]), _INSTANCE))

    def handed() -> list[float]:
        return [at for at, message in node.to_session if message.get("peer") == provider]

    found = await node.wait_until(lambda: bool(handed()), _PATIENCE)
    until = handed()[0] if found else time.monotonic()
    return {
        "seconds": until - began if found else None,
        "requests": sum(one.at <= until for one in node.requests.values()),
        "hops": node.named_at_hop,
    }


async def _main() -> None:
    buffer = bytearray()
    async with trio.open_nursery() as nursery, trio.lowlevel.FdStream(os.dup(0)) as stdin:
        while data := await stdin.receive_some(1 << 16):
            buffer += data
            while (end := buffer.find(b"\n")) >= 0:
                order = json.loads(buffer[:end])
                del buffer[: end + 1]
                run = _announce if "announce" in order else _find if "find" in order else _servers
                print(json.dumps(await run(nursery, order)), flush=True)
        os._exit(0)  # a hundred nodes at once, of which none has anything to lose


if __name__ == "__main__":
    trio.run(_main)
