"""What a connection, a request and a megabyte cost on each transport, and on the library's own TCP and QUIC.

Two processes for each, on loopback; the transports take turns, so that what else the machine does falls on
all of them alike.
"""

from contextlib import AsyncExitStack
from typing import Any

from . import procfs
from .benchmark_run import BenchmarkRun, summary
from .json_processes import JsonProcess, module_command, open_json_process

KINDS = ("tcp", "quic", "library-quic", "ws", "library-tcp")
BULK_AIM = 4.0
"""Our QUIC has to move so many times as much as the library's."""
_RUNS, _SECONDS = 7, 14.0
_REQUESTS = 20
_BULK = 4_000_000
_HELD = 50


async def run(bench: BenchmarkRun) -> None:
    """Run the benchmark."""
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    async with AsyncExitStack() as stack:
        pairs = {kind: await _open(stack, kind) for kind in KINDS}
        for _ in bench.repeat("transports", _RUNS, _SECONDS, least=3):
            for kind, (dialler, server) in pairs.items():
                found[kind].append(
                    await dialler.request(
                        address=server["address"], peer=server["peer"], requests=_REQUESTS, bulk=_BULK
                    )
                )
        # A host as the library makes it takes eight connections of one peer, and is not measured here.
        memory = {kind: await _memory_of_connections(*pairs[kind]) for kind in KINDS[:-1]}
    bench.data["transports"] = {
        kind: {
            "connect": summary([run["connect"] for run in runs]),
            "request": summary([one for run in runs for one in run["requests"]]),
            **{way: summary([_BULK / 1e6 / run[way] for run in runs]) for way in ("up", "down")},
            "cpu_per_megabyte": summary([run["cpu"] / (2 * _BULK / 1e6) for run in runs]),
            "memory_per_connection": memory.get(kind),
        }
        for kind, runs in found.items()
    }
    _rows(bench)


async def _open(stack: AsyncExitStack, kind: str) -> tuple[JsonProcess, dict[str, Any]]:
    processes = [
        await stack.enter_async_context(
            open_json_process(module_command("comparisons.transport_host", kind, role))
        )
        for role in ("serve", "dial")
    ]
    server = await processes[0].receive()
    await processes[1].receive()
    return processes[1], server


async def _memory_of_connections(dialler: JsonProcess, server: dict[str, Any]) -> float:
    """Return the KiB of private memory that one idle connection takes at the side that accepts it."""
    before = procfs.memory(server["pid"]).private / 1024
    await dialler.request(address=server["address"], peer=server["peer"], hold=_HELD)
    return (procfs.memory(server["pid"]).private / 1024 - before) / _HELD


def _rows(bench: BenchmarkRun) -> None:
    data = bench.data["transports"]
    tcp, own, library, websocket, library_tcp = (data[kind] for kind in KINDS)
    for what, name, unit, scale in (
        ("connect over TCP", "connect", "ms", 1e3),
        ("request over TCP, new stream", "request", "ms", 1e3),
        ("bulk over TCP, up", "up", "MB/s", 1.0),
        ("bulk over TCP, down", "down", "MB/s", 1.0),
    ):
        beside = ("the library's TCP", library_tcp[name]["median"] * scale)
        bench.row(what, tcp[name]["median"] * scale, unit, beside=beside)
    for name, of in (("QUIC", own), ("WebSocket", websocket)):
        beside = ("the library's QUIC", library["connect"]["median"] * 1e3)
        bench.row(f"connect over {name}", of["connect"]["median"] * 1e3, "ms", beside=beside)
    bench.row(
        "request over QUIC, new stream",
        own["request"]["median"] * 1e3,
        "ms",
        beside=("over TCP", tcp["request"]["median"] * 1e3),
    )
    bench.row(
        "request over WebSocket, new stream",
        websocket["request"]["median"] * 1e3,
        "ms",
        beside=("over TCP", tcp["request"]["median"] * 1e3),
    )
    for way in ("up", "down"):
        beside_tcp = ("over TCP", tcp[way]["median"])
        bench.row(f"bulk over WebSocket, {way}", websocket[way]["median"], "MB/s", beside=beside_tcp)
        bench.row(
            f"bulk over QUIC, {way}",
            own[way]["median"],
            "MB/s",
            aim=BULK_AIM,
            at="least",
            of_ratio=True,
            beside=("the library's QUIC", library[way]["median"]),
        )
        bench.row(f"bulk over TCP, {way}", tcp[way]["median"], "MB/s", beside=("QUIC", own[way]["median"]))
    for name, of in (("QUIC", own), ("WebSocket", websocket)):
        bench.row(
            f"memory of a {name} connection",
            of["memory_per_connection"],
            "KiB",
            beside=("of TCP", tcp["memory_per_connection"]),
            note="at the side that accepts",
        )
