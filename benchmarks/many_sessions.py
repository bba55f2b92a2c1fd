"""A node with as many sessions as one may have: they start, are scraped, come back after a loss, and stop."""

import os
import resource
import signal
import time
from statistics import median

import trio

from ..client.node_client import open_client
from ..messages.child_protocol import FromChild
from ..messages.child_protocol import Ready as ActorReady
from ..node import Ready, serve
from .benchmark_run import BenchmarkRun
from .frame_recorder import Recorder
from .metrics_scrape import scrape
from .nodes import config

AIM_BACK, AIM_STOP, AIM_SCRAPE = 10.0, 5.0, 20.0
_SESSIONS = 1000
_CLIENTS = 8
_DESCRIPTORS = 8192
_SCRAPES = 15
_AS_PROMETHEUS = "application/openmetrics-text;version=1.0.0"
_QUIET = 0.5
"""For the successor of a spare, which is forked when a session has started."""
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
    settings = config(
        bench.folder, "anna", same_host=False, max_sessions=_SESSIONS + 1, metrics_listen="127.0.0.1:0"
    )
    endpoints: list[str] = []

    async def node() -> None:
        def on_ready(line: Ready) -> None:
            assert line.metrics is not None
            endpoints.append(line.metrics)
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
        scrapes = await _scrapes(bench, endpoints[0])
        started.clear()
        os.kill(recorder.pid, signal.SIGKILL)
        back = await all_started("sessions are back")
        began = time.monotonic()
        stop.set()
        await stopped.wait()
        stop_seconds = time.monotonic() - began
    bench.data["seconds"] = {"opened": opened, "scrapes": scrapes, "back": back, "stopped": stop_seconds}
    bench.row(f"{_SESSIONS} sessions opened by {_CLIENTS} clients", opened, "s")
    bench.row(
        f"scrape of the metrics with {_SESSIONS} sessions", 1000 * median(scrapes), "ms", aim=AIM_SCRAPE
    )
    bench.row(f"{_SESSIONS} sessions back after the death of the fork server", back, "s", aim=AIM_BACK)
    bench.row(f"stop with {_SESSIONS} sessions", stop_seconds, "s", aim=AIM_STOP)


async def _scrapes(bench: BenchmarkRun, endpoint: str) -> list[float]:
    """Return the seconds that scrapes took. Before each a session comes and goes, so that none is cached."""
    took = []
    async with open_client(bench.folder / "anna.sock") as client:
        for number in range(_SCRAPES):
            bench.progress("scrapes", number, _SCRAPES)
            pairing = await client.start_pairing()
            await pairing.cancel()
            await trio.sleep(_QUIET)
            began = time.monotonic()
            page = await scrape(endpoint, _AS_PROMETHEUS)
            took.append(time.monotonic() - began)
            assert f'sessions_active{{role="initiator"}} {_SESSIONS}' in page
    return took


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
