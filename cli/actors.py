"""`sdnode actors`: the processes that the node consists of, with their restarts and memory."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from . import exit_codes
from .choose_node import choose_control, node_options
from .click_commands import Command
from .json_output import json_option, print_json

if TYPE_CHECKING:
    from pathlib import Path

    from ..messages.to_gateway import ActorInfo

ACTOR_HEADER = ("actor", "pid", "state", "restarts", "up", "mailbox", "resident", "private")


@click.command(cls=Command)
@node_options
@json_option
def actors(data_dir: str | None, control: str | None, as_json: bool) -> int:
    """Show the node's processes, with restarts and memory."""
    found = fetch_actors(choose_control(data_dir, control))
    if as_json:
        for actor in found:
            print_json(actor_object(actor))
    else:
        from .tables import print_table

        print_table(ACTOR_HEADER, actor_rows(found), right=ACTOR_HEADER[1:2] + ACTOR_HEADER[3:])
    return exit_codes.OK


def fetch_actors(node: "Path", timeout: float | None = None) -> "list[ActorInfo]":
    """Return all processes of a node, requested page after page; each page within `timeout`."""
    from ..client.one_shot import call
    from ..messages.control_protocol import ActorList, ListActors

    page = call(node, ActorList, ListActors, timeout)
    found = list(page.actors)
    while page.more is True and page.actors:
        last = page.actors[-1].actor
        page = call(node, ActorList, lambda id, last=last: ListActors(id, last), timeout)  # type: ignore[misc]
        found += page.actors
    return found


def actor_rows(found: "Sequence[ActorInfo]") -> list[tuple[str, ...]]:
    """Return a row of ACTOR_HEADER for each process, indented as a tree: the zygote forks all others."""
    from .tables import size_text, span_text

    depth = {"supervisor": 0, "zygote": 1}
    return [
        (
            "  " * depth.get(actor.actor, 2) + actor.actor,
            str(actor.pid),
            actor.state,
            str(actor.restarts),
            span_text(actor.uptime_seconds),
            str(actor.mailbox),
            size_text(actor.rss_bytes),
            size_text(actor.private_bytes),
        )
        for actor in found
    ]


def actor_object(actor: "ActorInfo") -> dict[str, object]:
    """Return one process as scripts read it (docs/interfaces.md, "sdnode devices, status, actors, demo")."""
    return {
        "actor": actor.actor,
        "pid": actor.pid,
        "state": actor.state,
        "restarts": actor.restarts,
        "uptime_seconds": round(actor.uptime_seconds, 3),
        "mailbox": actor.mailbox,
        "rss_bytes": actor.rss_bytes,
        "private_bytes": actor.private_bytes,
    }
