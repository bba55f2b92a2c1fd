"""To whom a pairing frame belongs: to the session that serves its code, or to the vault. Pure.

Knows what sessions and the vault have announced (Serve, KnownPeer). Never reads a frame beyond its kind and
code_id. Implements docs/protocol.md, "Messages".
"""

import hmac
from dataclasses import dataclass, field

from ....messages.errors import SpacedriveNodeError
from ....messages.peer_protocol import PairingDecision, WireRequest
from ....messages.session_names import session_of_actor
from ....messages.to_swarm import KnownPeer, Serve
from ....messages.to_vault import PeerEvidence
from ....protocol.code import code_id
from ...base import Send
from .recent_table import RecentTable

_MAX_SERVED = 4096
_MAX_KNOWN_PEERS = 65536
_MAX_EVIDENCE = 8192


class TableFullError(SpacedriveNodeError):
    """More entries than this node ever has: a defect elsewhere, refused so that the table does not grow."""


@dataclass(slots=True)
class FrameRouting:
    """The tables by which frames are routed. After a restart the standing messages fill them again."""

    served: dict[str, Serve] = field(default_factory=dict)
    """By the actor name of the session."""
    known: dict[bytes, KnownPeer] = field(default_factory=dict)
    """By peer id."""
    _evidence: RecentTable[str, bytes] = field(default_factory=lambda: RecentTable(_MAX_EVIDENCE))
    """By session: the peer of which the vault got evidence last."""
    _last_peer: dict[str, bytes] = field(default_factory=dict)
    """By session: the peer whose frame it got last."""

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

    def belongs_to_vault(self, peer: bytes, request: WireRequest) -> bool:
        """Return whether a frame that fits no session is the decision of a known peer."""
        return isinstance(request, PairingDecision) and peer in self.known

    def prepare_forward(self, actor: str, peer: bytes) -> list[Send]:
        """Record that a session gets a frame of `peer` now; return what has to be sent ahead of the frame.

        That is PeerEvidence for the vault, whenever the session gets a frame of another peer than before: the
        vault believes the swarm, and not the session, about the peer that a session talks to. It has to go
        out in the same step as the frame, ahead of it (docs/decisions/0005).
        """
        self._last_peer[actor] = peer
        if self._evidence.get(actor) == peer:
            return []
        self._evidence.store(actor, peer)
        return [Send("vault", PeerEvidence(session_of_actor(actor), peer))]

    def remove_session(self, actor: str) -> bytes | None:
        """Forget a session; return the peer whose frame it got last."""
        self.served.pop(actor, None)
        self._evidence.pop(actor)
        return self._last_peer.pop(actor, None)
