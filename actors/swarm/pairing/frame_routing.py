"""To whom a pairing frame belongs: to the session that serves its code, or to the vault. Pure.

Knows what sessions and the vault have announced (Serve, KnownPeer). Never reads a frame beyond its kind and
code_id. Owns which peers the vault is told of as peers of a session. Implements docs/protocol.md, "Messages"
and "Sessions".
"""

import hmac
from dataclasses import dataclass, field

from ....messages.base import MalformedMessageError
from ....messages.errors import SpacedriveNodeError
from ....messages.peer_protocol import (
    ChallengeResponse,
    PairingDecision,
    PairingRequest,
    RefusalReason,
    WireRequest,
    decode_wire,
)
from ....messages.session_names import session_of_actor
from ....messages.to_swarm import KnownPeer, Serve
from ....messages.to_vault import PeerEvidence
from ....protocol.code import code_id
from ...base import Send
from .recent_table import RecentTable

_MAX_SERVED = 4096
_MAX_KNOWN_PEERS = 65536
_MAX_SESSIONS = 8192
_MAX_FINISHED_CODES = 256
FINISHED_CODE_S = 600.0
"""How long a code is known after its session has ended (docs/protocol.md, "Sessions")."""
_MAX_PEERS_OF_SESSION = 128
"""As many candidates as a joiner takes (docs/protocol.md, "Limits")."""


class TableFullError(SpacedriveNodeError):
    """More entries than this node ever has: a defect elsewhere, refused so that the table does not grow."""


@dataclass(slots=True)
class _SessionPeers:
    """The peers of one session. The session may have been taken over, so each table has a bound."""

    asked: dict[bytes, bytes] = field(default_factory=dict)
    """The attempt of the PairingRequest that the session sent last, by peer."""
    responded_to: set[bytes] = field(default_factory=set)
    """Peers that the session has sent a ChallengeResponse or a decision: they have proved the code to it. A
    decision counts too because after a restart of this actor it may be all that the session still repeats."""
    in_evidence: set[bytes] = field(default_factory=set)
    """Peers of which the vault has been told."""
    last: bytes | None = None
    """Whose frame the session got last."""


@dataclass(slots=True)
class FrameRouting:
    """The tables by which frames are routed. After a restart the standing messages fill them again."""

    served: dict[str, Serve] = field(default_factory=dict)
    """By the actor name of the session."""
    known: dict[bytes, KnownPeer] = field(default_factory=dict)
    """By peer id."""
    _peers: RecentTable[str, _SessionPeers] = field(default_factory=lambda: RecentTable(_MAX_SESSIONS))
    """By the actor name of the session."""

    _finished: RecentTable[bytes, float] = field(default_factory=lambda: RecentTable(_MAX_FINISHED_CODES))
    """By the route key of a code that was shown here: when its session ended."""

    def add_served(self, actor: str, serve: Serve) -> None:
        """Add or replace what a session serves. Raises TableFullError."""
        if actor not in self.served and len(self.served) >= _MAX_SERVED:
            raise TableFullError("too many served codes")
        self.served[actor] = serve

    def add_known(self, peer: KnownPeer) -> None:
        """Add or replace a known peer. Raises TableFullError."""
        if peer.peer not in self.known and len(self.known) >= _MAX_KNOWN_PEERS:
            raise TableFullError("too many known peers")
        self.known[peer.peer] = peer

    def provides(self, key: bytes) -> bool:
        """Return whether this node is a provider of a DHT key: one of its sessions shows that code."""
        return any(serve.key == key for serve in self.served.values())

    def session_of(self, own_peer: bytes, peer: bytes, request: WireRequest) -> str | None:
        """Return the actor name of the session whose code this frame of `peer` is about, or None.

        Every served code is compared, each in constant time, and also after a match: the time tells nothing
        about which codes are served. Of two sessions with the same code the first one gets the frame.
        """
        found: str | None = None
        for actor, serve in self.served.items():
            initiator, joiner = (own_peer, peer) if serve.role == "initiator" else (peer, own_peer)
            expected = code_id(serve.route_key, initiator, joiner)
            if hmac.compare_digest(expected, request.code_id):
                found = found or actor
        return found

    def is_finished(self, own_peer: bytes, peer: bytes, request: WireRequest, now: float) -> bool:
        """Return whether a frame that fits no session is about a code that was shown here until lately."""
        while (oldest := self._finished.oldest()) is not None and oldest[1] <= now - FINISHED_CODE_S:
            self._finished.pop(oldest[0])
        found = False
        for route_key in self._finished:
            found |= hmac.compare_digest(code_id(route_key, own_peer, peer), request.code_id)
        return found

    def belongs_to_vault(self, peer: bytes, request: WireRequest) -> bool:
        """Return whether a frame that fits no session is the decision of a known peer."""
        return isinstance(request, PairingDecision) and peer in self.known

    def refusal_for_joiner(self, actor: str, peer: bytes, request: WireRequest) -> RefusalReason | None:
        """Return how a frame that names a session's code is refused, or None if the session shall get it.

        Whom a joiner asks learns a code_id, so any decoy can send frames that name the joiner's code. Only
        a decision can be for a joiner, and only from a peer that the session has sent a ChallengeResponse.
        """
        if self.served[actor].role != "joiner":
            return None
        peers = self._peers_of(actor)
        if not isinstance(request, PairingDecision):
            return "protocol"
        if peer in peers.responded_to:
            return None
        # An unknown peer may be the initiator, after a restart of this actor: the session will repeat.
        return "busy" if peers.asked.get(peer, request.attempt) == request.attempt else "closed"

    def record_request(self, actor: str, peer: bytes, frame: bytes) -> None:
        """Record that a session sends a request frame to `peer`."""
        peers = self._peers_of(actor)
        try:
            request = decode_wire(frame)
        except MalformedMessageError:
            return
        table = peers.asked if isinstance(request, PairingRequest) else peers.responded_to
        if peer not in table and len(table) >= _MAX_PEERS_OF_SESSION:
            return
        if isinstance(request, PairingRequest):
            peers.asked[peer] = request.attempt
        elif isinstance(request, ChallengeResponse | PairingDecision):
            peers.responded_to.add(peer)

    def record_forward(self, actor: str, peer: bytes) -> None:
        """Record that a session gets a frame of `peer` now."""
        self._peers_of(actor).last = peer

    def joiners(self) -> set[bytes]:
        """Return the peers whose frames the codes that are shown here got last: they wait for answers.

        Such a peer does not notice that this node is elsewhere, and it is the one that dials.
        """
        shown = (actor for actor, serve in self.served.items() if serve.role == "initiator")
        lasts = (peers.last for actor in shown if (peers := self._peers.get(actor)) is not None)
        return {one for one in lasts if one is not None}

    def evidence_ahead(self, actor: str, peer: bytes) -> list[Send]:
        """Return what goes out in the same step as a frame of `peer`, ahead of it."""
        return self.evidence(actor, peer) if peer in self._peers_of(actor).responded_to else []

    def evidence(self, actor: str, peer: bytes) -> list[Send]:
        """Return PeerEvidence for the vault, unless it has been told: this peer proved the code to a session.

        The vault believes the swarm, and not the session, about the peer that a session talks to. There is
        one such peer in a pairing, and it is told once, so that nobody's evidence pushes out another's
        (docs/decisions/0005).
        """
        peers = self._peers_of(actor)
        if peer in peers.in_evidence or len(peers.in_evidence) >= _MAX_PEERS_OF_SESSION:
            return []
        peers.in_evidence.add(peer)
        return [Send("vault", PeerEvidence(session_of_actor(actor), peer))]

    def _peers_of(self, actor: str) -> _SessionPeers:
        peers = self._peers.get(actor)
        if peers is None:
            peers = _SessionPeers()
            self._peers.store(actor, peers)
        return peers

    def remove_session(self, actor: str, now: float) -> bytes | None:
        """Forget a session, but for its code if it showed one; return the peer whose frame it got last."""
        serve = self.served.pop(actor, None)
        if serve is not None and serve.role == "initiator":
            self._finished.store(serve.route_key, now)
        peers = self._peers.pop(actor)
        return None if peers is None else peers.last
