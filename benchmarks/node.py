"""One node as such: its start, its memory, and what it does when there is nothing to do."""

import time
from pathlib import Path

import trio

from ..client.embedded import Node, open_node
from . import procfs
from .benchmark_run import BenchmarkRun, median, summary
from .nodes import config, processes, two_nodes

AIM_START, AIM_MEMORY, AIM_MEMORY_ALL, AIM_CPU = 1.5, 120.0, 125.0, 0.5
_ALL_TRANSPORTS = ("/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0/ws")
_STARTS = 5
_IDLE, _IDLE_LONG = 10.0, 120.0
_SETTLED = 3.0
"""Seconds after which a node that has just started is idle."""


async def run(bench: BenchmarkRun) -> None:
    """Run the benchmark."""
    await _starts(bench)
    async with two_nodes(bench, "idle") as (a, b):
        await _idle(bench, a, b)
    await _memory(bench)


async def _starts(bench: BenchmarkRun) -> None:
    """Start a node that has been there before, until its line `ready`; and one whose identity is made."""
    first, again = [], []
    for number in bench.repeat("starts", _STARTS, 20.0, least=3):
        folder = bench.folder_for(f"start{number}")
        first.append(await _start(folder))
        again.append(await _start(folder))
    bench.data["start_seconds"] = {"first": summary(first), "again": summary(again)}
    for name, found in (("the first time", first), ("again", again)):
        bench.row(f"sdnode up to ready, {name}", median(found), "s", aim=AIM_START, note=f"n = {len(found)}")


async def _start(folder: Path) -> float:
    began = time.monotonic()
    async with open_node(config(folder, "anna", same_host=False)):
        return time.monotonic() - began


async def _idle(bench: BenchmarkRun, *nodes: Node) -> None:
    """Let two nodes that know each other be; measure the processor time of all their processes."""
    seconds = _IDLE_LONG if bench.long else _IDLE
    for left in range(int(_SETTLED), 0, -1):
        bench.progress(f"idle in {left} s")
        await trio.sleep(1)
    trees = [await processes(node) for node in nodes]
    before, began = _used(trees), time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        bench.progress("idle", int(passed), int(seconds))
        await trio.sleep(1)
    after, passed = _used(trees), time.monotonic() - began
    shares = {actor: 100 * (after[actor] - before[actor]) / passed / len(nodes) for actor in before}
    bench.data["idle_cpu_percent"] = shares
    bench.data["idle_seconds"] = passed
    bench.row(
        "processor of an idle node, all processes",
        sum(shares.values()),
        "%",
        aim=AIM_CPU,
        note=f"of one core, {passed:.0f} s",
    )


def _used(trees: list[dict[str, int]]) -> dict[str, float]:
    used: dict[str, float] = {}
    for tree in trees:
        for actor, pid in tree.items():
            if not actor.startswith("session"):
                used[actor] = used.get(actor, 0.0) + procfs.cpu(pid)
    return used


async def _memory(bench: BenchmarkRun) -> None:
    """Read the memory of a node that runs alone, and is idle: as every node is, and with every transport."""
    bench.data["memory_mib"] = await _memory_row(bench, "an idle node", AIM_MEMORY)
    await _memory_row(
        bench,
        "an idle node with QUIC and WebSocket",
        AIM_MEMORY_ALL,
        listen=_ALL_TRANSPORTS,
        metrics_listen="127.0.0.1:0",
    )


async def _memory_row(
    bench: BenchmarkRun, what: str, aim: float, **settings: object
) -> dict[str, dict[str, float]]:
    """Report the sum of the proportional memory of a node's processes; return it for each of them."""
    folder = bench.folder_for(f"memory{aim:.0f}")
    async with open_node(config(folder, "anna", same_host=False, mdns=True, **settings)) as node:
        bench.progress("memory")
        await trio.sleep(_SETTLED)
        found = {actor: procfs.memory(pid) for actor, pid in (await processes(node)).items()}
    exact = all(one.exact for one in found.values())
    bench.row(
        f"memory of {what}, all processes (PSS)",
        sum(one.pss for one in found.values()) / 2**20,
        "MiB",
        aim=aim if exact else None,
        note="" if exact else procfs.ROUGH,
    )
    return {actor: {"pss": one.pss / 2**20, "private": one.private / 2**20} for actor, one in found.items()}
