"""The routing table: who may send which kind of message to whom, as data. This is the complete policy.

The supervisor forwards an envelope only if a row allows it. A row names kinds of actors ("session"), never
single ones; if the receiver is a session, the sender names it in the envelope (session-<id>).

Owns the policy. Never forwards anything: ledger.py does. docs/architecture.md, "Messages".
"""

from dataclasses import dataclass
from typing import Literal

from ..messages.types import Role

Kind = str
ActorKind = str


@dataclass(frozen=True, slots=True)
class Route:
    """One row: messages of `kind` from one of `senders` to `receiver` are allowed.

    standing   kept by the supervisor until withdrawn or until its sender ends; a restarted receiver gets it
    first retained   a standing message that outlives its sender (bounded; the oldest is dropped first)
    withdraws  drops the standing message of that kind, same sender, receiver and slot; is itself delivered
    spawns     starts the receiving session, in that role, if it does not exist; refused if there are too
    many
    """

    kind: Kind
    senders: tuple[ActorKind, ...]
    receiver: ActorKind
    standing: bool = False
    retained: bool = False
    withdraws: Kind | None = None
    spawns: Role | None = None


ROUTES: tuple[Route, ...] = (
    # what the user asks for
    Route("StartPairing", ("gateway",), "session", spawns="initiator"),
    Route("JoinPairing", ("gateway",), "session", spawns="joiner"),
    Route("Decide", ("gateway",), "session"),
    Route("CancelPairing", ("gateway",), "session"),
    Route("Accept", ("gateway",), "vault"),
    Route("ListDevices", ("gateway",), "vault"),
    Route("RenameDevice", ("gateway",), "vault"),
    Route("ForgetDevice", ("gateway",), "vault"),
    Route("ListActors", ("gateway",), "supervisor"),
    Route("Reload", ("gateway",), "supervisor"),
    Route("Shutdown", ("gateway",), "supervisor"),
    # a session and its peer
    Route("Serve", ("session",), "swarm", standing=True),
    Route("Ask", ("session",), "swarm"),
    Route("PeerRequest", ("swarm",), "session"),
    Route("PeerAnswer", ("swarm",), "session"),
    Route("PeerUnreachable", ("swarm",), "session"),
    Route("PeerReply", ("session", "vault"), "swarm"),
    # a session and discovery
    Route("StartProviding", ("session",), "discovery", standing=True),
    Route("StopProviding", ("session",), "discovery", withdraws="StartProviding"),
    Route("Find", ("session",), "discovery", standing=True),
    Route("StopFinding", ("session",), "discovery", withdraws="Find"),
    Route("CandidateFound", ("discovery",), "session"),
    # a session and the vault
    Route("SignIdentity", ("session",), "vault"),
    Route("Signed", ("vault",), "session"),
    Route("StoreDevice", ("session",), "vault"),
    Route("ConfirmDevice", ("session",), "vault"),
    Route("Stored", ("vault",), "session"),
    Route("StoreRefused", ("vault",), "session"),
    Route("DeviceForgotten", ("vault",), "session"),
    # what users see
    Route("SessionView", ("session",), "gateway", standing=True, retained=True),
    Route("NodeIdentity", ("vault",), "gateway", standing=True),
    Route("SwarmStatus", ("swarm",), "gateway", standing=True),
    Route("LanStatus", ("lan",), "gateway", standing=True),
    Route("Readiness", ("vault", "swarm", "discovery"), "gateway", standing=True),
    Route("Readiness", ("vault", "swarm", "discovery"), "metrics", standing=True),
    Route("Devices", ("vault",), "gateway"),
    Route("DeviceChanged", ("vault",), "gateway"),
    Route("StoredDevicesChanged", ("vault",), "gateway"),
    Route("VaultError", ("vault",), "gateway"),
    # the page, a client of the gateway
    Route("PageFrames", ("web",), "gateway"),
    Route("FramesRead", ("web",), "gateway"),
    Route("GatewayFrames", ("gateway",), "web"),
    # swarm, vault and discovery
    Route("SwarmIdentity", ("vault",), "swarm", standing=True),
    Route("KnownPeer", ("vault",), "swarm", standing=True),
    Route("ForgetPeer", ("vault",), "swarm", withdraws="KnownPeer"),
    Route("PeerEvidence", ("swarm",), "vault"),
    Route("SettleRequest", ("swarm",), "vault"),
    Route("Settled", ("swarm",), "vault"),
    Route("PeersBehaved", ("swarm",), "vault"),
    Route("RecallPeers", ("swarm",), "vault"),
    Route("RecalledPeers", ("vault",), "swarm"),
    Route("RememberedServers", ("swarm",), "discovery", standing=True),
    Route("Listening", ("swarm",), "swarm", standing=True),
    Route("ReachabilityEvidence", ("swarm",), "swarm", standing=True),
    Route("SwarmUp", ("swarm",), "discovery", standing=True),
    Route("Bootstrap", ("discovery",), "swarm"),
    Route("KadRequest", ("discovery",), "swarm"),
    Route("KadReply", ("swarm",), "discovery"),
    Route("KadFailed", ("swarm",), "discovery"),
    Route("ClosestServers", ("discovery",), "swarm"),
    Route("Servers", ("swarm",), "discovery"),
    Route("ServerJoined", ("swarm",), "discovery"),
    Route("ServerLost", ("swarm",), "discovery"),
    Route("NetworkChanged", ("swarm",), "discovery"),
    # discovery and lan
    Route("Announce", ("discovery",), "lan", standing=True),
    Route("StopAnnouncing", ("discovery",), "lan", withdraws="Announce"),
    Route("Browse", ("discovery",), "lan", standing=True),
    Route("StopBrowsing", ("discovery",), "lan", withdraws="Browse"),
    Route("LanPeer", ("lan",), "discovery"),
    # the ports of the gateway
    Route("MapPorts", ("swarm",), "lan", standing=True),
    Route("PortMappings", ("lan",), "swarm", standing=True),
    # measurements
    Route("Observed", ("session", "swarm", "discovery", "lan", "vault"), "metrics"),
    Route("AreYouAlive", ("metrics", "gateway"), "supervisor"),
)

RESTART_WATCHERS: dict[ActorKind, tuple[ActorKind, ...]] = {
    "vault": ("gateway", "metrics"),
    "swarm": ("session", "discovery", "gateway", "metrics"),
    "discovery": ("lan", "gateway", "metrics"),
    "lan": ("discovery",),
    "gateway": ("web",),
}
"""The kinds that get ActorRestarted when an actor is back and has lost what it had not answered."""

READINESS_WATCHERS: tuple[ActorKind, ...] = ("gateway", "metrics")
READINESS_SENDERS: tuple[ActorKind, ...] = ("vault", "swarm", "discovery")
"""The watchers get ActorDown as soon as one of the senders ends: its readiness dies with its incarnation."""

SESSION_END_WATCHERS: tuple[ActorKind, ...] = ("vault", "swarm", "discovery", "gateway", "metrics")
"""The kinds that get SessionEnded when a session is over (for the gateway it is retained)."""

Refusal = Literal["refuse", "kill"]
OVERFLOW: dict[ActorKind, Refusal] = {"gateway": "refuse", "swarm": "refuse", "web": "refuse"}
"""What happens to a message for a full inbox: these senders get Undeliverable; a message from any other
sender kills the receiver. A session that floods a receiver is killed itself, long before that (ledger.py,
MAX_SESSION_MESSAGES)."""

_TABLE = {(route.kind, sender, route.receiver): route for route in ROUTES for sender in route.senders}


def actor_kind(name: str) -> ActorKind:
    """Return the kind of an actor: "session" for "session-7f3a…"."""
    return name.partition("-")[0]


def find_route(kind: Kind, sender: str, receiver: str) -> Route | None:
    """Return the row that allows `sender` to send `kind` to `receiver`; None if it is forbidden."""
    return _TABLE.get((kind, actor_kind(sender), actor_kind(receiver)))
