"""Pairing by command line, beside magic-wormhole's; and how long a command takes to do next to nothing.

A pairing here runs from the start of the first command until both have ended well. The second starts when the
first has shown its code.
"""

import json
import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trio

from .benchmark_run import BenchmarkRun, environment, median, summary
from .comparisons import magic_wormhole
from .nodes import two_nodes

AIM_OVER_WORMHOLE = 0.7
AIM_START = 0.25
_MOST, _SECONDS = 10, 18.0
_STARTS, _STARTS_SECONDS = 10, 10.0
_DEADLINE = 60.0
_LINE = 1 << 16
_SHOWN = "Wormhole code is: "


async def run(bench: BenchmarkRun) -> None:
    """Run the benchmark."""
    async with two_nodes(bench, "commands") as (a, b), magic_wormhole.mailbox(bench) as url:
        ours = (str(a.control), str(b.control))
        times: dict[str, list[float]] = {"sdnode": [], "wormhole": []}
        for _ in bench.repeat("pairings by command", _MOST, _SECONDS):
            times["sdnode"].append(await by_sdnode(*ours))
            if url is not None:
                times["wormhole"].append(await by_wormhole(bench.bench_python, url, bench.folder))
        await _starts(bench, ours[0])
    bench.data["seconds"] = {name: summary(values) for name, values in times.items()}
    bench.data["samples"] = times
    beside = None
    if times["wormhole"]:
        beside = ("wormhole send", 1000 * median(times["wormhole"]))
    bench.row(
        "sdnode pair and join: start to both ended",
        1000 * median(times["sdnode"]),
        "ms",
        aim=AIM_OVER_WORMHOLE,
        of_ratio=True,
        beside=beside,
        note=f"n = {len(times['sdnode'])}",
    )


async def by_sdnode(showing: str, joining: str) -> float:
    """Pair by two commands; return the seconds. The arguments are the control sockets."""
    began = time.monotonic()
    async with _command([*sdnode(), "pair", "--json", "--yes", "--control", showing]) as first:
        words = json.loads(await _line(first))["words"]
        text = words if isinstance(words, str) else " ".join(words)
        async with _command([*sdnode(), "join", "-", "--json", "--yes", "--control", joining]) as second:
            assert second.stdin is not None
            await second.stdin.send_all(text.encode() + b"\n")
            await second.stdin.aclose()
            await _both_end(first, second)
    return time.monotonic() - began


async def by_wormhole(python: Path | None, url: str, folder: Path) -> float:
    """Send a text by two commands; return the seconds."""
    assert python is not None
    command = [str(python.parent / "wormhole"), "--relay-url", url, "--transit-helper", ""]
    began = time.monotonic()
    with environment(HOME=str(folder)):
        async with _command(
            [*command, "send", "--no-qr", "--hide-progress", "--text", magic_wormhole.TEXT]
        ) as first:
            while not (line := await _line(first)).startswith(_SHOWN):
                pass
            code = line.removeprefix(_SHOWN).strip()
            async with _command([*command, "receive", "--only-text", "--hide-progress", code]) as second:
                await _both_end(first, second)
    return time.monotonic() - began


async def _starts(bench: BenchmarkRun, control: str) -> None:
    """Measure commands that do next to nothing, beside an interpreter that does nothing at all."""
    commands = {
        "sdnode --version": [*sdnode(), "--version"],
        "sdnode status": [*sdnode(), "status", "--control", control],
        "python": [sys.executable, "-c", ""],
    }
    if bench.bench_python is not None:
        commands["wormhole --version"] = [str(bench.bench_python.parent / "wormhole"), "--version"]
    took: dict[str, list[float]] = {name: [] for name in commands}
    for _ in bench.repeat("starts of commands", _STARTS, _STARTS_SECONDS):
        for name, command in commands.items():
            began = time.monotonic()
            async with _command(command) as process:
                await _end_well(process)
            took[name].append(time.monotonic() - began)
    bench.data["starts"] = {name: summary(values) for name, values in took.items()}
    nothing = ("python -c ''", 1000 * median(took["python"]))
    for name in ("sdnode --version", "sdnode status"):
        bench.row(name, 1000 * median(took[name]), "ms", aim=1000 * AIM_START, beside=nothing)
    if "wormhole --version" in took:
        bench.row("wormhole --version", 1000 * median(took["wormhole --version"]), "ms", beside=nothing)


def sdnode() -> list[str]:
    """Return the command, as it is installed beside this interpreter."""
    return [os.path.join(sysconfig.get_path("scripts"), "sdnode")]


@asynccontextmanager
async def _command(command: Sequence[str]) -> AsyncIterator[trio.Process]:
    """Run a command; it is ended at the end of the block if it still runs."""
    process = await trio.lowlevel.open_process(
        list(command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process
    finally:
        with trio.CancelScope(shield=True):
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            await process.stdout.aclose()
            await process.stdin.aclose()


async def _line(process: trio.Process) -> str:
    """Return the next line of a command's output, byte by byte, so that the rest stays there."""
    assert process.stdout is not None
    received = bytearray()
    with trio.fail_after(_DEADLINE):
        while not received.endswith(b"\n") and len(received) < _LINE:
            data = await process.stdout.receive_some(1)
            if not data:
                raise RuntimeError(f"a command ended after {bytes(received)!r}")
            received += data
    return received.decode()


async def _both_end(first: trio.Process, second: trio.Process) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_end_well, first)
        nursery.start_soon(_end_well, second)


async def _end_well(process: trio.Process) -> None:
    """Read what is left and see the command end; raise RuntimeError when it ends with anything but 0."""
    assert process.stdout is not None
    said = bytearray()
    with trio.fail_after(_DEADLINE):
        while data := await process.stdout.receive_some(_LINE):
            said += data
        await process.wait()
    if process.returncode:
        raise RuntimeError(f"a command ended with {process.returncode}: {said[-500:].decode()}")
