"""Pairs whole nodes in homes behind every pair of NATs, and writes docs/networks.md.

    python tests/networks/run.py --cells 'cone+*@50ms-0%' --pairings 10 --jobs 3

Needs root, nftables and /dev/net/tun. What has been done is kept below --results, and beside the document
(docs/networks/results.json); none of it is done again, so that a long run can be stopped (Ctrl-C, SIGTERM)
and continued, also on another machine. --again does it anew. Several can share the cells, for each locks the
one that it runs; --jobs starts several. Exit status 0: all that was asked for was paired.
"""

import argparse
import fcntl
import fnmatch
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import trio

from spacedrive_node.tests.harness import nat_lab
from spacedrive_node.tests.harness.interop_peer import COMMANDS
from spacedrive_node.tests.harness.network_cells import (
    Cell,
    CellResults,
    PairingResult,
    all_cells,
    keep_results,
    publish,
    read_published,
    read_results,
    run_cell,
)
from spacedrive_node.tests.harness.network_report import report, summary

ROOT = Path(__file__).resolve().parents[2]


def is_chosen(cell: Cell, patterns: Sequence[str]) -> bool:
    """Return whether a cell is meant, by its name from either side."""
    names = (cell.name, cell.turned.name)
    return any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in patterns)


def run_one(cell: Cell, file: Path, pairings: int, logs: Path) -> list[PairingResult]:
    """Run what is missing of a cell; each pairing is kept as it ends."""
    results = read_results(file)
    already = len(results)

    def done(result: PairingResult) -> None:
        results.append(result)
        keep_results(file, cell, results)

    if already < pairings:
        trio.run(lambda: run_cell(cell, pairings, done, already=already, keep=logs))
    return results


@contextmanager
def claim(file: Path) -> Iterator[bool]:
    """Say whether nobody else runs the cell of a file; nobody will while this is open."""
    with file.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def run_side_by_side(jobs: int) -> None:
    """Run this program several times at once, until each has ended. A signal ends all."""
    arguments = [one for one in sys.argv if one != "--again"]  # that has been seen to
    command = [sys.executable, *arguments, "--jobs", "1", "--keep-only"]
    running = [subprocess.Popen(command, start_new_session=True) for _ in range(jobs)]
    try:
        for one in running:
            one.wait()
    except KeyboardInterrupt:
        for one in running:
            one.terminate()
        for one in running:
            one.wait()
        raise


def run_cells(chosen: Sequence[Cell], results: Path, pairings: int) -> None:
    """Run what nobody else runs."""
    began = time.monotonic()
    for place, cell in enumerate(chosen, 1):
        file = results / f"{cell.name}.json"
        with claim(file) as is_ours:
            if not is_ours or len(read_results(file)) >= pairings:
                continue
            try:
                kept = run_one(cell, file, pairings, results / "logs")
            except Exception:  # a cell that cannot be built; the others can
                traceback.print_exc()
                continue
        seconds = time.monotonic() - began
        print(f"{seconds:6.0f} s: {place} of {len(chosen)}: {summary(cell, kept)}", flush=True)


def with_results_of_here(published: Mapping[str, CellResults], results: Path) -> dict[str, CellResults]:
    """Return what is published together with what was done here, which comes first unless it is less."""
    merged = dict(published)
    for cell in all_cells():
        file = results / f"{cell.name}.json"
        here, before = read_results(file), published.get(cell.name)
        if here and (before is None or len(here) >= len(before.pairings)):
            day = datetime.fromtimestamp(file.stat().st_mtime, UTC).date().isoformat()
            merged[cell.name] = CellResults(day, here)
    return merged


def forget(chosen: Sequence[Cell], results: Path, published: Path) -> None:
    """Forget what has been done of these cells, here and beside the document."""
    names = {cell.name for cell in chosen}
    for name in names:
        (results / f"{name}.json").unlink(missing_ok=True)
    publish(published, {name: one for name, one in read_published(published).items() if name not in names})


def arguments_of_command() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cells", default="*", help="names of cells with * and ?, separated by spaces")
    parser.add_argument("--pairings", type=int, default=10, help="in each cell")
    parser.add_argument("--jobs", type=int, default=1, help="cells at once")
    parser.add_argument("--again", action="store_true", help="forget what has been done of these cells")
    parser.add_argument("--keep-only", action="store_true", help="write no document, as each of --jobs")
    parser.add_argument("--results", type=Path, default=ROOT / ".networks")
    parser.add_argument("--report", type=Path, default=ROOT / "docs" / "networks.md")
    parser.add_argument("--list", action="store_true", help="print the names of the cells, and end")
    return parser.parse_args()


def main() -> int:
    arguments = arguments_of_command()
    chosen = [cell for cell in all_cells() if is_chosen(cell, arguments.cells.split())]
    if arguments.list:
        print("\n".join(cell.name for cell in chosen))
        return 0
    if problem := nat_lab.missing_for_wire():
        print(f"nothing is tried: {problem}", file=sys.stderr)
        return 1
    if not chosen:
        print(f"no cell is called {arguments.cells}; --list names them all", file=sys.stderr)
        return 1
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda _number, _frame: signal.raise_signal(signal.SIGINT))
    results, pairings = arguments.results, arguments.pairings
    results.mkdir(exist_ok=True)
    results_file = arguments.report.with_suffix("") / "results.json"
    results_file.parent.mkdir(exist_ok=True)
    if arguments.again:
        forget(chosen, results, results_file)
    not_built = {cell.relay for cell in chosen if cell.relay and not Path(COMMANDS[cell.relay][-1]).exists()}
    for relay in sorted(not_built) if not arguments.keep_only else ():
        print(f"NOT TRIED: relays of {relay}, which is not built (make interop)", file=sys.stderr)
    published = read_published(results_file)
    is_done = {name for name, one in published.items() if len(one.pairings) >= pairings}
    left = [cell for cell in chosen if cell.relay not in not_built and cell.name not in is_done]
    was_stopped = False
    try:
        if arguments.jobs > 1:
            run_side_by_side(arguments.jobs)
        else:
            run_cells(left, results, pairings)
    except* KeyboardInterrupt:
        print("stopped; the same command goes on from here")
        was_stopped = True
    if arguments.keep_only:
        return int(was_stopped)
    merged = with_results_of_here(published, results)
    publish(results_file, merged)
    arguments.report.write_text(report(read_published(results_file)))
    asked = [merged.get(cell.name) for cell in chosen if cell.relay not in not_built]
    all_paired = all(
        one is not None
        and len(one.pairings) >= pairings
        and all(pairing.is_paired for pairing in one.pairings)
        for one in asked
    )
    return 0 if all_paired and not was_stopped else 1


if __name__ == "__main__":
    sys.exit(main())
