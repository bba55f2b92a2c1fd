"""The option --json of every command, and the one form of what it prints: one object per line."""

import json
import sys

import click

from .output import commands_terminal, is_unicode, write_line

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")


def print_json(value: object) -> None:
    """Write one object on one line; what the locale cannot print is escaped as in JSON. Raises OSError."""
    write_line(json_line(value))


def json_line(value: object) -> str:
    """Return one object as one line, without its end; with what the locale cannot print escaped."""
    text = json.dumps(value, ensure_ascii=not is_unicode(sys.stdout), separators=(",", ":"))
    return "".join(_json_escape(char) if commands_terminal(char) else char for char in text)


def _json_escape(char: str) -> str:
    return f"\\u{ord(char):04x}"  # all of them are below U+10000
