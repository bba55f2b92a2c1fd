"""What the gateway knows of the node: its sessions, who this device is, and what each part last reported.

A read model. `apply` takes one message of the gateway's inbox; everything else only reads. It needs no
checkpoint: what it is made of are standing messages, which the supervisor delivers again, and first, to a
restarted gateway (docs/architecture.md, "Steps"). Owns whether the node is ready, as clients see it.
Never sends anything.
"""

from ...messages.control_protocol import NodeStatus
from ...messages.from_supervisor import ActorDown, ActorRestarted, Alive, SessionEnded
from ...messages.to_gateway import (
    GatewayInbox,
    LanStatus,
    NodeIdentity,
    Readiness,
    SessionLimit,
    SessionView,
    SwarmStatus,
)
from ...messages.types import MdnsState, SessionId
from .session_store import SessionStore

PARTS = {"vault": "vault", "swarm": "swarm", "dht": "discovery"}
"""The parts that must be ready before the node is, each with the actor that reports it."""
MIN_SUBSCRIPTIONS = 512
_PARTS_NEEDED_TO_PAIR = ("vault", "swarm")
"""A pairing can begin without the DHT, which may still be bootstrapping."""


class NodeState:
    """The state of this node and of its sessions, from all messages so far."""

    def __init__(
        self, version: str, *, mdns: bool = True, lan_only: bool = False, offline: bool = False
    ) -> None:
        self.sessions = SessionStore()
        self.identity: NodeIdentity | None = None
        """Who this device is; None until the vault has reported it."""
        self._version = version
        self._lan_only, self._offline = lan_only, offline
        self._has_mdns = mdns
        self._swarm: SwarmStatus | None = None
        self._lan: LanStatus | None = None
        self._readiness: dict[str, Readiness] = {}
        self._down: set[str] = set()
        """The actors that have ended and are not back yet: what they reported does not count."""
        self._session_limit = 0

    def apply(self, sender: str, message: GatewayInbox) -> tuple[SessionId, ...]:
        """Apply one message; return the sessions whose state changed."""
        match message:
            case SessionView():
                return self.sessions.apply_view(sender, message)
            case SessionEnded():
                return self.sessions.apply_end(message)
            case SwarmStatus():
                self._swarm = message
                return self.sessions.apply_swarm_status(message)
            case LanStatus():
                self._lan = message
            case NodeIdentity():
                self.identity = message
            case Readiness(part=part) if sender == PARTS[part]:
                self._readiness[part] = message
            case ActorDown(actor=actor, keeps_state=keeps_state):
                self._down.add(actor)
                if not keeps_state:
                    for part in [part for part, reporter in PARTS.items() if reporter == actor]:
                        self._readiness.pop(part, None)
            case ActorRestarted(actor=actor):
                self._down.discard(actor)
            case SessionLimit(limit=limit):
                self._session_limit = limit
            case _:
                pass
        return ()

    @property
    def subscription_limit(self) -> int:
        """How many subscriptions one client may hold: to each session that may run, and some more."""
        return MIN_SUBSCRIPTIONS + self._session_limit

    def is_ready(self, part: str) -> bool:
        """Return whether a part of the node has reported that it is ready, and runs."""
        return part in self._readiness and self._readiness[part].ready and PARTS[part] not in self._down

    def has_reported(self, part: str) -> bool:
        """Return whether a part runs and has said how it is, if only that it is not ready: it answers."""
        return PARTS[part] not in self._down and part in self._readiness

    def missing(self, part: str) -> str:
        """Return the name of a part that is not ready, with the reason if there is one."""
        if PARTS[part] in self._down:
            return f"{part} (restarting)"
        reported = self._readiness.get(part)
        return f"{part} ({reported.detail})" if reported is not None and reported.detail else part

    def missing_to_pair(self) -> str:
        """Return what is missing before a pairing can begin, for people; empty if nothing is."""
        missing = [self.missing(part) for part in _PARTS_NEEDED_TO_PAIR if not self.is_ready(part)]
        if self.identity is None and not missing:
            missing = ["vault"]
        return "; ".join(missing)

    def status(self, id: int, alive: Alive | None) -> NodeStatus:
        """Return the reply to the request Status; what a part has not reported yet is empty.

        `alive` is the supervisor's answer. Without one nothing that is known here can be told to be so.
        """
        identity, swarm, lan = self.identity, self._swarm, self._lan
        absent = ("supervisor",) if alive is None else (*alive.down, *alive.silent)
        parts = tuple(part for part in PARTS if not self.is_ready(part) or PARTS[part] in absent)
        others = tuple(actor for actor in absent if actor not in PARTS.values())
        missing = (*others, *parts)
        return NodeStatus(
            id=id,
            name="" if identity is None else identity.name,
            peer=b"" if identity is None else identity.peer,
            version=self._version,
            addresses=() if swarm is None else swarm.addresses,
            reachability="" if swarm is None else swarm.reachability,
            dht_mode="auto" if swarm is None else swarm.dht_mode,
            dht_peers=0 if swarm is None else swarm.dht_peers,
            sessions_active=self.sessions.count_running(),
            sessions_limit=self._session_limit,
            ready=not missing,
            missing=missing,
            listening=() if swarm is None else swarm.listening,
            mdns=self._mdns(),
            mdns_interfaces=0 if lan is None else lan.interfaces,
            lan_only=self._lan_only,
            offline=self._offline,
            sandbox_gaps=() if alive is None else alive.sandbox_gaps,
        )

    def _mdns(self) -> MdnsState:
        lan = self._lan
        if not self._has_mdns:
            return "off"
        if lan is None or not (lan.announcing or lan.browsing):
            return "idle"
        if lan.announcing and lan.browsing:
            return "both"
        return "announcing" if lan.announcing else "browsing"
