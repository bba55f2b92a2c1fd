"""Real nodes, each a process tree as `sdnode up` starts it, and pairings between them.

The time of a pairing runs from the call of `join_pairing` until the clients of both nodes have received
`paired`. Both accept as soon as they see the device.
"""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from ..client.embedded import Node, NodeConfig, open_node
from ..client.node_client import NodeClient, Pairing
from . import procfs
from .benchmark_run import BenchmarkRun, environment

SETTLE = 30.0
_LOOK = 0.001
_CLOSING = 0.03
_LIST_AGAIN = 2.0
_DEADLINE = 60.0


@dataclass(frozen=True, slots=True)
class PairingTimes:
    """When a pairing began and when each client received `paired`, in nanoseconds of the monotonic clock."""

    began: int
    initiator: int
    joiner: int

    @property
    def seconds(self) -> float:
        """From `join` to both paired."""
        return (max(self.initiator, self.joiner) - self.began) / 1e9


def config(folder: Path, name: str, **settings: object) -> NodeConfig:
    """Return the configuration of a node on loopback, on free ports."""
    values: dict[str, object] = {
        "data_dir": str(folder / name),
        "control": str(folder / f"{name}.sock"),
        "name": name,
        "listen": ("/ip4/127.0.0.1/tcp/0",),
        "metrics_listen": None,
        "mdns": False,
        "port_mapping": False,
        "log_level": "warning",
        **settings,
    }
    return NodeConfig(**values)  # type: ignore[arg-type]


@asynccontextmanager
async def two_nodes(bench: BenchmarkRun, name: str, **settings: object) -> AsyncIterator[tuple[Node, Node]]:
    """Run two nodes of one user on one host, warm: each knows the other, and they have paired."""
    folder = bench.folder_for(name)
    (folder / "run").mkdir(mode=0o700)
    bench.progress("two nodes start")
    with environment(XDG_RUNTIME_DIR=str(folder / "run")):
        async with (
            open_node(config(folder, "anna", **settings)) as a,
            open_node(config(folder, "bruno", **settings)) as b,
        ):
            await wait_until_connected(a, b)
            for _ in range(3):
                await pair(a, b)
            yield a, b


async def wait_until_connected(*nodes: NodeClient) -> None:
    """Wait until each node knows a DHT server, which here is the other one."""
    with trio.fail_after(SETTLE):
        for node in nodes:
            while not (await node.status()).dht_peers:
                await trio.sleep(0.05)


async def pair(a: NodeClient, b: NodeClient, showing: Pairing | None = None) -> PairingTimes:
    """Pair b, which joins, with a, which shows the code. Return the times."""
    showing = showing or await a.start_pairing()
    paired_at: dict[str, int] = {}

    async def finish(side: str, pairing: Pairing) -> None:
        await pairing.paired(accept=True)
        paired_at[side] = time.monotonic_ns()

    words = " ".join(showing.code.words)
    with trio.fail_after(_DEADLINE):
        began = time.monotonic_ns()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(finish, "initiator", showing)
            nursery.start_soon(finish, "joiner", await b.join_pairing(words, timeout=_DEADLINE))
    return PairingTimes(began, paired_at["initiator"], paired_at["joiner"])


async def disconnect(b: NodeClient, ports: Sequence[int]) -> bool:
    """Make b forget its devices, which closes its connections. Return whether none leads to `ports` any more.

    Only the joining side forgets: its last sessions still send keep-alives to the other side, where an
    unknown session would count as abuse. They may also connect again before this checks.
    """
    for device in await b.devices():
        await b.forget(device.device_id)
    with trio.move_on_after(_CLOSING):
        while procfs.connections_to(ports):
            await trio.sleep(_LOOK)
        return True
    return False


async def wait_until_idle(*nodes: NodeClient) -> None:
    """Wait until no session process is left. A joiner's stays for some seconds after `paired`.

    Reads /proc, and asks the node only now and then, because listing its processes costs it more than a
    pairing.
    """
    for node in nodes:
        with trio.fail_after(SETTLE):
            while not await _is_idle(node):
                await trio.sleep(0.05)


async def _is_idle(node: NodeClient) -> bool:
    tree = await processes(node)
    others = {pid for actor, pid in tree.items() if not actor.startswith("session")}
    with trio.move_on_after(_LIST_AGAIN):  # the next session's process may have been made meanwhile
        while set(procfs.children(tree["zygote"])) - others:
            await trio.sleep(0.05)
        return True
    return False


def port(node: Node) -> int:
    """Return the TCP port of a node."""
    return int(node.addresses[0].rpartition("/")[2])


def bootstrap(node: Node) -> str:
    """Return the value of `--bootstrap` for another node."""
    return f"{node.addresses[0]}/p2p/{node.peer_id}"


async def processes(node: NodeClient) -> dict[str, int]:
    """Return the node's processes by name."""
    return {row.actor: row.pid for row in await node.actors() if row.pid}
