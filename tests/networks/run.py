"""Pairs whole nodes in homes behind every pair of NATs, and writes docs/networks.md.

    python tests/networks/run.py --cells 'cone+*@50ms-0%' --pairings 10 --jobs 3

Needs root, nftables and /dev/net/tun. What has been done is kept below --results and not done again, so that
a long run can be stopped (Ctrl-C, SIGTERM) and continued. Several can share the cells, for each locks the one
that it runs; --jobs starts several. Exit status 0: all that was asked for was paired.
"""

import argparse
import fcntl
import fnmatch
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import trio

from spacedrive_node.tests.harness import nat_lab
from spacedrive_node.tests.harness.interop_peer import COMMANDS
from spacedrive_node.tests.harness.network_cells import (
    Cell,
    PairingResult,
    all_cells,
    keep_results,
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


def run_side_by_side(jobs: int) -> bool:
    """Run this program several times at once; return whether each was content. A signal ends all."""
    command = [sys.executable, *sys.argv, "--jobs", "1"]
    running = [subprocess.Popen(command, start_new_session=True) for _ in range(jobs)]
    try:
        codes = [one.wait() for one in running]
        return not any(codes)
    except KeyboardInterrupt:
        for one in running:
            one.terminate()
        for one in running:
            one.wait()
        raise


def run_cells(chosen: Sequence[Cell], results: Path, pairings: int) -> bool:
    """Run what nobody else runs; return whether all of that was paired."""
    all_paired, began = True, time.monotonic()
    for place, cell in enumerate(chosen, 1):
        file = results / f"{cell.name}.json"
        with claim(file) as is_ours:
            if not is_ours:
                continue
            is_new = len(read_results(file)) < pairings
            try:
                kept = run_one(cell, file, pairings, results / "logs")
            except Exception:  # a cell that cannot be built; the others can
                traceback.print_exc()
                all_paired = False
                continue
        all_paired &= all(one.is_paired for one in kept)
        if is_new:
            seconds = time.monotonic() - began
            print(f"{seconds:6.0f} s: {place} of {len(chosen)}: {summary(cell, kept)}", flush=True)
    return all_paired


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cells", default="*", help="names of cells with * and ?, separated by spaces")
    parser.add_argument("--pairings", type=int, default=10, help="in each cell")
    parser.add_argument("--jobs", type=int, default=1, help="cells at once")
    parser.add_argument("--results", type=Path, default=ROOT / ".networks")
    parser.add_argument("--report", type=Path, default=ROOT / "docs" / "networks.md")
    parser.add_argument("--list", action="store_true", help="print the names of the cells, and end")
    arguments = parser.parse_args()
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
    arguments.results.mkdir(exist_ok=True)
    not_built = {cell.relay for cell in chosen if cell.relay and not Path(COMMANDS[cell.relay][-1]).exists()}
    for relay in sorted(not_built):
        print(f"NOT TRIED: relays of {relay}, which is not built (make interop)", file=sys.stderr)
    chosen = [cell for cell in chosen if cell.relay not in not_built]
    try:
        if arguments.jobs > 1:
            all_paired = run_side_by_side(arguments.jobs)
        else:
            all_paired = run_cells(chosen, arguments.results, arguments.pairings)
    except* KeyboardInterrupt:
        print("stopped; the same command goes on from here")
        all_paired = False
    finally:
        kept = [(cell, read_results(arguments.results / f"{cell.name}.json")) for cell in all_cells()]
        arguments.report.write_text(report([(cell, results) for cell, results in kept if results]))
    return 0 if all_paired else 1


if __name__ == "__main__":
    sys.exit(main())
