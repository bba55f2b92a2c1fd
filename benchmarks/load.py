"""A node under load: pairings at once, beside many open sessions, and one after another for long."""

import time
from collections.abc import Sequence
from typing import Any

import trio

from ..client.embedded import Node
from ..client.node_client import Pairing
from . import procfs
from .benchmark_run import BenchmarkRun, median, quantile, summary
from .nodes import pair, processes, two_nodes, wait_until_idle

AIM_RATE = 25.0
_AT_ONCE, _AT_ONCE_LONG = (4, 8), (1, 2, 4, 8, 16, 32)
_SUSTAINED, _SUSTAINED_LONG = 4.0, 30.0
_SESSIONS = (1, 10, 100, 500)
_BESIDE_SESSIONS = 12
_IN_A_ROW, _IN_A_ROW_LONG = 60, 2000
_LOOKS = 20
_WARM = 0.25
"""The share of them that fills caches, tables and allocators before anything is compared."""
_SLOTS = 1000
FLAT_MEMORY, FLAT_DESCRIPTORS = 5.0, 8.0


async def run(bench: BenchmarkRun) -> None:
    """Run the benchmark."""
    async with two_nodes(bench, "load", max_sessions=_SLOTS) as (a, b):
        await _rates(bench, a, b)
        await _in_a_row(bench, a, b)
        await _beside_sessions(bench, a, b)


async def _rates(bench: BenchmarkRun, a: Node, b: Node) -> None:
    """Keep so many pairings under way at once for some seconds, and count those that were completed."""
    seconds = _SUSTAINED_LONG if bench.long else _SUSTAINED
    bench.data["rates"] = []
    for at_once in _AT_ONCE_LONG if bench.long else _AT_ONCE:
        bench.progress(f"{at_once} pairings at once")
        latencies, passed = await _sustain(a, b, at_once, seconds)
        rate = len(latencies) / passed
        bench.data["rates"].append({"at_once": at_once, "per_second": rate, "seconds": summary(latencies)})
        await wait_until_idle(a, b)
    best = max(bench.data["rates"], key=lambda one: one["per_second"])
    bench.row(
        "pairings a second, both nodes on this machine",
        best["per_second"],
        "/s",
        aim=AIM_RATE,
        at="least",
        note=f"{best['at_once']} at once, {seconds:.0f} s",
    )


async def _sustain(a: Node, b: Node, at_once: int, seconds: float) -> tuple[list[float], float]:
    latencies: list[float] = []
    began = time.monotonic()

    async def one_after_another() -> None:
        while time.monotonic() - began < seconds:
            latencies.append((await pair(a, b)).seconds)

    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(one_after_another)
    return latencies, time.monotonic() - began


async def _in_a_row(bench: BenchmarkRun, a: Node, b: Node) -> None:
    """Pair again and again, and look at memory and descriptors of every process of both nodes meanwhile.

    What is left is judged by two looks at which no session runs: after the first quarter, and at the end.
    """
    most = _IN_A_ROW_LONG if bench.long else _IN_A_ROW
    looks: list[dict[str, Any]] = []
    latencies: list[float] = []
    looks_at_rest: list[dict[str, Any]] = []
    for number in bench.repeat("pairings in a row", most, 1200.0 if bench.long else 30.0, least=50):
        if number == int(_WARM * most):
            looks_at_rest.append(await _quiet_look(number, a, b))
        if number % (most // _LOOKS) == 0:
            looks.append(await _look(number, a, b))
        latencies.append((await pair(a, b)).seconds)
    looks_at_rest.append(await _quiet_look(len(latencies), a, b))
    bench.data["in_a_row"] = {"looks": looks, "at_rest": looks_at_rest, "latencies": latencies}
    _rows_in_a_row(bench, looks_at_rest, latencies)


def _rows_in_a_row(bench: BenchmarkRun, looks: Sequence[dict[str, Any]], latencies: Sequence[float]) -> None:
    before, after = looks[0], looks[-1]
    count = after["pairings"] - before["pairings"]
    grown = after["private_mib"] - before["private_mib"]
    # A short run cannot tell a leak from tables that fill up to their bounds: only the long one has aims.
    bench.row(
        f"memory that {count} pairings leave, both nodes",
        grown,
        "MiB",
        aim=FLAT_MEMORY if bench.long else None,
    )
    opened = after["descriptors"] - before["descriptors"]
    bench.row(f"descriptors that {count} pairings leave open", opened, "", aim=FLAT_DESCRIPTORS)
    fourth = max(1, len(latencies) // 4)
    bench.row(
        "join to both paired, the last quarter of them",
        1000 * median(latencies[-fourth:]),
        "ms",
        beside=("the first quarter", 1000 * median(latencies[:fourth])),
    )


async def _quiet_look(pairings: int, *nodes: Node) -> dict[str, Any]:
    """Look when no session runs."""
    await wait_until_idle(*nodes)
    return await _look(pairings, *nodes)


async def _look(pairings: int, *nodes: Node) -> dict[str, Any]:
    """Sum up the private memory and the descriptors of all processes but the sessions."""
    private = descriptors = 0.0
    by_actor: dict[str, float] = {}
    for node in nodes:
        for actor, pid in (await processes(node)).items():
            if actor.startswith("session"):
                continue
            size = procfs.memory(pid).private / 2**20
            by_actor[actor] = by_actor.get(actor, 0.0) + size
            private += size
            descriptors += max(0, procfs.descriptors(pid))
    return {"pairings": pairings, "private_mib": private, "descriptors": descriptors, "by_actor": by_actor}


async def _beside_sessions(bench: BenchmarkRun, a: Node, b: Node) -> None:
    """Pair while so many other sessions show their codes on the same node."""
    showing: list[Pairing] = []
    bench.data["beside_sessions"] = []
    for count in _SESSIONS:
        while len(showing) < count:
            bench.progress("sessions are opened", len(showing), count)
            showing.append(await a.start_pairing())
        found = []
        for _ in bench.repeat(f"pairings beside {count} sessions", _BESIDE_SESSIONS, 10.0):
            found.append((await pair(a, b)).seconds)
        bench.data["beside_sessions"].append({"sessions": count, "seconds": summary(found), "samples": found})
    _rows_beside(bench, bench.data["beside_sessions"])


def _rows_beside(bench: BenchmarkRun, found: Sequence[dict[str, Any]]) -> None:
    first = ("1 other session", 1000 * found[0]["seconds"]["median"])
    for one in found[1:]:
        bench.row(
            f"join to both paired beside {one['sessions']} open sessions",
            1000 * one["seconds"]["median"],
            "ms",
            beside=first,
            note=f"p95 {1000 * quantile(one['samples'], 0.95):.0f} ms",
        )
