"""What other actors have told the swarm and what follows for a frame: whose it is. Pure.

Never reads a frame beyond its kind and code_id (docs/protocol.md, "Messages").
"""

import hmac
from dataclasses import dataclass, field

from ....messages.errors import SpacedriveNodeError
from ....messages.peer_protocol import PairingDecision, WireRequest
from ....messages.to_swarm import KnownPeer, Serve
from ....protocol.code import code_id
from .limits import RecentTable

_SERVED = 4096
_KNOWN = 65536
_VOUCHED = 8192


class TableFullError(SpacedriveNodeError):
    """More entries than this node ever has: a defect elsewhere, refused rather than grown into."""


@dataclass(slots=True)
class Tables:
    """Rebuilt after a restart from the standing messages."""

    served: dict[str, Serve] = field(default_factory=dict)
    known: dict[bytes, KnownPeer] = field(default_factory=dict)
    _vouched: RecentTable[str, bytes] = field(default_factory=lambda: RecentTable(_VOUCHED))
    _last_sender: dict[str, bytes] = field(default_factory=dict)

    def serve(self, actor: str, serve: Serve) -> None:
        """Add or replace what a session serves."""
        if actor not in self.served and len(self.served) >= _SERVED:
            raise TableFullError("too many served codes")
        self.served[actor] = serve

    def know(self, peer: KnownPeer) -> None:
        """Add or replace a known peer."""
        if peer.peer not in self.known and len(self.known) >= _KNOWN:
            raise TableFullError("too many known peers")
        self.known[peer.peer] = peer

    def provides(self, key: bytes) -> bool:
        """Say whether this node itself is a provider of a DHT key: one of its sessions shows that code."""
        return any(serve.key == key for serve in self.served.values())

    def owner(self, own: bytes, remote: bytes, request: WireRequest) -> str | None:
        """Return the session whose code this frame is about, or None.

        Every served code is compared, in constant time each, whether or not one has matched before. Of two
        sessions with the same words the first has it.
        """
        found: str | None = None
        for actor, serve in self.served.items():
            initiator, joiner = (own, remote) if serve.role == "initiator" else (remote, own)
            expected = code_id(serve.route_key, initiator, joiner)
            if hmac.compare_digest(expected, request.code_id):
                found = found or actor
        return found

    def belongs_to_vault(self, remote: bytes, request: WireRequest) -> bool:
        """Return whether a frame that fits no session is a known peer's decision."""
        return isinstance(request, PairingDecision) and remote in self.known

    def needs_vouch(self, actor: str, peer: bytes) -> bool:
        """Say whether the vault must hear of this peer for this session; it keeps the latest few."""
        if self._vouched.get(actor) == peer:
            return False
        self._vouched.put(actor, peer)
        return True

    def forwarded(self, actor: str, peer: bytes) -> None:
        """Remember whose frame a session got last."""
        self._last_sender[actor] = peer

    def end(self, actor: str) -> bytes | None:
        """Forget a session; return the peer whose frame it got last."""
        self.served.pop(actor, None)
        self._vouched.pop(actor)
        return self._last_sender.pop(actor, None)
