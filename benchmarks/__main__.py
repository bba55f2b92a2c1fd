"""Run the benchmarks, show the table, keep the figures, draw the plots: `make bench`.

See docs/performance.md. Nothing of it is installed; it runs from a clone.
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

from . import document, machine, report
from .bench import Bench, environment

ALL = {"pairing": 84, "commands": 28, "sessions": 27, "node": 37, "load": 50, "messages": 10, "discovery": 78}
"""Each benchmark, and the seconds that it takes on a slow machine; all of them together have BUDGET."""
BUDGET = 250.0
HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"


def main() -> int:
    """Run what was asked for; return the exit status: 0 also when an aim is missed, 1 when one failed."""
    parser = argparse.ArgumentParser(prog="make bench", description="How good it is on this machine.")
    parser.add_argument("--only", default="", help="names, with commas between: " + ", ".join(ALL))
    parser.add_argument("--long", action="store_true", help="the long forms of those that have one")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where figures and plots go")
    parser.add_argument(
        "--publish", action="store_true", help="into docs/performance and docs/performance.md"
    )
    parser.add_argument("--beside", type=Path, default=HERE.parent / ".venv-bench" / "bin" / "python")
    arguments = parser.parse_args()
    names = [name for name in arguments.only.split(",") if name] or list(ALL)
    if unknown := sorted(set(names) - set(ALL)):
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(ALL)}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    beside = arguments.beside if _works(arguments.beside) else None
    results = DOCS / "performance" if arguments.publish else arguments.results
    results.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="sdbench-"))
    began = time.monotonic()
    found: list[Bench] = []
    interrupted = False
    about = machine.description()
    try:
        (folder / "run").mkdir(mode=0o700)
        with environment(XDG_RUNTIME_DIR=str(folder / "run"), TMPDIR=str(folder)):
            for name in names:
                left = BUDGET - (time.monotonic() - began)
                to_come = sum(ALL[one] for one in names[names.index(name) :])
                pace = 1.0 if arguments.long else max(0.1, min(1.0, left / to_come))
                found.append(_run(Bench(name, folder / name, arguments.long, beside, pace=pace)))
    except KeyboardInterrupt:
        interrupted = True
        sys.stderr.write("\ninterrupted: this is what there was until then\n")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report.show(found, about, time.monotonic() - began)
    figures = report.write(found, about, results / "figures.json")
    report.draw(results / "figures.json", beside)
    if arguments.publish:
        document.publish(figures, DOCS / "performance.md")
    return 130 if interrupted else int(any(bench.failed for bench in found))


def _run(bench: Bench) -> Bench:
    bench.folder.mkdir(mode=0o700)
    began = time.monotonic()
    module = importlib.import_module(f".{bench.name}", __package__)
    try:
        trio.run(module.run, bench)
    except (Exception, BaseExceptionGroup) as error:  # the others still run; the table says which did not
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
    """Whether it is installed whole: the stamp is made last."""
    return os.access(python, os.X_OK) and (python.parent.parent / ".installed").exists()


if __name__ == "__main__":
    sys.exit(main())
