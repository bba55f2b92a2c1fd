"""Which running node a command talks to: the one named, or the only one there is.

Owns the options --data-dir and --control of every command but `up`. Never starts a node. The register of
running nodes, and the variables that name one, are config/running_nodes.py's.
"""

import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from . import exit_codes
from .complete_values import directories, files
from .errors import CommandError

if TYPE_CHECKING:
    from pathlib import Path

    from ..client.node_client import NodeClient

F = TypeVar("F", bound=Callable[..., Any])


def node_options(command: F) -> F:
    """Add --data-dir and --control to a command."""
    command = click.option(
        "--control", metavar="PATH", shell_complete=files, help="Control socket of the node to talk to."
    )(command)
    return click.option(
        "--data-dir", metavar="DIR", shell_complete=directories, help="Data directory of the node to talk to."
    )(command)


def choose_control(data_dir: str | None, control: str | None) -> "Path":
    """Return the control socket of the node that is meant. A flag counts before any variable, as with `up`.

    Raises CommandError, NoNodeRunningError, SeveralNodesError, UnsafePathError.
    """
    from ..config.running_nodes import choose_node

    return choose_node(_read("--data-dir", data_dir), _read("--control", control))


def _read(name: str, value: str | None) -> str | None:
    """Return an absolute path; `~` is the home directory. Raises CommandError, UnsafePathError (exit 2)."""
    from ..config.paths import expand_user

    if value is None:
        return None
    if not value.strip():
        raise CommandError(f"{name} must not be empty", exit_codes.USAGE)
    return os.path.abspath(expand_user(value.strip()))


def connect(data_dir: str | None, control: str | None) -> "AbstractAsyncContextManager[NodeClient]":
    """Connect with the node that is meant, for more than one request. Raises as `choose_control` does."""
    from ..client.node_client import open_client

    return open_client(choose_control(data_dir, control))
