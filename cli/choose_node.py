"""Which running node a command talks to: the one named, or the only one there is.

Owns the options --data-dir and --control of every command but `up`. Never starts a node. The register of
running nodes is config/running_nodes.py's.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from pathlib import Path

    from ..client.node_client import NodeClient

F = TypeVar("F", bound=Callable[..., Any])


def node_options(command: F) -> F:
    """Add --data-dir and --control to a command."""
    command = click.option(
        "--control", metavar="PATH", envvar="SDNODE_CONTROL", help="Control socket of the node to talk to."
    )(command)
    return click.option(
        "--data-dir", metavar="DIR", envvar="SDNODE_DATA_DIR", help="Data directory of the node to talk to."
    )(command)


def choose_control(data_dir: str | None, control: str | None) -> "Path":
    """Return the control socket of the node that is meant.

    Raises NoNodeRunningError, SeveralNodesError, UnsafePathError.
    """
    from ..config.running_nodes import choose_node

    return choose_node(data_dir, control)


def connect(data_dir: str | None, control: str | None) -> "AbstractAsyncContextManager[NodeClient]":
    """Connect with the node that is meant, for more than one request. Raises as `choose_control` does."""
    from ..client.node_client import open_client

    return open_client(choose_control(data_dir, control))
