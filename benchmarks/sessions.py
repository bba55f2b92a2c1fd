"""What a process for each pairing costs: to start one, to restart one, and its memory.

Beside it the same work by Python's own multiprocessing: a child that imports what a session needs and
answers.
"""

import dataclasses
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import trio

from ..client.embedded import open_node
from ..client.node_client import NodeClient, Pairing, open_client
from ..messages.base import encode
from ..messages.child_protocol import Deliver, FromChild, Ready, Start, Step
from ..messages.session_names import actor_of_session
from ..messages.to_session import StartPairing
from ..node import Ready as NodeReady
from ..node import serve, session_spec
from ..supervisor.child_specs import ChildSpec
from ..supervisor.process_spawner import ProcessSpawner
from ..supervisor.spawner import SPARE_NAME
from . import procfs
from .benchmark_run import BenchmarkRun, median, summary
from .frame_recorder import Recorder
from .json_processes import module_command, open_json_process
from .nodes import config, processes

AIM_SPAWN, AIM_RESTART, AIM_MEMORY = 0.008, 0.012, 3.5
_SPAWNS, _RESTARTS = 100, 25
_LOOK = 0.002
_COUNTS = (1, 50, 500)
_BESIDE = 10
_DEADLINE = 60.0
_IDENTITY = (b"p" * 38, b"k" * 32)


async def run(bench: BenchmarkRun) -> None:
    """Run the benchmark."""
    spec = session_spec()
    spawn = await _spawns(bench, "spawns", dataclasses.replace(spec, spare=False))
    spare = await _spawns(bench, "spawns with a spare", spec)
    beside: dict[str, list[float]] = {}
    memory: dict[str, list[int]] = {}
    for method in ("spawn", "forkserver"):
        bench.progress(f"multiprocessing, {method}")
        async with open_json_process(
            module_command("comparisons.multiprocessing_children", method)
        ) as python:
            beside[method] = (await python.request(times=_BESIDE))["seconds"]
            memory[method] = (await python.request(memory=_BESIDE))["private"]
    restart = await _restarts(bench)
    bench.data["seconds"] = {
        name: summary(found)
        for name, found in {"spawn": spawn, "spare": spare, "restart": restart, **beside}.items()
    }
    for method, found in beside.items():
        bench.row(
            "from the fork to the first message",
            1000 * median(spawn),
            "ms",
            aim=1000 * AIM_SPAWN,
            beside=(f"multiprocessing {method}", 1000 * median(found)),
        )
    bench.row(
        "the same where one waits already, as in a node",
        1000 * median(spare),
        "ms",
        beside=("multiprocessing forkserver", 1000 * median(beside["forkserver"])),
    )
    bench.row(
        "from SIGKILL to its successor's being ready",
        1000 * median(restart),
        "ms",
        aim=1000 * AIM_RESTART,
        note=f"n = {len(restart)}",
    )
    await _memory(bench, {name: median(found) / 2**20 for name, found in memory.items()})


async def _spawns(bench: BenchmarkRun, what: str, spec: ChildSpec) -> list[float]:
    """Start sessions as the supervisor does, one after another, each until its answer to StartPairing."""
    spawner = ProcessSpawner()
    found = []
    async with spawner.opened(preload=[spec.module], on_lost=lambda _cause: None):
        for number in bench.repeat(what, _SPAWNS + 1, 20.0):
            while spec.spare and number and not spawner.spares:
                await trio.sleep(0.001)
            began = time.monotonic()
            handle = await spawner.spawn(spec)
            session = f"{number:016x}"
            await handle.channel.send(Start(actor_of_session(session), 1, msgspec.Raw(encode(spec.config))))
            await _next(handle.channel.receive, Ready)
            body = msgspec.Raw(encode(StartPairing(session, 60.0, *_IDENTITY)))
            await handle.channel.send(Deliver(1, "gateway", 1, "StartPairing", os.urandom(16), body))
            await _next(handle.channel.receive, Step)
            found.append(time.monotonic() - began)
            handle.kill()
            await handle.wait()
            await handle.aclose()
    return found[1:]  # the first waits for the fork server too


async def _next(receive: Callable[[], Awaitable[FromChild]], kind: type) -> None:
    with trio.fail_after(_DEADLINE):
        while not isinstance(await receive(), kind):
            pass


async def _restarts(bench: BenchmarkRun) -> list[float]:
    """Kill sessions of a whole node, each once, until the next process says that it is ready.

    Once, because a second death soon after the first is answered with a pause (supervisor/restart_policy.py).
    """
    recorder = Recorder(recording=False)
    stop, up, ready = trio.Event(), trio.Event(), trio.lowlevel.ParkingLot()
    found: list[float] = []
    paired_at: list[NodeReady] = []

    def watch(name: str, frame: FromChild) -> None:
        if isinstance(frame, Ready) and name.startswith("session"):
            ready.unpark_all()

    def on_ready(line: NodeReady) -> None:
        paired_at.append(line)
        up.set()

    recorder.on_frame = watch
    folder = bench.folder_for("restarts")
    settings = config(folder, "anna", same_host=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            lambda: serve(settings, spawner=recorder, stop=stop, ready=on_ready, log=lambda *_: None)
        )
        with trio.fail_after(_DEADLINE):
            await up.wait()
        async with open_client(Path(paired_at[0].control)) as client:
            for _ in bench.repeat("restarts", _RESTARTS, 20.0):
                showing = await client.start_pairing()
                while SPARE_NAME not in (pids := await processes(client)):
                    await trio.sleep(_LOOK)
                began = time.monotonic()
                os.kill(pids[actor_of_session(showing.id)], signal.SIGKILL)
                with trio.fail_after(_DEADLINE):
                    await ready.park()
                found.append(time.monotonic() - began)
                await showing.cancel()
        stop.set()
    return found


async def _memory(bench: BenchmarkRun, beside: dict[str, float]) -> None:
    folder = bench.folder_for("memory")
    kept: list[Pairing] = []
    bench.data["memory"] = {}
    async with open_node(config(folder, "anna", same_host=False, max_sessions=_COUNTS[-1])) as node:
        for count in _COUNTS:
            await _open(bench, node, kept, count)
            await _row_of_memory(bench, node, count, beside)
    bench.data["memory_of_multiprocessing_mib"] = beside


async def _open(bench: BenchmarkRun, node: NodeClient, kept: list[Pairing], count: int) -> None:
    while len(kept) < count:
        bench.progress("sessions are opened", len(kept), count)
        kept.append(await node.start_pairing())


async def _row_of_memory(bench: BenchmarkRun, node: NodeClient, count: int, beside: dict[str, float]) -> None:
    pids = [pid for actor, pid in (await processes(node)).items() if actor.startswith("session")]
    found = [procfs.memory(pid) for pid in pids]
    private = [one.private / 2**20 for one in found]
    exact = all(one.exact for one in found)
    bench.data["memory"][str(count)] = {
        "private_mib": summary(private),
        "pss_mib": summary([one.pss / 2**20 for one in found]),
        "exact": exact,
    }
    bench.row(
        f"private memory: {count} sessions",
        median(private),
        "MiB",
        aim=AIM_MEMORY if exact else None,
        beside=("multiprocessing forkserver", beside["forkserver"]),
        note="" if exact else procfs.ROUGH,
    )
