"""`sdnode status`: the node's name, readiness, addresses, reachability, sessions."""

from typing import TYPE_CHECKING

import click

from . import exit_codes
from .choose_node import choose_control, node_options
from .click_commands import Command
from .json_output import json_option, print_json
from .output import printable, write_line

if TYPE_CHECKING:
    from ..messages.control_protocol import NodeStatus


@click.command(cls=Command)
@node_options
@json_option
def status(data_dir: str | None, control: str | None, as_json: bool) -> int:
    """Show addresses, reachability and sessions of the node.

    Exit codes: 0 ready, 8 running but not ready, 7 no node, 2 usage.
    """
    from ..client.one_shot import call
    from ..messages.control_protocol import NodeStatus, Status

    found = call(choose_control(data_dir, control), NodeStatus, Status)
    if as_json:
        print_json(status_object(found))
    else:
        for line in status_lines(found):
            write_line(printable(line))
    return exit_codes.OK if found.ready else exit_codes.NOT_READY


def status_object(found: "NodeStatus") -> dict[str, object]:
    """Return the status as scripts read it (docs/interfaces.md, "sdnode devices, status, actors, demo")."""
    return {
        "name": found.name,
        "peer_id": _peer_text(found.peer),
        "version": found.version,
        "addresses": list(found.addresses),
        "reachability": found.reachability,
        "reachability_means": _meaning(found.reachability),
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
        ("peer id", _peer_text(found.peer)),
        *((("addresses" if index == 0 else ""), address) for index, address in enumerate(found.addresses)),
        ("reachability", ": ".join(filter(None, (found.reachability, _meaning(found.reachability))))),
        ("dht", f"{found.dht_mode}, {found.dht_peers} peers"),
        ("sessions", f"{found.sessions_active} of at most {found.sessions_limit}"),
        ("version", found.version),
    ]
    return [f"{left:<14}{right}" for left, right in rows]


def _meaning(reachability: str) -> str:
    """Return what follows from it, as a sentence; empty while the node does not say it."""
    from ..messages.reachability_texts import REACHABILITY_TEXTS

    return {str(key): text for key, text in REACHABILITY_TEXTS.items()}.get(reachability, "")


def _peer_text(peer: bytes) -> str:
    """Return a peer id as text; empty while the node does not know its own."""
    from ..protocol.peer_ids import peer_id_text

    return peer_id_text(peer) if peer else ""
