"""`sdnode status`: readiness, addresses and listeners, mDNS, reachability, and what follows from them."""

from typing import TYPE_CHECKING

import click

from . import exit_codes
from .choose_node import choose_control, node_options
from .click_commands import Command
from .json_output import json_option, print_json
from .output import write_line

if TYPE_CHECKING:
    from ..messages.control_protocol import NodeStatus
    from ..messages.from_supervisor import SandboxGap

SANDBOX_ADVICE = 'docs/operations.md, "In a container", says what each step takes'


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
        from .tables import print_fields, print_text

        print_fields(status_fields(found))
        write_line("")
        print_text(who_can_pair(found))
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
        "listening": listening(found),
        "mdns": {"state": found.mdns, "interfaces": found.mdns_interfaces},
        "lan_only": found.lan_only,
        "offline": found.offline,
        "who_can_pair": who_can_pair(found),
        "ready": found.ready,
        "missing": list(found.missing),
        "sandbox_gaps": [
            {"step": gap.step, "why": gap.why, "actors": list(gap.actors), "is_made_good": gap.is_made_good}
            for gap in found.sandbox_gaps
        ],
    }


def status_fields(found: "NodeStatus") -> list[tuple[str, list[str]]]:
    """Return the status as people read it: labels, and what stands beside them."""
    state = "ready" if found.ready else "not ready: " + ", ".join(found.missing or ("starting",))
    reachability = ": ".join(filter(None, (found.reachability, _meaning(found.reachability))))
    return [
        ("name", [found.name]),
        ("state", [state]),
        ("peer id", [_peer_text(found.peer)]),
        *([("addresses", list(found.addresses))] if found.addresses else []),
        *((f"on {transport}", [", ".join(texts)]) for transport, texts in listening(found).items()),
        ("mdns", [_mdns_text(found)]),
        ("reachability", [reachability]),
        *([("network", ["off (--offline)"])] if found.offline else []),
        *([("network", ["local only (--lan-only)"])] if found.lan_only else []),
        ("dht", [f"{found.dht_mode}, {found.dht_peers} peer{'' if found.dht_peers == 1 else 's'}"]),
        ("sessions", [f"{found.sessions_active} of at most {found.sessions_limit}"]),
        ("version", [found.version]),
        *([("sandbox", _sandbox_lines(found))] if found.sandbox_gaps else []),
    ]


def sandbox_text(gap: "SandboxGap") -> str:
    """Return, in a sentence, who runs without what, and whether something else does the same."""
    made_good = "; other steps forbid them the same" if gap.is_made_good else ""
    return f"{', '.join(gap.actors)} without {gap.step}: {gap.why}{made_good}"


def _sandbox_lines(found: "NodeStatus") -> list[str]:
    texts = [sandbox_text(gap) for gap in sorted(found.sandbox_gaps, key=lambda gap: gap.is_made_good)]
    return [*texts, f"what to do: {SANDBOX_ADVICE}"]


def listening(found: "NodeStatus") -> dict[str, list[str]]:
    """Return where the node listens, by transport."""
    from ..protocol.multiaddrs import parse

    by_transport: dict[str, list[str]] = {}
    for text in found.listening:
        by_transport.setdefault(parse(text).transport, []).append(text)
    return by_transport


def who_can_pair(found: "NodeStatus") -> str:
    """Return, in a sentence, what the state of the network means for pairing."""
    if found.offline:
        return "Only nodes on this host can pair with this one: it is offline."
    if {"vault", "swarm"} & set(found.missing):
        return "No device can pair with this one before it is ready."
    if found.reachability == "this host" and not _is_relayed(found):
        return "Only nodes on this host can reach this one: it listens on loopback alone."
    return f"{_nearby(found)}; {_elsewhere(found)}."


def _nearby(found: "NodeStatus") -> str:
    if found.mdns == "off":
        return "Devices on the local network need a DHT server there or the QR code, since mDNS is off"
    if found.mdns != "idle" and found.mdns_interfaces == 0:
        return "Devices on the local network need the QR code, since no interface multicasts now"
    return "Devices on the local network can pair with this one by words alone"


def _elsewhere(found: "NodeStatus") -> str:
    if found.lan_only:
        return "all others are kept out by --lan-only"
    if found.dht_peers == 0:
        return "others need the QR code, since no DHT server is connected (--bootstrap or --public)"
    if found.reachability == "public":
        return "others can by words alone, through the DHT"
    if _is_relayed(found):
        return "others can by words alone, through the DHT and a relay"
    return (
        "others can only if they show the code and are reachable or have a relay, "
        "since it is not known that this one is"
    )


def _is_relayed(found: "NodeStatus") -> bool:
    """Return whether others reach this node through a relay."""
    return any("/p2p-circuit" in address for address in found.addresses)


def _mdns_text(found: "NodeStatus") -> str:
    if found.mdns == "off":
        return "off"
    if found.mdns == "idle":
        return "silent until a code is shown or entered"
    what = "announcing and browsing" if found.mdns == "both" else found.mdns
    return f"{what} on {found.mdns_interfaces} interface{'' if found.mdns_interfaces == 1 else 's'}"


def _meaning(reachability: str) -> str:
    """Return what follows from it, as a sentence; empty while the node does not say it."""
    from ..messages.reachability_texts import REACHABILITY_TEXTS

    return {str(key): text for key, text in REACHABILITY_TEXTS.items()}.get(reachability, "")


def _peer_text(peer: bytes) -> str:
    """Return a peer id as text; empty while the node does not know its own."""
    from ..protocol.peer_ids import peer_id_text

    return peer_id_text(peer) if peer else ""
