"""Which running node a command talks to: the one named, or the only one there is.

Owns the options --data-dir and --control of every command but `up`. Never starts a node.
"""

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from pathlib import Path

    from ..client.node_client import NodeClient

F = TypeVar("F", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")


def node_options(command: F) -> F:
    """Add --data-dir and --control."""
    command = click.option(
        "--control", metavar="PATH", envvar="SDNODE_CONTROL", help="Control socket of the node to talk to."
    )(command)
    return click.option(
        "--data-dir", metavar="DIR", envvar="SDNODE_DATA_DIR", help="Data directory of the node to talk to."
    )(command)


def chosen(data_dir: str | None, control: str | None) -> "Path":
    """Return the control socket of the node that is meant.

    Raises NoNodeRunningError, SeveralNodesError, UnsafePathError.
    """
    from ..config.paths import choose_node

    return choose_node(data_dir, control)


def connect(data_dir: str | None, control: str | None) -> "AbstractAsyncContextManager[NodeClient]":
    """Connect with the node that is meant, for longer than one question. Raises as `chosen`."""
    from ..client.node_client import open_client

    return open_client(chosen(data_dir, control))


def print_json(value: object) -> None:
    """Write one object on one line, at once."""
    click.echo(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
