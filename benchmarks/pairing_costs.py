"""What a pairing consists of: the parts of its path, and the processor time of each process."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from ..client.embedded import Node
from ..client.node_client import NodeClient, open_client
from . import procfs
from .benchmark_run import BenchmarkRun, environment, median
from .frame_recorder import Passed
from .json_processes import JsonProcess, module_command, open_json_process
from .nodes import PairingTimes, disconnect, pair, processes, wait_until_connected, wait_until_idle
from .pairing_path import Part, PathLostError, path_of

_TRACED = 12
_COUNTED = 12


async def processor_time(bench: BenchmarkRun, a: Node, b: Node) -> None:
    """Measure the processor time of each process over some pairings, until their last process has ended.

    Sessions are the ended children of the fork server, so theirs is known to 10 ms over all of them.
    """
    trees = {"A": await processes(a), "B": await processes(b)}
    await wait_until_idle(a, b)
    began = time.monotonic()
    before = _processor_times(trees)
    for number in range(_COUNTED):
        bench.progress("processor time", number, _COUNTED)
        await pair(a, b)
    await wait_until_idle(a, b)
    after = _processor_times(trees)
    used = {name: 1000 * (after[name] - before[name]) / _COUNTED for name in before}
    bench.data["cpu_ms_per_pairing"] = used
    bench.data["cpu_measured_for_seconds"] = time.monotonic() - began
    bench.row("processor time of one pairing, both nodes", sum(used.values()), "ms", note=f"n = {_COUNTED}")


def _processor_times(trees: dict[str, dict[str, int]]) -> dict[str, float]:
    found = {}
    for side, tree in trees.items():
        for actor, pid in tree.items():
            if not actor.startswith(("session", "spare")):
                found[f"{actor} {side}"] = procfs.cpu(pid)
        found[f"sessions {side}"] = procfs.cpu_of_children(tree["zygote"])
    return found


async def traced(bench: BenchmarkRun) -> None:
    """Trace some pairings between two nodes whose frames are recorded, each over a new connection."""
    folder = bench.folder_for("traced")
    (folder / "run").mkdir(mode=0o700)
    bench.progress("two traced nodes start")
    with environment(XDG_RUNTIME_DIR=str(folder / "run")):
        async with (
            open_json_process(module_command("traced_node", str(folder), "anna")) as left,
            open_json_process(module_command("traced_node", str(folder), "bruno")) as right,
        ):
            ready_lines = [await one.receive() for one in (left, right)]
            ports = [int(line["addresses"][0].rpartition("/")[2]) for line in ready_lines]
            async with (
                open_client(Path(ready_lines[0]["control"])) as a,
                open_client(Path(ready_lines[1]["control"])) as b,
            ):
                await wait_until_connected(a, b)
                for _ in range(3):
                    await pair(a, b)
                paths = await _paths(bench, {"A": left, "B": right}, a, b, ports)
    _report(bench, paths)


async def _paths(
    bench: BenchmarkRun, traced_nodes: dict[str, JsonProcess], a: NodeClient, b: NodeClient, ports: list[int]
) -> list[list[Part]]:
    paths: list[list[Part]] = []
    for _ in bench.repeat("traced pairings", _TRACED, 20.0):
        showing = await a.start_pairing()
        for one in traced_nodes.values():
            await one.request(begin=True)
        fresh = await disconnect(b, ports)
        times = await pair(a, b, showing)
        passed = {
            name: msgspec.convert((await one.request(end=True))["passed"], list[Passed])
            for name, one in traced_nodes.items()
        }
        if fresh and (path := _path(bench, passed, times)):
            paths.append(path)
    return paths


def _path(bench: BenchmarkRun, passed: dict[str, Any], times: PairingTimes) -> list[Part]:
    try:
        return path_of(passed, times.began, max(times.initiator, times.joiner), "B")
    except PathLostError as lost:
        bench.note(f"one traced pairing is not in the figures: {lost}")
        return []


def _report(bench: BenchmarkRun, paths: list[list[Part]]) -> None:
    if not paths:
        bench.note("no pairing could be traced")
        return
    paths.sort(key=lambda path: path[-1].ended - path[0].began)
    middle = paths[len(paths) // 2]
    bench.data["path"] = [
        {"where": p.where, "after": p.after, "until": p.until, "at_ms": (p.began - middle[0].began) / 1e6,
         "ms": p.milliseconds}
        for p in middle
    ]  # fmt: skip
    share: Counter[str] = Counter()
    for path in paths:
        for part in path:
            share[part.where] += part.milliseconds / len(paths)  # type: ignore[assignment]
    bench.data["path_ms_by_process"] = dict(share.most_common())
    bench.data["path_ms_whole"] = [sum(part.milliseconds for part in path) for path in paths]
    bench.row(
        "traced: in the two swarms and between them",
        share["swarms and the network"],
        "ms",
        beside=("the whole traced pairing", median(bench.data["path_ms_whole"])),
        note=f"n = {len(paths)}",
    )
