"""The command group: names and short descriptions of all commands, each imported only when it is run."""

from importlib import import_module

import click

from .. import __version__
from .click_commands import Group
from .output import terminal_columns

# name: (module, attribute, description). The descriptions are here so that --help imports no command.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "up": ("up", "up", "Run the node in the foreground."),
    "pair": ("pair_and_join", "pair", "Show twelve words for another device to enter."),
    "join": ("pair_and_join", "join", "Enter the twelve words that another device shows."),
    "devices": ("devices", "devices", "List, rename and forget trusted devices."),
    "status": ("status", "status", "Show addresses, reachability and sessions of the node."),
    "reload": ("reload", "reload_command", "Have the node read its configuration file again."),
    "actors": ("actors", "actors", "Show the node's processes, with restarts and memory."),
    "doctor": ("doctor", "doctor", "Look for what is wrong, and say what to do."),
    "demo": ("demo", "demo", "Pair two nodes on this machine before your eyes."),
    "completion": ("completion", "completion", "Print the completion script of a shell."),
    "help": ("help_and_version", "help_command", "Show this, or the help of a command."),
    "version": ("help_and_version", "version", "Show the version."),
}


class _LazyGroup(Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(import_module(f".{module}", __package__), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


def _help_columns() -> int | None:
    """Return the width of help on a narrow terminal: click alone would take no fewer than 50 columns."""
    columns = terminal_columns()
    return None if columns is None or columns >= 52 else max(columns - 2, 20)


@click.group(
    cls=_LazyGroup,
    invoke_without_command=True,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "terminal_width": _help_columns(),
    },
    epilog="Every command but help and completion takes --json (one object per line), and every one --debug "
    "(details of an unexpected error).",
)
@click.version_option(__version__, prog_name="sdnode", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Two devices find each other with twelve words and trust each other from then on."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
