"""`sdnode demo`: two real nodes on this machine pair before your eyes, and nothing stays behind.

Owns the options and signals. The course of the demo is demo_run.py's, its nodes are demo_nodes.py's, what is
shown is demo_view.py's.
"""

import os
import signal
from typing import TYPE_CHECKING

import click

from . import exit_codes
from .click_commands import Command
from .json_output import json_option

if TYPE_CHECKING:
    import trio

    from .demo_view import DemoView


@click.command(cls=Command)
@json_option
@click.option(
    "--pairs",
    type=click.IntRange(1, 32),
    default=1,
    metavar="N",
    help="Pair one node with N others at once. [1]",
)
def demo(as_json: bool, pairs: int) -> int:
    """Pair two nodes on this machine before your eyes.

    The nodes run in temporary directories, the second knows the first as DHT bootstrap node only, and all are
    stopped and removed at the end.

    Exit codes: 0 all paired, 1 not, 130 interrupted.
    """
    import trio

    from .demo_view import JsonDemoView, TextDemoView

    return trio.run(_main, JsonDemoView() if as_json else TextDemoView(), pairs)


async def _main(view: "DemoView", pairs: int) -> int:
    """Run the demo; the first signal ends it in order, a second one at once."""
    import trio

    from .demo_run import run_demo

    scope = trio.CancelScope()
    interrupted = False

    async def watch(task_status: "trio.TaskStatus[None]") -> None:
        nonlocal interrupted
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # under nohup it is ignored, and stays so
            numbers.append(signal.SIGHUP)
        with trio.open_signal_receiver(*numbers) as signals:
            task_status.started()
            async for _ in signals:
                if interrupted:
                    os._exit(exit_codes.INTERRUPTED)  # the nodes end with it: they run with --lifeline
                interrupted = True
                scope.cancel()

    code = exit_codes.INTERRUPTED
    async with trio.open_nursery() as nursery:
        await nursery.start(watch)
        with scope:
            code = exit_codes.OK if await run_demo(view, pairs) else exit_codes.INTERNAL
        nursery.cancel_scope.cancel()
    return exit_codes.INTERRUPTED if interrupted else code
