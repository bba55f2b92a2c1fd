"""Every metric of the node: its type, labels, meaning, and who may report it.

Implements docs/interfaces.md, "Metrics". Owns what may appear on /metrics: a report that does not fit this
table is ignored. The values of a label come from a closed list where there is one, and are short plain words
otherwise; never peer ids, codes or names of devices.
"""

import re
from dataclasses import dataclass
from typing import Literal, get_args

from ...messages.to_metrics import MetricName
from ...messages.types import ConnectionKind, Finder, Outcome, Role, Stage

PREFIX = "spacedrive_node_"

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `sessions`: session processes, which parse the bytes of strangers, may report it."""

    name: MetricName
    kind: Kind
    labels: tuple[str, ...]
    help: str
    sessions: bool = False


CATALOGUE: tuple[Metric, ...] = (
    Metric(
        "pairing_sessions_total", "counter", ("role", "outcome"), "Pairing sessions that have ended.", True
    ),
    Metric("pairing_sessions_active", "gauge", ("role",), "Pairing sessions that are running.", True),
    Metric(
        "pairing_duration_seconds",
        "histogram",
        ("role", "outcome"),
        "Time from the start of a pairing session to its end.",
        True,
    ),
    Metric(
        "pairing_stage_seconds",
        "histogram",
        ("role", "stage"),
        "Time that pairing sessions spent in each stage.",
        True,
    ),
    Metric(
        "pairing_refusals_total", "counter", ("reason",), "Frames of peers that were answered Refused.", True
    ),
    Metric("actor_up", "gauge", ("actor",), "Processes that run, by kind of actor."),
    Metric("actor_restarts_total", "counter", ("actor", "reason"), "Restarts of actors."),
    Metric("actor_memory_bytes", "gauge", ("actor",), "Private memory, by kind of actor."),
    Metric("actor_mailbox_depth", "gauge", ("actor",), "Messages that wait for an actor, by its kind."),
    Metric("dht_query_seconds", "histogram", ("operation", "outcome"), "Duration of Kademlia operations."),
    Metric("dht_routing_table_peers", "gauge", (), "Peers in the Kademlia routing table."),
    Metric(
        "discovery_first_candidate_seconds",
        "histogram",
        ("finder",),
        "Time from the start of a search to a finder's first candidate.",
    ),
    Metric("connections", "gauge", ("direction", "transport", "path"), "Open libp2p connections."),
    Metric("handshake_seconds", "histogram", ("transport", "outcome"), "Duration of connection handshakes."),
    Metric("hole_punch_total", "counter", ("outcome",), "Attempts to punch a hole through NATs."),
    Metric("relay_circuits", "gauge", ("state",), "Relayed circuits."),
)

BY_NAME: dict[str, Metric] = {metric.name: metric for metric in CATALOGUE}

_CLOSED_LABELS: dict[str, frozenset[str]] = {
    "role": frozenset(get_args(Role)),
    "stage": frozenset(get_args(Stage)),
    "finder": frozenset(get_args(Finder)),
    "path": frozenset(get_args(ConnectionKind)),
}
_PAIRING_OUTCOMES = frozenset(get_args(Outcome))
_LABEL_VALUE = re.compile(r"[a-z][a-z0-9_.\-]{0,31}", re.ASCII)


def may_report(name: str, kind: Kind, labels: tuple[str, ...], sender_kind: str) -> bool:
    """Return whether an actor of this kind may report a value of this metric with these label values."""
    metric = BY_NAME.get(name)
    if metric is None or metric.kind != kind or len(metric.labels) != len(labels):
        return False
    if sender_kind == "session" and not metric.sessions:
        return False
    for label, value in zip(metric.labels, labels, strict=True):
        closed = _CLOSED_LABELS.get(label)
        if label == "outcome" and name.startswith("pairing_"):
            closed = _PAIRING_OUTCOMES
        if closed is not None and value not in closed:
            return False
        if not _LABEL_VALUE.fullmatch(value):
            return False
    return True
