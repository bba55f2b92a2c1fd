"""`sdnode help` and `sdnode version`: what --help and --version show, for who looks for a command."""

import click

from .. import __version__
from . import exit_codes
from .click_commands import Command, Group
from .complete_values import command_names
from .json_output import json_option, print_json
from .output import write_line


@click.command("help", cls=Command)
@click.argument("command", nargs=-1, shell_complete=command_names)
@click.pass_context
def help_command(ctx: click.Context, command: tuple[str, ...]) -> int:
    """Show the help of sdnode, or of a COMMAND."""
    shown = ctx.parent
    assert shown is not None
    for name in command:
        if not isinstance(shown.command, Group):
            raise click.UsageError(f"{shown.command_path} has no further commands", shown)
        found, known, _ = shown.command.resolve_command(shown, [name])
        if known is None:
            raise click.UsageError("no such command", shown)
        shown = click.Context(known, info_name=found, parent=shown)
    write_line(shown.get_help())
    return exit_codes.OK


@click.command(cls=Command)
@json_option
def version(as_json: bool) -> int:
    """Show the version of sdnode."""
    if as_json:
        print_json({"version": __version__})
    else:
        write_line(f"sdnode {__version__}")
    return exit_codes.OK
