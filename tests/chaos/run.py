"""Pair real nodes while their actors are killed at random, and see that nothing is wrong in the end.

    python tests/chaos/run.py --pairings 200 --seed 7 --concurrency 4

Exit status 0: nothing failed and at least 99 % were complete (with few pairings: all but one). Ctrl-C and
SIGTERM end it early, with what is known until then.
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
from spacedrive_node.tests.harness.faults.chaos_run import MODES, Report, Storm
from spacedrive_node.tests.harness.faults.process_killer import Timeline, Victims
from spacedrive_node.tests.harness.nodes import Node, running_node
from spacedrive_node.tests.harness.secret_sweep import collector

NAMES = ("anna", "bruno", "clara")
DATA = {"devices.db", "identity.key", "lock"}
_GONE = 5.0
"""Seconds until the last process is gone."""
_TELL = 15.0
"""Seconds from one line of progress to the next."""
_DESCRIPTORS_MORE = 8
"""That an actor may have more than at first: connections that are about to close."""


def descriptors(pid: int | str = "self") -> Counter[str]:
    """What the descriptors of a process are, without what changes from one to the next."""
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


def all_victims(arguments: argparse.Namespace, timeline: Timeline) -> list[Victims]:
    """One for each node."""
    return [
        Victims(name=name, timeline=timeline, draw=random.Random(f"{arguments.seed}/{name}"))
        for name in NAMES[: arguments.nodes]
    ]


async def storm(
    arguments: argparse.Namespace,
    folder: Path,
    timeline: Timeline,
    victims: list[Victims],
    report: Report,
) -> None:
    names = NAMES[: arguments.nodes]
    before = descriptors()
    async with AsyncExitStack() as stack:
        nodes: list[Node] = []
        for name, spawner in zip(names, victims, strict=True):
            known = (nodes[0].bootstrap,) if nodes else ()
            nodes.append(
                await stack.enter_async_context(running_node(folder, name, spawner=spawner, bootstrap=known))
            )
        folders = [folder / name for name in names]
        running = Storm(arguments.seed, nodes, victims, folders, timeline, "none")
        running.every, running.frames = arguments.every, arguments.frames
        if arguments.delivery is not None:
            running.patience = 2.0
        await running.run(2, 1)
        await running.quiet()
        warm, at_first = descriptors(), [await by_actor(node) for node in nodes]
        running.mode, running.report = arguments.mode, report
        async with trio.open_nursery() as beside:
            beside.start_soon(tell, arguments.pairings, report, victims, timeline)
            await running.run(arguments.pairings, arguments.concurrency)
            await running.quiet()
            beside.cancel_scope.cancel()
        if (more := descriptors() - warm).total():
            report.failures.append(f"the supervisors' process has descriptors left over: {more}")
        for node, then in zip(nodes, at_first, strict=True):
            now = await by_actor(node)
            worse = {a: (then[a], n) for a, n in now.items() if n > then.get(a, n) + _DESCRIPTORS_MORE}
            if worse:
                report.failures.append(f"{node.ready.name}: descriptors then and now: {worse}")
    if left := await still_there(victims):
        report.failures.append(f"processes left over: {left}")
    if (more := descriptors() - before).total():
        report.failures.append(f"descriptors left over after the end: {more}")


async def tell(pairings: int, report: Report, victims: list[Victims], timeline: Timeline) -> None:
    """Say how far it is, again and again, and have the sweep for secrets turn over with it."""
    while True:
        await trio.sleep(_TELL)
        collector.rotate()
        kills = sum(one.killed.total() for one in victims)
        print(
            f"{timeline.now():6.0f} s: {report.pairings} of {pairings} pairings, {report.complete} complete,"
            f" {kills} kills, {len(report.failures)} failures",
            flush=True,
        )


async def still_there(victims: list[Victims]) -> list[int]:
    """Return the processes that do not end; the kernel needs a moment for those that do."""
    left: list[int] = []
    for _ in range(100):
        left = [pid for one in victims for pid in one.left()]
        if not left:
            break
        await trio.sleep(_GONE / 100)
    return left


def left_behind(folder: Path) -> list[str]:
    """Return what should not be there after the end: anything but each node's data."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir())
    return sorted(str(file) for file in files if file.parts[0] not in NAMES or file.name not in DATA)


def shorten(delivery: float) -> None:
    """Have sessions give up early, as if contact had been lost for minutes. Few pairings need be complete."""
    original = spacedrive_node.node.session_spec

    def spec() -> ChildSpec:
        return dataclasses.replace(original(), config=SessionConfig(delivery=delivery))

    spacedrive_node.node.session_spec = spec


def show(arguments: argparse.Namespace, report: Report, kills: Counter[str], seconds: float) -> bool:
    missing = report.pairings - report.complete
    share = 100 * report.complete / max(report.pairings, 1)
    print(f"seed {arguments.seed}, mode {arguments.mode}, {arguments.nodes} nodes, {seconds:.0f} s")
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
    parser.add_argument("--mode", choices=MODES, default="all", help="which kills: around each pairing, …")
    parser.add_argument("--every", type=float, default=1.0, help="seconds between two steady kills")
    parser.add_argument("--frames", type=float, default=0.03, help="how likely a kill is at any one frame")
    parser.add_argument(
        "--delivery",
        type=float,
        help="seconds until a session gives up its decision: many are left to settle",
    )
    parser.add_argument("--timeline", type=Path, help="write all that happened to this file")
    arguments = parser.parse_args()
    if arguments.delivery is not None:
        shorten(arguments.delivery)
    folder = Path(tempfile.mkdtemp(prefix="sdn-chaos-"))
    timeline, report = Timeline(), Report()
    victims = all_victims(arguments, timeline)
    stopped = False
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    collector.start()
    try:
        for name in ("run", "tmp"):
            (folder / name).mkdir(mode=0o700)
        # The fork server inherits these: whatever an actor leaves behind is found here.
        os.environ["XDG_RUNTIME_DIR"], os.environ["TMPDIR"] = str(folder / "run"), str(folder / "tmp")
        tempfile.tempdir = None
        print(f"seed {arguments.seed}", flush=True)
        try:
            trio.run(storm, arguments, folder, timeline, victims, report)
        except KeyboardInterrupt:
            stopped = True
        tempfile.tempdir = str(folder.parent)  # the sweep looks below it
        if files := left_behind(folder):
            report.failures.append(f"files left over: {files}")
        report.failures += [f"a secret where none belongs: {what}" for what in collector.findings()]
        kills = sum((one.killed for one in victims), Counter[str]())
        good = show(arguments, report, kills, timeline.now())
        if stopped:
            print(f"stopped after {report.pairings} of {arguments.pairings} pairings")
    finally:
        if arguments.timeline is not None:
            arguments.timeline.write_text("\n".join(timeline.between(0, timeline.now())) + "\n")
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if good and not stopped else 1


if __name__ == "__main__":
    sys.exit(main())
