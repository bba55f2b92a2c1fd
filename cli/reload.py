"""`sdnode reload`: have the running node read its settings again, and say what has come of it.

Asks again with the same key until the reload is over, which has no effect of its own, and says meanwhile
which actor's turn it is. Owns the words and exit codes; what is reloaded is the node's.
"""

import os
from typing import TYPE_CHECKING

import click

from . import exit_codes
from .choose_node import choose_control, node_options
from .click_commands import Command
from .json_output import json_option, print_json

if TYPE_CHECKING:
    from ..messages.to_gateway import ReloadReport, SettingChange

_CODES = {"refused": exit_codes.USAGE, "undone": exit_codes.LOST}


@click.command("reload", cls=Command)
@node_options
@click.option("--check", is_flag=True, help="Only say what would change.")
@json_option
def reload_command(data_dir: str | None, control: str | None, check: bool, as_json: bool) -> int:
    """Have the node read its configuration file again, without an interruption of pairings.

    All of it takes effect, or nothing.

    Exit codes: 0 it has, or nothing has changed; 2 it is refused, as at a start; 6 the node could not work
    with it, and has its former settings again.
    """
    from ..client.one_shot import call
    from ..messages.control_protocol import Reload, Reloaded
    from .errors import print_to_stderr
    from .tables import print_text

    node, key = choose_control(data_dir, control), os.urandom(16)
    turn = ""
    while (report := call(node, Reloaded, lambda id: Reload(id, key, check)).report).state == "running":
        if not as_json and report.actors and (now := report.actors[0]) != turn:
            turn = now
            print_to_stderr(f"{now} starts with the new settings ...")
    if as_json:
        print_json(report_object(report))
    else:
        for line in report_lines(report):
            print_text(line, "  ")
        for reason in report.reasons:
            print_to_stderr(reason)
    return _CODES.get(report.state, exit_codes.OK)


def report_object(report: "ReloadReport") -> dict[str, object]:
    """Return what a reload has come to as scripts read it (docs/interfaces.md, "sdnode reload")."""
    return {
        "event": "reload",
        "state": report.state,
        "changes": [_change_object(change) for change in report.changes],
        "actors": list(report.actors),
        "reasons": list(report.reasons),
    }


def _change_object(change: "SettingChange") -> dict[str, object]:
    return {
        "key": change.key,
        "former": change.former,
        "new": change.new,
        "needs_restart": change.needs_restart,
    }


def report_lines(report: "ReloadReport") -> list[str]:
    """Return the same as people read it: each setting on lines of its own, then what was done."""
    lines: list[str] = []
    for change in report.changes:
        lines += [change.key, f"  was  {change.former}", f"  now  {change.new}"]
    actors = ", ".join(report.actors) or "none"
    match report.state:
        case "unchanged":
            lines.append("nothing has changed")
        case "possible":
            lines += [
                "this can change while the node runs; nothing was done",
                f"actors to be started again: {actors}",
            ]
        case "applied":
            lines += ["changed", f"actors started again: {actors}"]
        case "refused":
            lines.append("refused; nothing was changed")
        case "undone":
            lines.append("the node cannot work so; the former settings are back")
    return lines
