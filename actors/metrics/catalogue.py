"""Every metric of the node: its type, labels, meaning, and who may report it.

Implements docs/interfaces.md, "Metrics". Owns what may appear on /metrics: a report that does not fit this
table is ignored. The values of a label come from a closed list where there is one, and are short plain words
otherwise; never peer ids, codes or names of devices.
"""

import re
from dataclasses import dataclass
from itertools import product
from typing import Literal, get_args

from ...messages.peer_protocol import RefusalReason
from ...messages.to_metrics import (
    BUCKETS,
    ActorKind,
    CheckOutcome,
    CircuitEnd,
    DialBackOutcome,
    HolePunchOutcome,
    MdnsOutcome,
    MetricName,
    PortMappingState,
    RestartReason,
)
from ...messages.types import (
    ConnectionKind,
    DeviceState,
    Finder,
    Outcome,
    Reachability,
    Role,
    Stage,
    Transport,
)

PREFIX = "spacedrive_node_"

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `sessions`: session processes, which parse the bytes of strangers, may report it.

    `buckets` are the least and the greatest bound, in seconds, that a histogram shows.
    """

    name: MetricName
    kind: Kind
    labels: tuple[str, ...]
    help: str
    sessions: bool = False
    buckets: tuple[float, float] = (0.005, 300.0)

    @property
    def full_name(self) -> str:
        """The name on /metrics: those of the process have the names that every program gives them."""
        return self.name if self.name.startswith("process_") else PREFIX + self.name

    @property
    def unit(self) -> str:
        """The unit, where the name ends in one."""
        last = self.name.removesuffix("_total").rpartition("_")[2]
        return last if last in ("seconds", "bytes") else ""

    @property
    def bounds(self) -> tuple[tuple[int, str], ...]:
        """The buckets that are shown: index and upper bound as text."""
        low, high = self.buckets
        shown = [(index, str(bound)) for index, bound in enumerate(BUCKETS) if low <= bound <= high]
        return (*shown, (len(BUCKETS), "+Inf"))


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
        (0.1, 3600.0),
    ),
    Metric(
        "pairing_stage_seconds",
        "histogram",
        ("role", "stage"),
        "Time that pairing sessions spent in each stage.",
        True,
        (0.001, 3600.0),
    ),
    Metric(
        "pairing_refusals_total", "counter", ("reason",), "Frames of peers that were answered Refused.", True
    ),
    Metric("actor_up", "gauge", ("actor",), "Processes that run, by kind of actor."),
    Metric("actor_restarts_total", "counter", ("actor", "reason"), "Restarts of actors."),
    Metric("actor_memory_bytes", "gauge", ("actor",), "Private memory, by kind of actor."),
    Metric("actor_mailbox_depth", "gauge", ("actor",), "Messages that wait for an actor, by its kind."),
    Metric("actor_cpu_seconds_total", "counter", ("actor",), "Processor time used, by kind of actor."),
    Metric("sessions_limit", "gauge", (), "Pairing sessions that may run at once."),
    Metric("devices", "gauge", ("state",), "Devices that are stored, as the list of devices shows them."),
    Metric("process_cpu_seconds_total", "counter", (), "Processor time used by the supervisor."),
    Metric("process_resident_memory_bytes", "gauge", (), "Resident memory of the supervisor."),
    Metric("process_virtual_memory_bytes", "gauge", (), "Virtual memory of the supervisor."),
    Metric("process_start_time_seconds", "gauge", (), "When the supervisor started, in Unix time."),
    Metric("process_open_fds", "gauge", (), "Open file descriptors of the supervisor."),
    Metric("process_max_fds", "gauge", (), "File descriptors that the supervisor may open."),
    Metric(
        "dht_query_seconds",
        "histogram",
        ("operation", "outcome"),
        "Duration of Kademlia operations.",
        buckets=(0.0025, 120.0),
    ),
    Metric("dht_routing_table_peers", "gauge", (), "Peers in the Kademlia routing table."),
    Metric(
        "discovery_first_candidate_seconds",
        "histogram",
        ("finder",),
        "Time from the start of a search to a finder's first candidate.",
    ),
    Metric(
        "mdns_packets_total", "counter", ("outcome",), "Packets of mDNS that came, by what became of them."
    ),
    Metric("connections", "gauge", ("direction", "transport", "path"), "Open libp2p connections."),
    Metric(
        "handshake_seconds",
        "histogram",
        ("transport", "outcome"),
        "Duration of connection handshakes.",
        buckets=(0.001, 30.0),
    ),
    Metric("reachability", "gauge", ("state",), "1 for from where this node can be reached."),
    Metric(
        "reachability_checks_total",
        "counter",
        ("outcome",),
        "Checks of this node's addresses, and connections that proved one unasked.",
    ),
    Metric("dial_backs_total", "counter", ("outcome",), "Requests of peers to be dialled back."),
    Metric("port_mappings", "gauge", ("state",), "Ports that the gateway was asked to open."),
    Metric("hole_punch_total", "counter", ("outcome",), "Attempts to punch a hole through NATs."),
    Metric(
        "relay_reservations",
        "gauge",
        ("side",),
        "Reservations that are held at relays, or granted as a relay.",
    ),
    Metric("relay_circuits", "gauge", (), "Circuits that this node carries as a relay."),
    Metric(
        "relay_circuits_ended_total", "counter", ("end",), "Circuits that it was asked for, by their end."
    ),
    Metric("relay_bytes_total", "counter", (), "Bytes that it has relayed, in either direction."),
    Metric("udp_blocked", "gauge", (), "1 when UDP gets no answer on this network, where TCP does."),
)

BY_NAME: dict[str, Metric] = {metric.name: metric for metric in CATALOGUE}

_CLOSED_LABELS: dict[str, frozenset[str]] = {
    "role": frozenset(get_args(Role)),
    "stage": frozenset(get_args(Stage)),
    "finder": frozenset(get_args(Finder)),
    "path": frozenset(get_args(ConnectionKind)),
    "transport": frozenset(get_args(Transport)),
}
_REFUSAL_REASONS = frozenset(get_args(RefusalReason))
_PAIRING_OUTCOMES = frozenset(get_args(Outcome))
_DEVICE_STATES = frozenset(get_args(DeviceState))
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
        if name == "pairing_refusals_total":
            closed = _REFUSAL_REASONS
        if name == "devices":
            closed = _DEVICE_STATES
        if closed is not None and value not in closed:
            return False
        if not _LABEL_VALUE.fullmatch(value):
            return False
    return True


def _known_series() -> dict[str, tuple[tuple[str, ...], ...]]:
    roles, actors = get_args(Role), get_args(ActorKind)
    restarts = product((kind for kind in actors if kind != "supervisor"), get_args(RestartReason))
    return {
        "pairing_sessions_total": tuple(product(roles, get_args(Outcome))),
        "pairing_sessions_active": tuple(product(roles)),
        "pairing_duration_seconds": tuple(product(roles, get_args(Outcome))),
        "pairing_stage_seconds": tuple(
            (role, stage)
            for role, stage in product(roles, get_args(Stage))
            if stage not in _NOT_OF_ROLE[role]
        ),
        "pairing_refusals_total": tuple(product(get_args(RefusalReason))),
        "actor_up": tuple((kind,) for kind in actors if kind not in _NOT_IN_EVERY_NODE),
        "actor_restarts_total": tuple(labels for labels in restarts if labels != ("zygote", "zygote")),
        "actor_memory_bytes": tuple(product((*actors, "spare"))),
        "actor_mailbox_depth": tuple(product(kind for kind in actors if kind not in _WITHOUT_MAILBOX)),
        "actor_cpu_seconds_total": tuple(product((*actors, "spare"))),
        "devices": tuple(product(get_args(DeviceState))),
        "process_cpu_seconds_total": ((),),
        "dht_query_seconds": (
            *product(("find_providers",), ("found", "empty", "failed", "no_servers")),
            *product(("announce",), ("stored", "failed", "no_servers")),
        ),
        "mdns_packets_total": tuple(product(get_args(MdnsOutcome))),
        "dht_routing_table_peers": ((),),
        "discovery_first_candidate_seconds": tuple(product(get_args(Finder))),
        "relay_reservations": (("held",), ("granted",)),
        "relay_circuits": ((),),
        "relay_circuits_ended_total": tuple(product(get_args(CircuitEnd))),
        "relay_bytes_total": ((),),
        "udp_blocked": ((),),
        "handshake_seconds": tuple(product(get_args(Transport), ("ok", "failed"))),
        "reachability": tuple((state.replace(" ", "_"),) for state in get_args(Reachability)),
        "reachability_checks_total": tuple(product(get_args(CheckOutcome))),
        "dial_backs_total": tuple(product(get_args(DialBackOutcome))),
        "port_mappings": tuple(product(get_args(PortMappingState))),
        "hole_punch_total": tuple(product(get_args(HolePunchOutcome))),
        "connections": tuple(product(("inbound", "outbound"), get_args(Transport), get_args(ConnectionKind))),
    }


_WITHOUT_MAILBOX: tuple[ActorKind, ...] = ("supervisor", "zygote", "metrics")
"""Those that have no inbox in the supervisor; that of metrics would always hold the message that tells it."""
_NOT_IN_EVERY_NODE = ("lan", "web")
"""Those without which a node may do; a series of theirs that is 0 would look like an actor that is down."""
_NOT_OF_ROLE: dict[str, tuple[Stage, ...]] = {
    "initiator": ("searching", "connecting"),
    "joiner": ("waiting",),
}

KNOWN_SERIES = _known_series()
"""The values of labels that can occur, of the metrics whose label sets are closed.

They are shown with 0 from the start: a series that is born with its first event hides it from `increase()`.
"""
