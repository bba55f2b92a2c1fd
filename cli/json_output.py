"""The option --json of every command, and the one form of what it prints: one object per line."""

import json

import click

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")


def print_json(value: object) -> None:
    """Write one object on one line, and flush it: scripts read each line as it comes."""
    click.echo(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
