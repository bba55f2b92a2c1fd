"""Pairs real nodes while their actors are killed at random, and checks that nothing is wrong in the end.

    python tests/chaos/run.py --pairings 200 --seed 7 --concurrency 4

Half of them over TCP, then half over QUIC, unless --transport says otherwise. Exit status 0: over each
nothing failed and at least 99 % were complete (with few pairings: all but one). Ctrl-C and SIGTERM end it
early and print the results so far.
"""

import argparse
import dataclasses
import os
import random
import re
import shutil
import signal
import sys
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import trio

import spacedrive_node.node
from spacedrive_node.messages.actor_configs import SessionConfig
from spacedrive_node.supervisor.child_specs import ChildSpec
from spacedrive_node.tests.harness.faults.chaos_run import MODES, ChaosRun, Report
from spacedrive_node.tests.harness.faults.process_killer import ProcessKiller, Timeline
from spacedrive_node.tests.harness.nodes import Node, running_node
from spacedrive_node.tests.harness.secret_sweep import collector
from spacedrive_node.tests.harness.transports import using

NAMES = ("anna", "bruno", "clara")
DATA = {"devices.db", "identity.key", "lock", "peers.db"}
TRANSPORTS = {"each": ("tcp", "quic"), "tcp": ("tcp",), "quic": ("quic",), "both": ("both",)}
"""By the option: over what the nodes are reached, in one run after the other."""
_GONE = 5.0
"""Seconds in which the last process must end."""
_PROGRESS_INTERVAL_S = 15.0
"""Seconds between two lines of progress."""
_DESCRIPTORS_MORE = 8
"""Descriptors that an actor may have more than at first, for connections that are about to close."""


def descriptors(pid: int | str = "self") -> Counter[str]:
    """Count the descriptors of a process by what they are, without numbers that differ between processes."""
    found: Counter[str] = Counter()
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)
    except PermissionError:  # only root may look into an actor
        names = []
    for name in names:
        try:
            what = os.readlink(f"{folder}/{name}").partition(":")[0]
            found[re.sub(r"^/proc/\d+/", "/proc/#/", what)] += 1
        except OSError:
            continue  # the one of the listing itself
    return found


async def by_actor(node: Node) -> dict[str, int]:
    pids = await node.pids()
    return {actor: descriptors(pid).total() for actor, pid in pids.items() if pid and actor != "supervisor"}


def make_killers(arguments: argparse.Namespace, timeline: Timeline) -> list[ProcessKiller]:
    """Return a killer for each node."""
    return [
        ProcessKiller(name=name, timeline=timeline, draw=random.Random(f"{arguments.seed}/{name}"))
        for name in NAMES[: arguments.nodes]
    ]


async def run_chaos(
    arguments: argparse.Namespace,
    folder: Path,
    timeline: Timeline,
    killers: list[ProcessKiller],
    report: Report,
) -> None:
    names = NAMES[: arguments.nodes]
    before = descriptors()
    async with AsyncExitStack() as stack:
        nodes: list[Node] = []
        for name, spawner in zip(names, killers, strict=True):
            known = (nodes[0].bootstrap,) if nodes else ()
            nodes.append(
                await stack.enter_async_context(running_node(folder, name, spawner=spawner, bootstrap=known))
            )
        folders = [folder / name for name in names]
        running = ChaosRun(arguments.seed, nodes, killers, folders, timeline, "none")
        running.every, running.frames = arguments.every, arguments.frames
        if arguments.delivery is not None:
            running.patience = 2.0
        await running.run(2, 1)
        await running.wait_until_quiet()
        warm, at_first = descriptors(), [await by_actor(node) for node in nodes]
        running.mode, running.report = arguments.mode, report
        async with trio.open_nursery() as progress:
            progress.start_soon(print_progress, arguments.pairings, report, killers, timeline)
            await running.run(arguments.pairings, arguments.concurrency)
            await running.wait_until_quiet()
            progress.cancel_scope.cancel()
        if (more := descriptors() - warm).total():
            report.failures.append(f"the supervisors' process has descriptors left over: {more}")
        for node, then in zip(nodes, at_first, strict=True):
            now = await by_actor(node)
            worse = {a: (then[a], n) for a, n in now.items() if n > then.get(a, n) + _DESCRIPTORS_MORE}
            if worse:
                report.failures.append(f"{node.ready.name}: descriptors then and now: {worse}")
    if left := await still_there(killers):
        report.failures.append(f"processes left over: {left}")
    if (more := descriptors() - before).total():
        report.failures.append(f"descriptors left over after the end: {more}")


async def print_progress(
    pairings: int, report: Report, killers: list[ProcessKiller], timeline: Timeline
) -> None:
    """Print the progress at intervals, and rotate the search for secrets."""
    while True:
        await trio.sleep(_PROGRESS_INTERVAL_S)
        collector.rotate()
        kills = sum(one.killed.total() for one in killers)
        print(
            f"{timeline.now():6.0f} s: {report.pairings} of {pairings} pairings, {report.complete} complete,"
            f" {kills} kills, {len(report.failures)} failures",
            flush=True,
        )


async def still_there(killers: list[ProcessKiller]) -> list[int]:
    """Return the processes that have not ended after a moment."""
    left: list[int] = []
    for _ in range(100):
        left = [pid for one in killers for pid in one.left()]
        if not left:
            break
        await trio.sleep(_GONE / 100)
    return left


def left_behind(folder: Path) -> list[str]:
    """Return the files that are left after the end, apart from each node's data."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir())
    return sorted(str(file) for file in files if file.parts[0] not in NAMES or file.name not in DATA)


def shorten(delivery: float) -> None:
    """Make sessions give up early, as if contact had been lost for minutes.

    Few pairings need to complete then.
    """
    original = spacedrive_node.node.session_spec

    def spec() -> ChildSpec:
        return dataclasses.replace(original(), config=SessionConfig(delivery=delivery))

    spacedrive_node.node.session_spec = spec


def show(
    arguments: argparse.Namespace, transport: str, report: Report, kills: Counter[str], seconds: float
) -> bool:
    missing = report.pairings - report.complete
    share = 100 * report.complete / max(report.pairings, 1)
    print(
        f"over {transport}: seed {arguments.seed}, mode {arguments.mode}, {arguments.nodes} nodes,"
        f" {seconds:.0f} s"
    )
    print(f"pairings {report.pairings}, complete {report.complete} ({share:.1f} %)")
    print(f"kills {kills.total()}: {dict(kills)}")
    print(f"outcomes {dict(report.outcomes)}")
    print(f"slowest from shown to the end {report.slowest:.1f} s")
    print(f"given contact to settle {report.settled_later} times")
    print(f"failures {len(report.failures)}")
    for text in (*report.incomplete[:20], *report.failures[:20]):
        print("----", text, sep="\n")
    enough = arguments.delivery is not None or missing <= max(1, report.pairings // 100)
    return enough and not report.failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pairings", type=int, default=100)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--concurrency", type=int, default=4, help="pairings at once: 1 to so many")
    parser.add_argument("--nodes", type=int, choices=(2, 3), default=2)
    parser.add_argument(
        "--mode",
        choices=MODES,
        default="all",
        help="which kills: around each pairing, steady, at frames, all or none",
    )
    parser.add_argument("--every", type=float, default=1.0, help="seconds between two steady kills")
    parser.add_argument("--frames", type=float, default=0.03, help="how likely a kill is at any one frame")
    parser.add_argument(
        "--delivery",
        type=float,
        help="seconds until a session gives up its decision: many are left to settle",
    )
    parser.add_argument(
        "--transport",
        choices=TRANSPORTS,
        default="each",
        help="over what the nodes are reached: half of the pairings over TCP and half over QUIC,\n"
        "one of them alone, or both at once, as by default in a node",
    )
    parser.add_argument("--timeline", type=Path, help="write all that happened to this file")
    arguments = parser.parse_args()
    if arguments.delivery is not None:
        shorten(arguments.delivery)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    print(f"seed {arguments.seed}", flush=True)
    transports = TRANSPORTS[arguments.transport]
    arguments.pairings = -(-arguments.pairings // len(transports))
    if arguments.timeline is not None:
        arguments.timeline.write_text("")
    all_good = True
    for transport in transports:
        good, stopped = run_over(transport, arguments)
        all_good &= good and not stopped
        if stopped:
            break
    return 0 if all_good else 1


def run_over(transport: str, arguments: argparse.Namespace) -> tuple[bool, bool]:
    """Run the pairings over one transport; return whether all was well, and whether a signal stopped it."""
    folder = Path(tempfile.mkdtemp(prefix="sdn-chaos-"))
    timeline, report = Timeline(), Report()
    killers = make_killers(arguments, timeline)
    stopped = False
    collector.start()
    try:
        for name in ("run", "tmp"):
            (folder / name).mkdir(mode=0o700)
        # The fork server inherits these, so whatever an actor leaves behind is found here.
        os.environ["XDG_RUNTIME_DIR"], os.environ["TMPDIR"] = str(folder / "run"), str(folder / "tmp")
        tempfile.tempdir = None
        try:
            with using(transport):
                trio.run(run_chaos, arguments, folder, timeline, killers, report)
        except KeyboardInterrupt:
            stopped = True
        tempfile.tempdir = str(folder.parent)  # the sweep looks below it
        if files := left_behind(folder):
            report.failures.append(f"files left over: {files}")
        report.failures += [f"a secret where none belongs: {what}" for what in collector.findings()]
        kills = sum((one.killed for one in killers), Counter[str]())
        good = show(arguments, transport, report, kills, timeline.now())
        if stopped:
            print(f"stopped after {report.pairings} of {arguments.pairings} pairings")
    finally:
        if arguments.timeline is not None:
            with arguments.timeline.open("a") as file:
                file.write("\n".join([f"over {transport}", *timeline.between(0, timeline.now()), ""]))
        shutil.rmtree(folder, ignore_errors=True)
    return good, stopped


if __name__ == "__main__":
    sys.exit(main())
