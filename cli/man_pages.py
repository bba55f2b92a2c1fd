"""The manual pages, written at build time from the commands themselves: `make man`, into dist/man/.

One page for each command, so that what a page says of options and exit codes is what the command has.
Owns their form (man(7)) and the few sections of sdnode(1) that no command has. Nothing at run time needs it.
"""

import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from .. import __version__
from ..config.settings import SETTINGS
from .main import COMMANDS, cli

_EXIT_CODES = {
    "0": "Success: paired, ready, nothing to mend.",
    "1": "An internal error, or an output that cannot be written.",
    "2": "Usage: an option, a setting or words that cannot be a code; several nodes to choose from.",
    "3": "The device that shows the words was not found.",
    "4": "A wrong code, or one that has expired.",
    "5": "One of the users did not accept.",
    "6": "Contact was lost, or the node cannot do it at present; it may work later.",
    "7": "No node is running.",
    "8": "Of status: the node runs and is not ready.",
    "9": "Of doctor: a problem was found.",
    "130": "Interrupted.",
}
_VARIABLES = {
    "SDNODE_DATA_DIR": "Data directory of the node, for every command.",
    "SDNODE_CONTROL": "Control socket of the node, for every command; counts before SDNODE_DATA_DIR.",
    "SDNODE_CONFIG": "TOML file with settings, as with sdnode up --config.",
    "SDNODE_DEBUG": "If set, as with --debug: details of an unexpected error.",
    "XDG_RUNTIME_DIR": "Where control sockets are, in spacedrive-node/; without it in /tmp.",
    "XDG_DATA_HOME": "Where the data directory is unless it is named, in spacedrive-node/.",
}
_EXAMPLES = (
    ("Run a node:", "sdnode up"),
    ("Show words for another device, and enter them there:", "sdnode pair\nsdnode join"),
    ("See which devices can pair with this one, and what is wrong:", "sdnode status\nsdnode doctor"),
)


def pages() -> dict[str, str]:
    """Return the text of each page by its name, as `sdnode-devices-rename.1`."""
    context = click.Context(cli, info_name="sdnode", **cli.context_settings)
    return {_file_name(one): "\n".join(_page(one)) + "\n" for one in _contexts(context)}


def _contexts(context: click.Context) -> Iterator[click.Context]:
    """Yield the context of a command and of all below it."""
    yield context
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            assert command is not None
            if not command.hidden:
                yield from _contexts(click.Context(command, info_name=name, parent=context))


def _file_name(context: click.Context) -> str:
    return context.command_path.replace(" ", "-") + ".1"


def _page(context: click.Context) -> Iterator[str]:
    command = context.command
    name = context.command_path.replace(" ", "-")
    # Not \s: of the control characters, \b begins what click leaves as it is.
    summary, *paragraphs = (text.strip(" \n") for text in re.split(r"\n *\n", command.help or ""))
    exit_codes = [text for text in paragraphs if text.startswith("Exit codes:")]
    date = time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))))
    yield f'.TH {name.upper()} 1 {date} "sdnode {__version__}" "User Commands"'
    yield ".SH NAME"
    yield f"{_escaped(name)} \\- {_escaped(_short_text(context, summary))}"
    yield ".SH SYNOPSIS"
    yield f"\\fB{_escaped(context.command_path)}\\fR " + " ".join(
        f"\\fI{_escaped(piece)}\\fR" for piece in command.collect_usage_pieces(context)
    )
    yield ".SH DESCRIPTION"
    yield from _paragraphs([summary, *(text for text in paragraphs if text not in exit_codes)])
    if command.epilog:
        yield ".PP"
        yield _escaped(command.epilog)
    yield from _options(context)
    yield from _commands(context)
    if context.parent is None:
        yield from _table("EXIT STATUS", _EXIT_CODES)
        yield from _table("ENVIRONMENT", _VARIABLES)
        yield from _examples()
    elif exit_codes:
        yield ".SH EXIT STATUS"
        yield from _paragraphs([exit_codes[0].removeprefix("Exit codes:").strip() + "\n"])
    if name == "sdnode-up":
        yield from _table(
            "ENVIRONMENT", {one.variable: f"The same as {one.flag}." for one in SETTINGS.values()}
        )
    yield from _see_also(context)


def _short_text(context: click.Context, summary: str) -> str:
    """Return what a command does, as the list of all commands has it, else as its help begins."""
    listed = context.parent is not None and context.parent.parent is None
    text = COMMANDS[context.info_name or ""][2] if listed else " ".join(summary.split())
    return text.rstrip(".")


def _paragraphs(texts: list[str]) -> Iterator[str]:
    for place, text in enumerate(texts):
        if place:
            yield ".PP"
        if text.startswith("\b"):
            yield from _literal(text.removeprefix("\b").strip("\n"))
        else:
            yield _escaped(" ".join(text.split()))


def _literal(text: str) -> Iterator[str]:
    yield ".nf"
    yield from (_escaped(line.strip()) for line in text.split("\n"))
    yield ".fi"


def _options(context: click.Context) -> Iterator[str]:
    records = [
        record
        for param in context.command.get_params(context)
        if (record := param.get_help_record(context)) is not None and record[1]
    ]
    yield ".SH OPTIONS"
    for names, text in records:
        yield ".TP"
        yield re.sub(r"\S+", lambda word: _marked(word[0]), names)
        yield _escaped(text)


def _marked(word: str) -> str:
    """Return an option in bold, or the name of its value in italics."""
    font = "B" if word.startswith("-") else "I"
    return f"\\f{font}{_escaped(word)}\\fR"


def _commands(context: click.Context) -> Iterator[str]:
    below = [one for one in _contexts(context) if one.parent is context]
    if below:
        yield ".SH COMMANDS"
    for one in below:
        yield ".TP"
        yield f"\\fB{_escaped(one.command_path)}\\fR"
        yield _escaped(_short_text(one, one.command.get_short_help_str(200))) + "."


def _table(title: str, rows: Mapping[str, str]) -> Iterator[str]:
    yield f".SH {title}"
    for left, right in rows.items():
        yield ".TP"
        yield f"\\fB{_escaped(left)}\\fR"
        yield _escaped(right)


def _examples() -> Iterator[str]:
    yield ".SH EXAMPLES"
    for place, (text, lines) in enumerate(_EXAMPLES):
        if place:
            yield ".PP"
        yield _escaped(text)
        yield ".PP"
        yield ".RS 4"
        yield from _literal(lines)
        yield ".RE"


def _see_also(context: click.Context) -> Iterator[str]:
    above = [] if context.parent is None else [context.parent]
    near = [*above, *(one for one in _contexts(context) if one.parent is context)]
    if near:
        names = [f"\\fB{_escaped(one.command_path.replace(' ', '-'))}\\fR(1)" for one in near]
        yield ".SH SEE ALSO"
        yield ",\n".join(names)


def _escaped(text: str) -> str:
    """Return a text that roff shows as it is: no request, no escape, and a hyphen that can be copied."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = "".join(char if char.isascii() else f"\\[u{ord(char):04X}]" for char in text)
    return f"\\&{text}" if text.startswith((".", "'")) else text


def write_pages(directory: Path) -> None:
    """Write all pages into a directory, in place of those that are there. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.glob("sdnode*.1"):
        old.unlink()
    for name, text in pages().items():
        (directory / name).write_text(text)


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
