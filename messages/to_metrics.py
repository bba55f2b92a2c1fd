"""What metrics accepts, and the closed list of what can be measured (docs/operations.md, "Watching").

Values are cumulative within one incarnation of their sender, so a restart of either side loses nothing.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from .base import Decoder, Message
from .from_supervisor import ActorDown, ActorRestarted, Alive, SessionEnded
from .to_gateway import Readiness

MetricName = Literal[
    "pairing_sessions_total",
    "pairing_sessions_active",
    "pairing_duration_seconds",
    "pairing_stage_seconds",
    "pairing_refusals_total",
    "actor_up",
    "actor_restarts_total",
    "actor_memory_bytes",
    "actor_mailbox_depth",
    "actor_cpu_seconds_total",
    "sessions_limit",
    "devices",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
    "process_start_time_seconds",
    "process_open_fds",
    "process_max_fds",
    "dht_query_seconds",
    "dht_routing_table_peers",
    "discovery_first_candidate_seconds",
    "mdns_packets_total",
    "connections",
    "handshake_seconds",
    "reachability",
    "reachability_checks_total",
    "dial_backs_total",
    "port_mappings",
    "hole_punch_total",
    "relay_reservations",
    "relay_circuits",
    "relay_circuits_ended_total",
    "relay_bytes_total",
    "udp_blocked",
]
LabelValue = Annotated[str, Meta(max_length=32)]
Labels = Annotated[tuple[LabelValue, ...], Meta(max_length=3)]
"""Values, in the order of the labels in docs/operations.md, "Watching"; never ids, codes or names."""

ActorKind = Literal[
    "supervisor", "zygote", "vault", "metrics", "gateway", "discovery", "lan", "swarm", "web", "session"
]
MdnsOutcome = Literal["read", "other_service", "off_link", "too_many", "malformed"]
"""What became of a packet of mDNS: read, or dropped, and why."""
CheckOutcome = Literal["reached", "unreached", "refused", "lied", "unsolicited"]
"""What became of a check of an address of this node; `unsolicited` is a connection that proved it unasked."""
DialBackOutcome = Literal["dialled", "dial_error", "dial_back_error", "dial_refused", "request_rejected"]
"""What became of a request to dial a peer back."""
HolePunchOutcome = Literal["tcp", "quic", "dialled", "failed", "refused", "limited"]
"""What became of the upgrade of a relayed connection: over what the hole was punched; `dialled`: none was
needed; `refused`: the peer does not do it; `limited`: there were too many at once."""
CircuitEnd = Literal["closed", "data", "duration", "failed", "refused"]
"""How a circuit through this relay ended; `data` and `duration` are its limits."""
PortMappingState = Literal["asked", "mapped", "useless"]
"""Of a port that the gateway was asked to open; `useless`: it opened one at an address that is not public."""
RestartReason = Literal["exit", "signal", "killed", "hang", "zygote", "reload"]

BUCKETS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
    600.0, 1800.0, 3600.0,
)  # fmt: skip
"""Upper bounds of what every histogram counts, in seconds; the last, +Inf, is implied.

Each metric shows those that fit what it measures (actors/metrics/catalogue.py).
"""


MAX_REPORTED = 2.0**53
MAX_COUNT = 2**40
"""Of one report: the sums over all incarnations of an actor that was taken over stay within 64 bits, too."""


class Sample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One counter (cumulative within the sender's incarnation) or gauge (the present value)."""

    name: MetricName
    labels: Labels
    value: Annotated[float, Meta(ge=-MAX_REPORTED, le=MAX_REPORTED)]


class Distribution(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One histogram, cumulative within the sender's incarnation: a count for each bucket and for +Inf.

    `total` is the sum of what was observed, in seconds.
    """

    name: MetricName
    labels: Labels
    counts: Annotated[
        tuple[Annotated[int, Meta(ge=0, le=MAX_COUNT)], ...],
        Meta(min_length=len(BUCKETS) + 1, max_length=len(BUCKETS) + 1),
    ]
    total: Annotated[float, Meta(ge=0, le=MAX_REPORTED)]


class Observed(Message):
    """From an actor that measures: all its present values, which replace those of its last Observed.

    At most 256 samples and 256 distributions.
    """

    samples: Annotated[tuple[Sample, ...], Meta(max_length=256)] = ()
    distributions: Annotated[tuple[Distribution, ...], Meta(max_length=256)] = ()


MetricsInbox = Observed | Readiness | Alive | SessionEnded | ActorDown | ActorRestarted
decode: Decoder[MetricsInbox] = Decoder(MetricsInbox)
