"""A node with as many sessions as one may have: they start, come back after a loss of all, and stop."""

import os
import resource
import signal
import time

import trio

from ..client.node_client import open_client
from ..messages.child_protocol import FromChild
from ..messages.child_protocol import Ready as ActorReady
from ..node import Ready, serve
from .benchmark_run import BenchmarkRun
from .frame_recorder import Recorder
from .nodes import config

AIM_BACK, AIM_STOP = 10.0, 5.0
_SESSIONS = 1000
_CLIENTS = 8
_DESCRIPTORS = 8192
_DEADLINE = 120.0


async def run(bench: BenchmarkRun) -> None:
    """Run the benchmark."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limit[0], min(_DESCRIPTORS, limit[1])), limit[1]))
    try:
        await _run(bench)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)


async def _run(bench: BenchmarkRun) -> None:
    recorder = Recorder(recording=False)
    started: set[str] = set()
    changed, up, stop, stopped = trio.lowlevel.ParkingLot(), trio.Event(), trio.Event(), trio.Event()

    def watch(name: str, frame: FromChild) -> None:
        if isinstance(frame, ActorReady) and name.startswith("session-"):
            started.add(name)
            changed.unpark_all()

    async def all_started(what: str) -> float:
        began = time.monotonic()
        with trio.fail_after(_DEADLINE):
            while len(started) < _SESSIONS:
                bench.progress(what, len(started), _SESSIONS)
                await changed.park()
        return time.monotonic() - began

    recorder.on_frame = watch
    settings = config(bench.folder, "anna", same_host=False, max_sessions=_SESSIONS)

    async def node() -> None:
        def on_ready(_line: Ready) -> None:
            up.set()

        await serve(settings, spawner=recorder, stop=stop, ready=on_ready, log=lambda *_: None)
        stopped.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(node)
        with trio.fail_after(_DEADLINE):
            await up.wait()
        began = time.monotonic()
        await _open(bench)
        opened = time.monotonic() - began
        started.clear()
        os.kill(recorder.pid, signal.SIGKILL)
        back = await all_started("sessions are back")
        began = time.monotonic()
        stop.set()
        await stopped.wait()
        stop_seconds = time.monotonic() - began
    bench.data["seconds"] = {"opened": opened, "back": back, "stopped": stop_seconds}
    bench.row(f"{_SESSIONS} sessions opened by {_CLIENTS} clients", opened, "s")
    bench.row(f"{_SESSIONS} sessions back after the death of the fork server", back, "s", aim=AIM_BACK)
    bench.row(f"stop with {_SESSIONS} sessions", stop_seconds, "s", aim=AIM_STOP)


async def _open(bench: BenchmarkRun) -> None:
    left = _SESSIONS

    async def open_some() -> None:
        nonlocal left
        async with open_client(bench.folder / "anna.sock") as client:
            while left:
                left -= 1
                await client.start_pairing()
                bench.progress("sessions are opened", _SESSIONS - left, _SESSIONS)

    async with trio.open_nursery() as nursery:
        for _ in range(_CLIENTS):
            nursery.start_soon(open_some)
