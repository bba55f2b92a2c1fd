"""`sdnode status` and `sdnode actors`: how the node is, and which processes it is made of."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from . import exit_codes
from .choose_node import chosen, json_option, node_options, print_json
from .click_commands import Command

if TYPE_CHECKING:
    from ..messages.control_protocol import NodeStatus
    from ..messages.to_gateway import ActorInfo


@click.command(cls=Command)
@node_options
@json_option
def status(data_dir: str | None, control: str | None, as_json: bool) -> int:
    """Show addresses, reachability and sessions of the node."""
    from ..client.one_shot import ask
    from ..messages.control_protocol import NodeStatus, Status

    found = ask(chosen(data_dir, control), NodeStatus, Status)
    if as_json:
        print_json(status_object(found))
    else:
        for line in status_lines(found):
            click.echo(line)
    return exit_codes.OK


def status_object(found: "NodeStatus") -> dict[str, object]:
    """Return the status as scripts read it."""
    return {
        "name": found.name,
        "peer_id": _peer(found.peer),
        "version": found.version,
        "addresses": list(found.addresses),
        "reachability": found.reachability,
        "dht": {"mode": found.dht_mode, "peers": found.dht_peers},
        "sessions": {"active": found.sessions_active, "limit": found.sessions_limit},
        "ready": found.ready,
        "missing": list(found.missing),
    }


def status_lines(found: "NodeStatus") -> list[str]:
    """Return the status as people read it."""
    rows = [
        ("name", found.name),
        ("state", "ready" if found.ready else "not ready: " + ", ".join(found.missing or ("starting",))),
        ("peer id", _peer(found.peer)),
        *((("addresses" if index == 0 else ""), address) for index, address in enumerate(found.addresses)),
        ("reachability", found.reachability),
        ("dht", f"{found.dht_mode}, {found.dht_peers} peers"),
        ("sessions", f"{found.sessions_active} of at most {found.sessions_limit}"),
        ("version", found.version),
    ]
    return [f"{left:<14}{right}" for left, right in rows]


def _peer(peer: bytes) -> str:
    from ..protocol.peer_ids import peer_id_text

    return peer_id_text(peer) if peer else ""


@click.command(cls=Command)
@node_options
@json_option
def actors(data_dir: str | None, control: str | None, as_json: bool) -> int:
    """Show the node's processes, with restarts and memory."""
    from ..client.one_shot import ask
    from ..messages.control_protocol import ActorList, ListActors

    found = ask(chosen(data_dir, control), ActorList, ListActors).actors
    if as_json:
        for actor in found:
            print_json(actor_object(actor))
    else:
        from .tables import print_table

        print_table(ACTOR_HEADER, actor_rows(found), right=ACTOR_HEADER[1:2] + ACTOR_HEADER[3:])
    return exit_codes.OK


ACTOR_HEADER = ("actor", "pid", "state", "restarts", "up", "mailbox", "resident", "private")


def actor_rows(found: "Sequence[ActorInfo]") -> list[tuple[str, ...]]:
    """Return the tree as rows, those forked by the zygote below it."""
    from .tables import size, span

    depth = {"supervisor": 0, "zygote": 1}
    return [
        (
            "  " * depth.get(actor.actor, 2) + actor.actor,
            str(actor.pid),
            actor.state,
            str(actor.restarts),
            span(actor.uptime_seconds),
            str(actor.mailbox),
            size(actor.rss_bytes),
            size(actor.private_bytes),
        )
        for actor in found
    ]


def actor_object(actor: "ActorInfo") -> dict[str, object]:
    """Return one process as scripts read it."""
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
