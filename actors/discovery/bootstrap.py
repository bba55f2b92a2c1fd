"""Getting into the DHT and staying there: which servers the swarm is to connect to, and whether it has one.

Owns the answer to "is a DHT server known?", which is the readiness of the part `dht`; sends nothing itself.
While none is known every bootstrap peer is offered to the swarm again, with a growing pause; later only now
and then, since connections break and a routing table empties without a word.
"""

from ...messages.base import Message
from ...messages.to_discovery import KadReply
from ...messages.to_gateway import Readiness
from ...messages.to_swarm import Bootstrap, ClosestServers
from ...messages.types import Instant
from .lookup_driver import Surroundings
from .pending_requests import Answer

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
HURRY = 0.25
LOSSES_APART = 30.0
"""After a loss bootstrap peers are offered again so soon, and ever later while nothing comes of it."""


class Bootstrapper:
    """Offers bootstrap peers, configured and of this host, to the swarm; knows whether it has a server."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._known = False
        self._pause = FIRST_PAUSE
        self._next_at: Instant = 0.0
        self._missing = False
        self._lost_at: Instant = -LOSSES_APART
        self._hurry = HURRY
        self._said: Readiness | None = None

    def restart(self, now: Instant) -> None:
        """The swarm is up, or up again: it has neither connections nor a routing table."""
        self._around.requests.abandon(self)
        self._known = False
        self._pause = FIRST_PAUSE
        self._next_at = now

    def same_host_changed(self, now: Instant) -> None:
        """Take the nodes of this host: they are bootstrap peers too."""
        self._pause = FIRST_PAUSE
        self._next_at = now

    def server_lost(self, now: Instant) -> None:
        """Take that a server has gone: it may be back in a moment, and the way into the DHT with it."""
        soon = now - self._lost_at < LOSSES_APART
        self._pause = min(self._hurry * 2, LONGEST_PAUSE) if soon else HURRY
        self._hurry = self._pause
        self._lost_at = now
        self._missing = True
        self._next_at = min(self._next_at, now + self._pause)

    def server_joined(self) -> None:
        """Take that a server is in the routing table, or is there again."""
        self._known = True
        self._missing = False

    def answered(self, tag: bytes, answer: Answer, now: Instant) -> None:
        """Take what the routing table holds."""
        if isinstance(answer, KadReply):
            return
        lost = self._known and not answer.peers
        self._known = bool(answer.peers)
        if lost:
            self.same_host_changed(now)

    def failed(self, tag: bytes, now: Instant) -> None:
        """Take that the swarm did not answer; it will be asked again."""

    def poll(self, now: Instant) -> list[Message]:
        """Return what to send to the swarm now."""
        own = self._around.own
        if own is None or now < self._next_at or self._around.requests.room <= 0:
            return []
        peers = {peer.peer: peer for peer in (*self._around.bootstrap, *self._around.same_host)}
        peers.pop(own, None)
        out: list[Message] = [Bootstrap(peer.peer, peer.addresses) for peer in peers.values()]
        out.append(ClosestServers(self._around.requests.open(self, b"", now), own))
        if self._known and not self._missing:
            self._pause = LONGEST_PAUSE
        self._next_at = now + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        return out

    def wake_at(self) -> Instant:
        """Return when `poll` has something to do without any answer."""
        return self._next_at

    def readiness(self) -> Readiness | None:
        """Return the readiness if it is not what was returned last."""
        present = self._present()
        if present == self._said:
            return None
        self._said = present
        return present

    def _present(self) -> Readiness:
        if self._known:
            return Readiness("dht", True, "a DHT server is known")
        if not self._around.bootstrap:
            return Readiness(
                "dht", True, "no bootstrap peer is configured: nodes elsewhere are found by hints only"
            )
        if self._around.own is None:
            return Readiness("dht", False, "the network is not up yet")
        count = len(self._around.bootstrap)
        return Readiness(
            "dht", False, f"no DHT server is known: none of {count} bootstrap peers has answered"
        )
