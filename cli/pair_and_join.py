"""`sdnode pair` and `sdnode join`: their options, and the choice of the view.

What happens then is follow_pairing.py's; the words of `join` are read by read_words.py.
"""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from . import exit_codes
from .accept_rules import Rule, RuleType, check_rules
from .choose_node import choose_control, connect, node_options
from .click_commands import Command, FiniteRange
from .complete_values import files, one_of
from .core_dumps import forbid_core_dumps
from .errors import CommandError
from .json_output import json_option
from .output import stdout_is_closed

if TYPE_CHECKING:
    from .follow_pairing import PairingStarter
    from .views import View


def _pairing_options(command: Callable[..., int]) -> Callable[..., int]:
    command = click.option("--check", is_flag=True, help="Show six digits to compare on both devices.")(
        command
    )
    command = click.option(
        "--accept",
        "rules",
        type=RuleType(),
        multiple=True,
        metavar="RULE",
        shell_complete=one_of("any", "name=", "id=", "peer="),
        help="Accept a device that fits, and no other: any, name=, id= or peer=; may be repeated.",
    )(command)
    command = click.option("--yes", is_flag=True, help="Accept whatever device knows the words.")(command)
    return json_option(node_options(command))


@click.command(cls=Command)
@click.option("--once", is_flag=True, help="Show one code and end with it, as it does anyway; for scripts.")
@_pairing_options
def pair(
    data_dir: str | None,
    control: str | None,
    as_json: bool,
    yes: bool,
    rules: tuple[Rule, ...],
    check: bool,
    once: bool,
) -> int:
    """Show twelve words for another device to enter.

    Asks before the device is trusted; with --json the answer, y or n, is a line on standard input. Where
    nobody answers, --accept says which device is trusted; every other is declined.

    Exit codes: 0 paired, 1 no output, 2 usage, 4 expired, 5 rejected, 6 lost, crashed or busy, 7 no node,
    130 interrupted.
    """
    accepted = check_rules(rules, yes=yes, check=check)
    if stdout_is_closed():
        raise CommandError(
            "standard output is closed, so nobody would see the words; nothing was started",
            exit_codes.INTERNAL,
        )
    forbid_core_dumps()
    return _run_pairing(
        lambda client: client.start_pairing(),
        data_dir=data_dir,
        control=control,
        as_json=as_json,
        rules=accepted,
        check=check,
    )


@click.command(cls=Command)
@click.argument("words", nargs=-1)
@click.option(
    "--timeout", type=FiniteRange(1, 3600), default=60.0, metavar="SECONDS", help="Search so long. [60]"
)
@click.option(
    "--words-file", metavar="FILE", shell_complete=files, help="Read the words, or QR text, from this file."
)
@click.option(
    "--words-fd", type=click.IntRange(0, 65535), metavar="N", help="Read them from this descriptor."
)
@_pairing_options
def join(
    words: tuple[str, ...],
    timeout: float,
    words_file: str | None,
    words_fd: int | None,
    data_dir: str | None,
    control: str | None,
    as_json: bool,
    yes: bool,
    rules: tuple[Rule, ...],
    check: bool,
) -> int:
    """Enter the words that another device shows: as WORDS, the text of its QR code, or - for standard input.

    Without WORDS it asks for them, which is best where others use the machine: until they are hidden, all of
    its users can see arguments. Asks before the device is trusted; with --json the answer, y or n, is a
    line on standard input. Where nobody answers, --accept says which device is trusted; every other is
    declined.

    Exit codes: 0 paired, 2 usage or words that cannot be a code, 3 not found, 4 wrong code or expired,
    5 rejected, 6 lost, crashed or busy, 7 no node, 130 interrupted.
    """
    accepted = check_rules(rules, yes=yes, check=check)
    forbid_core_dumps()
    from .read_words import read_code_source, read_code_text

    if words_file is not None or words_fd is not None:
        text = read_code_source(words, words_file, words_fd)
    else:
        if words in ((), ("-",)) and sys.stdin.isatty():
            choose_control(data_dir, control)  # raises if no node runs: nobody types twelve words for nothing
        text = read_code_text(words, interactive=not as_json and sys.stdin.isatty())
    return _run_pairing(
        lambda client: client.join_pairing(text, timeout),
        data_dir=data_dir,
        control=control,
        as_json=as_json,
        rules=accepted,
        check=check,
        search=timeout,
    )


def _run_pairing(
    start: "PairingStarter",
    *,
    data_dir: str | None,
    control: str | None,
    as_json: bool,
    rules: tuple[Rule, ...] | None,
    check: bool,
    search: float | None = None,
) -> int:
    import trio

    from .follow_pairing import Follower
    from .steady_view import SteadyView

    view = SteadyView(_choose_view(as_json, search))

    async def main() -> int:
        async with connect(data_dir, control) as client:
            client.watch_connection(view.connection_changed)
            return await Follower(client, view, rules=rules, check=check, script=as_json).run(start)

    try:
        return trio.run(main)
    finally:
        view.close()


def _choose_view(as_json: bool, search: float | None) -> "View":
    from . import views

    if as_json:
        return views.JsonView()
    if not sys.stdout.isatty():
        return views.PlainView()
    from .rich_view import RichView

    view = RichView()
    if search is not None:
        view.start_countdown(search)
    return view
