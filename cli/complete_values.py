"""What the shell may offer for an option or argument: files, directories, fixed values, ids of devices.

Functions as click wants them for `shell_complete`. Owns how long a running node is waited for. Never prints
anything and never raises: somebody is in the middle of typing a line.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Completer = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]

_NODE_TIMEOUT_S = 1.0
_SHORT_ID_DIGITS = 12


def directories(ctx: click.Context, param: click.Parameter, typed: str) -> "list[CompletionItem]":
    """Have the shell offer directories."""
    return [_item(typed, type="dir")]


def files(ctx: click.Context, param: click.Parameter, typed: str) -> "list[CompletionItem]":
    """Have the shell offer files."""
    return [_item(typed, type="file")]


def one_of(*values: str) -> Completer:
    """Return a function that offers these values."""

    def complete(ctx: click.Context, param: click.Parameter, typed: str) -> "list[CompletionItem]":
        return [_item(value) for value in values if value.startswith(typed)]

    return complete


def device_ids(ctx: click.Context, param: click.Parameter, typed: str) -> "list[CompletionItem]":
    """Offer the ids of the devices whose id or name begins so, as the node knows them that would be asked.

    None if no node answers in time, or several run and none is named.
    """
    from .choose_node import choose_control
    from .devices import fetch_devices
    from .output import printable

    try:
        node = choose_control(_given(ctx, "data_dir"), _given(ctx, "control"))
        known = fetch_devices(node, _NODE_TIMEOUT_S)
    except Exception:  # any: whatever is wrong, it is said when the command is run
        return []
    wanted = typed.casefold()
    found = []
    for device in known:
        full = device.device_id.hex()
        if full.startswith(wanted) or device.name.casefold().startswith(wanted):
            shown = full if len(wanted) > _SHORT_ID_DIGITS else full[:_SHORT_ID_DIGITS]
            found.append(_item(shown, help=printable(device.name)))
    return found


def command_names(ctx: click.Context, param: click.Parameter, typed: str) -> "list[CompletionItem]":
    """Offer the commands of which `sdnode help` tells."""
    assert ctx.parent is not None
    group = ctx.parent.command
    for name in ctx.params.get("command") or ():
        if isinstance(group, click.Group):
            group = group.get_command(ctx, name) or group
    names = group.list_commands(ctx) if isinstance(group, click.Group) else []
    return [_item(name) for name in names if name.startswith(typed)]


def _item(value: str, **details: str) -> "CompletionItem":
    from click.shell_completion import CompletionItem  # no command but one that completes needs it

    return CompletionItem(value, **details)


def _given(ctx: click.Context, name: str) -> str | None:
    """Return the value of an option, given to this command or to the group in which it is."""
    for context in (ctx, ctx.parent):
        if context is not None and (value := context.params.get(name)):
            return str(value)
    return None
