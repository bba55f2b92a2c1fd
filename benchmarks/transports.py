"""What a connection, a request and a megabyte cost on each transport, beside the library's and js-libp2p's.

Two processes for each, on loopback; the transports take turns, so that what else the machine does falls on
all of them alike. WebRTC-direct and js-libp2p only when this benchmark is named: they take half a minute.
"""

import shutil
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config.extras import has_webrtc
from . import procfs
from .benchmark_run import BenchmarkRun, summary
from .json_processes import JsonProcess, module_command, open_json_process

NAMES = {"tcp": "TCP", "quic": "QUIC", "ws": "WebSocket", "webrtc": "WebRTC-direct"}
LIBRARY, JS = "library-", "js-"
"""In front of a transport's name: whose it is, if it is not ours."""
_OTHERS = {LIBRARY: "the library's", JS: "js-libp2p's"}
BULK_AIM = 4.0
"""Our QUIC has to move so many times as much as the library's."""
JS_HOST = Path(__file__).parents[1] / ".interop" / "js-3" / "transport_host.mjs"
_RUNS, _SECONDS_FOR_EACH = 7, 2.4
_REQUESTS = 20
_BULK = 4_000_000
_HELD = 50
_MEASURES = (
    ("connect over {}", "connect", "ms", 1e3),
    ("request over {}, new stream", "request", "ms", 1e3),
    ("bulk over {}, up", "up", "MB/s", 1.0),
    ("bulk over {}, down", "down", "MB/s", 1.0),
    ("memory of a connection over {}, where it is accepted", "memory_per_connection", "KiB", 1.0),
)
"""What, its key, unit, and factor."""


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two hosts with one transport. `there` is what the dialler needs to know of the server."""

    dialler: JsonProcess
    server: JsonProcess
    there: dict[str, Any]
    pid: int

    async def measure(self) -> dict[str, Any]:
        """Connect, ask, send and take once."""
        return await self.dialler.request(**self.there, requests=_REQUESTS, bulk=_BULK)

    async def memory_of_connections(self) -> float:
        """Return the KiB of private memory that one idle connection takes at the side that accepts it."""
        before = await self._memory()
        await self.dialler.request(**self.there, hold=_HELD)
        return (await self._memory() - before) / 1024 / _HELD

    async def _memory(self) -> int:
        await self.server.request(settle=True)
        return procfs.memory(self.pid).private


async def run(bench: BenchmarkRun) -> None:
    """Run the benchmark."""
    kinds = _kinds(bench)
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
    async with AsyncExitStack() as stack:
        pairs = {kind: await _open(stack, kind) for kind in kinds}
        for pair in pairs.values() if bench.is_named else ():
            await pair.measure()  # V8 compiles what is run often
        for _ in bench.repeat("transports", _RUNS, _SECONDS_FOR_EACH * len(kinds), least=3):
            for kind, pair in pairs.items():
                found[kind].append(await pair.measure())
        # A host as the library makes it takes eight connections of one peer, and is not measured here.
        memory = {
            kind: await pair.memory_of_connections()
            for kind, pair in pairs.items()
            if kind != LIBRARY + "tcp"
        }
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


def _kinds(bench: BenchmarkRun) -> list[str]:
    """Return what can be measured here, and note what cannot."""
    ours = ["tcp", "quic", "ws"]
    kinds = [*ours, *(LIBRARY + kind for kind in ours)]
    if not bench.is_named:
        bench.note("WebRTC-direct, and js-libp2p's transports: make bench ONLY=transports")
        return kinds
    if has_webrtc():
        kinds.append("webrtc")
    else:
        bench.note("without WebRTC-direct, whose packages are not installed: make webrtc")
    if JS_HOST.exists() and shutil.which("node") is not None:
        kinds += [JS + kind for kind in NAMES]
    else:
        bench.note(
            "without js-libp2p, which is not built (it needs node and npm): tests/interop/build.sh js-3"
        )
    return kinds


def _command(kind: str, role: str) -> list[str]:
    if kind.startswith(JS):
        options = ["--experimental-websocket", "--expose-gc", str(JS_HOST)]
        return ["node", *options, kind.removeprefix(JS), role]
    return module_command("comparisons.transport_host", kind, role)


async def _open(stack: AsyncExitStack, kind: str) -> _Pair:
    server, dialler = [
        await stack.enter_async_context(open_json_process(_command(kind, role))) for role in ("serve", "dial")
    ]
    said = await server.receive()
    await dialler.receive()
    return _Pair(dialler, server, {"address": said["address"], "peer": said["peer"]}, said["pid"])


def _rows(bench: BenchmarkRun) -> None:
    """Add a row for each figure of ours, and a second one where there are two to compare it with."""
    data = bench.data["transports"]

    def figure(kind: str, key: str, scale: float) -> float:
        value = data[kind][key]
        return scale * float(value["median"] if isinstance(value, dict) else value)

    for kind, name in NAMES.items():
        for what, key, unit, scale in _MEASURES if kind in data else ():
            own = figure(kind, key, scale)
            others = [of for of in _OTHERS if data.get(of + kind, {}).get(key) is not None]
            for of in others:
                has_aim = of + kind == "library-quic" and key in ("up", "down")
                more: dict[str, Any] = {"aim": BULK_AIM, "at": "least", "of_ratio": True} if has_aim else {}
                beside = (_OTHERS[of], figure(of + kind, key, scale))
                bench.row(what.format(name), own, unit, beside=beside, **more)
            if not others:
                bench.row(what.format(name), own, unit)
