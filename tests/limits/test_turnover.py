"""Connections that come and go: descriptors, memory and tables of a swarm are as before.

`CONNECTIONS` in the environment sets how many come and go over each transport (make turnover).
"""

import gc
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import trio
from libp2p.host.ping import ID as PING

from spacedrive_node.actors.swarm.library import connections, streams
from spacedrive_node.actors.swarm.quic.endpoint import Endpoint
from spacedrive_node.tests.harness.nodes import Node, running_node
from spacedrive_node.tests.harness.stranger_peer import dial, stranger_host
from spacedrive_node.tests.harness.swarm_actors import open_swarm
from spacedrive_node.tests.harness.transports import dial_address

COUNT = int(os.environ.get("CONNECTIONS", "120"))
TRANSPORTS = ("tcp", "quic", "ws") if "CONNECTIONS" in os.environ else ("tcp", "quic")
PEERS = 8
WARM_UP = max(60, COUNT // 2)
"""Connections before the first look. The first few hundred take 2 to 3 MiB, and 2 500 more half a MiB."""
DEADLINE = 60.0 + COUNT
MAX_GROWTH_BYTES = 3 * 1024 * 1024
"""Of private memory, however many connections there were."""
MAX_LEFT_DESCRIPTORS = 2
OBJECTS = (
    "SwarmConn",
    "NetStream",
    "BoundedYamux",
    "YamuxStream",
    "QuicConnection",
    "BoundedQuic",
    "QuicStream",
)

pytestmark = [
    pytest.mark.timeout(2 * DEADLINE),
    pytest.mark.usefixtures("transport"),
    pytest.mark.parametrize("transport", TRANSPORTS, indirect=True),
]


async def ping(connection: Any) -> None:
    async with streams.open_stream(connection, PING) as stream:
        await streams.write(stream, bytes(32))
        assert await streams.read_exactly(stream, 32) == bytes(32)


async def come_and_go(node: Node, hosts: list[Any], count: int) -> None:
    """Connect so often, use each connection, and close it."""
    left = iter(range(count))

    async def visit(host: Any) -> None:
        for _ in left:
            connection = await dial_address(host, node.ready.addresses[0], node.ready.peer)
            await ping(connection)
            await connections.close_connection(connection)

    async with trio.open_nursery() as nursery:
        for host in hosts:
            nursery.start_soon(visit, host)


async def footprint(node: Node) -> tuple[int, int]:
    """Return the private bytes and the descriptors of the swarm."""
    (row,) = [row for row in await node.client.actors() if row.actor == "swarm"]
    return row.private_bytes, len(os.listdir(f"/proc/{row.pid}/fd"))


async def test_the_process_is_as_before(tmp_path: Path) -> None:
    """Its memory and its descriptors, after connections of some peers, each of which came many times.

    What is remembered of peers has a bound of its own, which new peers would fill first.
    """
    async with running_node(tmp_path, "anna") as node, trio.open_nursery() as nursery:
        hosts: list[Any] = []
        done = trio.Event()

        async def be_a_peer(number: int) -> None:
            async with stranger_host(number) as host:
                hosts.append(host)
                await done.wait()

        for number in range(PEERS):
            nursery.start_soon(be_a_peer, 500 + number)
        with trio.fail_after(DEADLINE):
            while len(hosts) < PEERS:
                await trio.lowlevel.checkpoint()
            await come_and_go(node, hosts, WARM_UP)
            before = await footprint(node)
            await come_and_go(node, hosts, COUNT)
            while (after := await footprint(node))[1] > before[1] + MAX_LEFT_DESCRIPTORS:
                pass
        assert after[0] < before[0] + MAX_GROWTH_BYTES
        done.set()


def tables(endpoint: Endpoint | None) -> dict[str, int]:
    """Count what a swarm and its peers in this process hold of connections."""
    gc.collect()
    held = Counter(type(one).__name__ for one in gc.get_objects())
    counts = {name: held[name] for name in OBJECTS}
    if endpoint is not None:
        for name in ("_routes", "_ids", "_at"):
            counts[name] = len(getattr(endpoint, name))
        counts["handshakes"] = len(endpoint._identity.handshakes)
    return counts


async def test_its_tables_are_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """After connections of as many peers, each of which came once."""
    opened: list[Endpoint] = []
    open_ = Endpoint.open

    def noted(endpoint: Endpoint, *where: Any) -> None:
        open_(endpoint, *where)
        opened.append(endpoint)

    monkeypatch.setattr(Endpoint, "open", noted)
    async with open_swarm("a") as a:
        endpoint = opened[0] if opened else None
        before = tables(endpoint)
        tasks = trio.lowlevel.current_statistics().tasks_living
        for number in range(COUNT // 4):
            async with stranger_host(1000 + number) as host:
                await ping(await dial(host, a))
                if not number:
                    assert sum(tables(endpoint)[name] > before[name] for name in OBJECTS) >= 2
        with trio.fail_after(DEADLINE):
            while True:
                now = tables(endpoint)
                if now == before and trio.lowlevel.current_statistics().tasks_living <= tasks:
                    break
                await trio.sleep(0.05)
