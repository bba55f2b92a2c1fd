"""Runs the benchmarks, prints the table, writes the figures and draws the plots: `make bench`.

See docs/performance.md. The benchmarks are not installed; they run from a clone of the repository.

- benchmark_run: what every benchmark gets, and the rows of the table
- pairing, commands, sessions, many_sessions, node, watching, load, messages, transports, distance, discovery,
  dht_size: the benchmarks
- nodes, pairing_costs, pairing_path, traced_node: real nodes, and where the time of a pairing goes
- virtual_dht: a DHT in virtual time
- distant_hosts: network namespaces with a delay between them
- flood_node, dht_participant, dht_nodes: programs with a part of a node
- frame_recorder, metrics_scrape, procfs, json_processes: what is read from nodes and processes
- comparisons/: what the figures are compared with
- report, plots, publish: the table, the plots, and the tables of docs/performance.md
"""

import argparse
import importlib
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

import trio

from . import procfs, publish, report
from .benchmark_run import BenchmarkRun, environment

ALL = {
    "pairing": 84,
    "commands": 28,
    "sessions": 27,
    "many_sessions": 22,
    "node": 37,
    "watching": 60,
    "load": 50,
    "messages": 10,
    "transports": 38,
    "distance": 75,
    "discovery": 78,
    "dht_size": 300,
}
"""Each benchmark with the seconds that it takes on a slow machine. BUDGET is the time for all of them."""
BUDGET = 250.0
SEPARATE = ("distance", "dht_size")
"""Run when they are named, with --long and with --publish: they need root and some minutes."""
HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"


def main() -> int:
    """Run the benchmarks. Return the exit status: 1 if one failed, 0 otherwise, even if an aim is missed."""
    parser = argparse.ArgumentParser(prog="make bench", description="How good it is on this machine.")
    parser.add_argument("--only", default="", help="names, with commas between: " + ", ".join(ALL))
    parser.add_argument("--long", action="store_true", help="the long forms of those that have one")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where figures and plots go")
    parser.add_argument(
        "--publish", action="store_true", help="into docs/performance and docs/performance.md"
    )
    parser.add_argument("--bench-python", type=Path, default=HERE.parent / ".venv-bench" / "bin" / "python")
    arguments = parser.parse_args()
    by_default = [name for name in ALL if arguments.long or arguments.publish or name not in SEPARATE]
    named = [name for name in arguments.only.split(",") if name]
    names = named or by_default
    if unknown := sorted(set(names) - set(ALL)):
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(ALL)}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    bench_python = arguments.bench_python if _works(arguments.bench_python) else None
    results = DOCS / "performance" if arguments.publish else arguments.results
    results.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="sdbench-"))
    began = time.monotonic()
    found: list[BenchmarkRun] = []
    interrupted = False
    about = procfs.description()
    try:
        (folder / "run").mkdir(mode=0o700)
        with environment(XDG_RUNTIME_DIR=str(folder / "run"), TMPDIR=str(folder)):
            for name in names:
                left = BUDGET - (time.monotonic() - began)
                to_come = sum(ALL[one] for one in names[names.index(name) :])
                pace = 1.0 if arguments.long else max(0.1, min(1.0, left / to_come))
                bench = BenchmarkRun(name, folder / name, arguments.long, bench_python, pace=pace)
                bench.is_named = bool(named) or arguments.long or arguments.publish
                found.append(_run(bench))
    except KeyboardInterrupt:
        interrupted = True
        sys.stderr.write("\ninterrupted: these are the results so far\n")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report.show(found, about, time.monotonic() - began)
    figures = report.write(found, about, results / "figures.json")
    report.draw(results / "figures.json", bench_python)
    if arguments.publish:
        publish.publish(figures, DOCS / "performance.md")
    return 130 if interrupted else int(any(bench.failed for bench in found))


def _run(bench: BenchmarkRun) -> BenchmarkRun:
    bench.folder.mkdir(mode=0o700)
    began = time.monotonic()
    module = importlib.import_module(f".{bench.name}", __package__)
    try:
        trio.run(module.run, bench)
    except (Exception, BaseExceptionGroup) as error:  # the other benchmarks still run
        if isinstance(error, BaseExceptionGroup) and error.subgroup(KeyboardInterrupt):
            raise KeyboardInterrupt from None
        traceback.print_exception(error)
        bench.note(f"failed: {_leading(error)!r}")
        bench.failed = True
    bench.data["took_seconds"] = round(time.monotonic() - began, 1)
    bench.progress(f"done in {bench.data['took_seconds']} s")
    if sys.stderr.isatty():
        sys.stderr.write("\n")
    return bench


def _leading(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _works(python: Path) -> bool:
    """Return whether the environment of this interpreter is complete: its stamp is written last."""
    return os.access(python, os.X_OK) and (python.parent.parent / ".installed").exists()


if __name__ == "__main__":
    sys.exit(main())
