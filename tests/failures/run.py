"""Makes one of two devices vanish before and after every message of a pairing, in every manner.

    python tests/failures/run.py --workers 8

Each failure point, with either side as the victim: killed, stopped, or without its cable, for ever and for
ten seconds. Exit status 0: every case ended as docs/protocol.md says, and nothing is left over.
"""

import argparse
import itertools
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import trio

from spacedrive_node.tests.harness.faults.cable_network import open_network
from spacedrive_node.tests.harness.faults.failure_points import FailureCase, all_cases
from spacedrive_node.tests.harness.faults.vanishing_device import Figures, run_case
from spacedrive_node.tests.harness.secret_sweep import collector

ROTATE_EVERY = 16
"""Cases whose files are searched for the secrets of as many others."""


async def run(cases: list[FailureCase], workers: int, folder: Path, figures: Figures) -> str:
    """Run all cases, `workers` at once. Return what a pulled cable is on this machine."""
    waiting, done = list(enumerate(cases)), itertools.count(1)
    async with open_network() as network, trio.open_nursery() as nodes:

        async def worker() -> None:
            while waiting:
                number, case = waiting.pop(0)
                begin = time.monotonic()
                wrong = await run_case(case, folder / str(number), network, nodes, figures)
                print(f"{figures.cases}/{len(cases)}, {time.monotonic() - begin:.0f} s: {case}", flush=True)
                if wrong:
                    print("---- FAILED", wrong, "----", sep="\n", flush=True)
                if next(done) % ROTATE_EVERY == 0:
                    collector.rotate(keep_folders=True)

        async with trio.open_nursery() as running:
            for _ in range(workers):
                running.start_soon(worker)
        nodes.cancel_scope.cancel()
    return network.kind


async def stop_at_signal(scope: trio.CancelScope, *, task_status: "trio.TaskStatus[None]") -> None:
    """Cancel `scope` at Ctrl-C and SIGTERM, so that every process and network is removed."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()


async def guarded(cases: list[FailureCase], workers: int, folder: Path, figures: Figures) -> str | None:
    """Run all cases. Return None if a signal stopped the run."""
    kind = None
    async with trio.open_nursery() as nursery:
        await nursery.start(stop_at_signal, nursery.cancel_scope)
        kind = await run(cases, workers, folder, figures)
        nursery.cancel_scope.cancel()
    return kind


def show(figures: Figures, cases: int, kind: str | None, seconds: float) -> None:
    print(f"{figures.cases} of {cases} cases, {figures.pairings} pairings, {seconds:.0f} s")
    print(f"a pulled cable is {kind}")
    for what, counts in sorted(figures.outcomes.items()):
        print(f"  {what}: {dict(counts.most_common())}")
    print(f"longest until all pairings of a case were held {figures.longest_hold:.1f} s")
    print(f"slowest end after the comeback, with the usual deadlines, {figures.slowest_back:.1f} s")
    print(f"slowest agreement after contact {figures.slowest_agreement:.1f} s")
    print(f"failures {len(figures.failures)}")
    for case in figures.failures:
        print("  at", case)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--workers", type=int, default=8, help="pairs of nodes at once")
    parser.add_argument("--together", type=int, default=4, help="pairings at once of each pair of nodes")
    parser.add_argument("--only", default="", metavar="SUBSTRING", help="of the case, as it is printed")
    parser.add_argument("--limit", type=int, help="so many cases")
    parser.add_argument(
        "--seed", type=int, default=0, help="which failure points share a case, and their order"
    )
    arguments = parser.parse_args()
    cases = [c for c in all_cases(arguments.seed, arguments.together) if arguments.only in str(c)]
    cases = cases[: arguments.limit]
    figures, begin = Figures(), time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="sdn-failures-"))
    collector.start()
    try:
        kind = trio.run(guarded, cases, arguments.workers, folder, figures)
        print("searching what the nodes have left for secrets …", flush=True)
        secrets = collector.findings()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    show(figures, len(cases), kind, time.monotonic() - begin)
    for what in secrets:
        print("a secret where none belongs:", what)
    return 0 if figures.cases == len(cases) and not (figures.failures or secrets) else 1


if __name__ == "__main__":
    sys.exit(main())
