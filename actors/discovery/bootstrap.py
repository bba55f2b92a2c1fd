"""Joins the DHT and stays in it: which servers the swarm should connect to, and whether it knows any.

While no server is known, every bootstrap peer is offered to the swarm again and again, with a growing pause,
and each time some of the servers that were of use before, so that a node comes back when none of its
bootstrap peers does. The pause stays short while no server is connected: nobody finds this node then, and
that the line, the server or the name server is back makes no event here. Afterwards that happens once a
minute, because connections break and a routing table can run empty without any event; and sooner when a
server is lost, which may only be restarting.

Owns the answer to "is a DHT server known?", which is the readiness of the part `dht`. Never sends anything;
`poll` and `changed_readiness` return what to send.
"""

import zlib
from collections.abc import Iterable

from ...messages.base import Message
from ...messages.to_discovery import KadReply
from ...messages.to_gateway import Readiness
from ...messages.to_swarm import Bootstrap, ClosestServers
from ...messages.types import Instant, PeerAddresses
from .context import REMEMBERED_AT_ONCE, REMEMBERED_AT_START, REMEMBERED_LATER, DiscoveryContext
from .pending_requests import Answer

FIRST_BACKOFF_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 60.0
MAX_ALONE_BACKOFF_SECONDS = 5.0
"""The same while no server is connected."""
LOSS_BACKOFF_SECONDS = 0.25
"""After the loss of a server the bootstrap peers are offered this soon."""
SPREAD = 0.2
"""The pauses of each node are shorter by a part of its own, up to this one: thousands that have lost the same
server at the same moment do not come back in step."""
SERVER_KNOWN = "a DHT server is known"
"""Detail of the readiness."""
_MAX_ADDRESSES = 32
STEADY_SECONDS = 30.0
"""The loss of a server that was there for less than this doubles that pause: one that flaps costs little. The
loss of any other sets it back: whoever flaps beside it is no reason to look for it late."""


class Bootstrapper:
    """Offers the bootstrap peers, configured and of this host; knows whether the swarm has a server."""

    def __init__(self, context: DiscoveryContext) -> None:
        self._context = context
        self._server_known = False
        self._connected: dict[bytes, Instant] = {}
        """The servers that have joined and were not lost since, and when."""
        self._server_lost = False
        """A server was lost, and none has joined since."""
        self._backoff = FIRST_BACKOFF_SECONDS
        self._next_at: Instant = 0.0
        self._loss_backoff = LOSS_BACKOFF_SECONDS
        self._reported: Readiness | None = None
        self._remembered_due = False
        """The remembered servers have just come: the best of them are offered, whoever else is known."""
        self._next_remembered = 0

    @property
    def server_known(self) -> bool:
        """Whether the swarm knows a DHT server."""
        return self._server_known

    @property
    def is_alone(self) -> bool:
        """Whether the last server was lost, and none has joined since."""
        return self._server_lost and not self._connected

    def restart(self, now: Instant) -> None:
        """Begin again: the swarm is up, or up again, and has neither connections nor a routing table."""
        self._context.requests.abandon(self)
        self._server_known = False
        self._connected.clear()
        self._offer_at_once(now)

    def handle_remembered(self, now: Instant) -> None:
        """Use the remembered servers, at once."""
        self._remembered_due = bool(self._context.remembered)
        self._next_remembered = 0
        if self._remembered_due:
            self._next_at = now

    def handle_same_host(self, now: Instant) -> None:
        """Use the nodes of this host: they are bootstrap peers too."""
        self._offer_at_once(now)

    def handle_network_changed(self, now: Instant) -> None:
        """Offer the bootstrap peers at once, and soon again: their connections are gone, or will be."""
        self._loss_backoff = LOSS_BACKOFF_SECONDS
        self._server_lost = True
        self._offer_at_once(now)

    def handle_server_lost(self, peer: bytes, now: Instant, *, is_there: bool = False) -> None:
        """Offer the bootstrap peers soon: the server may be back in a moment, and may be the only one.

        Not if it `is_there`, and was only disconnected.
        """
        joined_at = self._connected.pop(peer, now)
        if is_there:
            return
        if now - joined_at >= STEADY_SECONDS:
            self._loss_backoff = LOSS_BACKOFF_SECONDS
        elif not self._server_lost:  # otherwise it is the same loss: a line takes all servers with it
            self._loss_backoff = min(self._loss_backoff * 2, MAX_BACKOFF_SECONDS)
        self._backoff = self._loss_backoff
        self._server_lost = True
        self._next_at = min(self._next_at, now + self._own_pause())

    def handle_server_joined(self, peer: bytes, now: Instant) -> None:
        """Record that a server is in the routing table, or is there again."""
        self._connected[peer] = now
        self._server_known = True
        self._server_lost = False

    def handle_answer(self, tag: bytes, answer: Answer, now: Instant) -> None:
        """Record whether the routing table has any server."""
        if isinstance(answer, KadReply):
            return
        ran_empty = self._server_known and not answer.peers
        self._server_known = bool(answer.peers)
        if ran_empty:
            self._offer_at_once(now)

    def handle_failure(self, tag: bytes, now: Instant) -> None:
        """Do nothing: the routing table is requested again with the next offer."""

    def poll(self, now: Instant) -> list[Message]:
        """Return what to send to the swarm now: every bootstrap peer, and a request for its routing table."""
        own_peer = self._context.own_peer
        if own_peer is None or now < self._next_at or self._context.requests.room <= 0:
            return []
        peers = _by_peer((*self._context.bootstrap, *self._context.same_host))
        peers.pop(own_peer, None)
        out: list[Message] = [Bootstrap(peer, addresses) for peer, addresses in peers.items()]
        out += [one for one in self._remembered() if one.peer not in peers and one.peer != own_peer]
        out.append(ClosestServers(self._context.requests.open(self, b"", now), own_peer))
        if self._server_known and not self._server_lost:
            self._backoff = MAX_BACKOFF_SECONDS
        elif not self._connected and (peers or self._context.remembered):
            self._backoff = min(self._backoff, max(MAX_ALONE_BACKOFF_SECONDS, self._loss_backoff))
        self._next_at = now + self._own_pause()
        self._backoff = min(self._backoff * 2, MAX_BACKOFF_SECONDS)
        return out

    def _remembered(self) -> list[Bootstrap]:
        """Return some of the remembered servers, the next ones each time, while none is known."""
        servers = self._context.remembered
        if not servers or (self._server_known and not self._remembered_due):
            return []
        begin = self._next_remembered
        is_late = self._backoff >= MAX_ALONE_BACKOFF_SECONDS
        at_once = REMEMBERED_LATER if is_late else REMEMBERED_AT_ONCE
        end = begin + (REMEMBERED_AT_START if self._remembered_due else at_once)
        self._remembered_due = False
        self._next_remembered = end if end < len(servers) else 0
        chosen = servers[begin:end]
        return [Bootstrap(server.peer, server.addresses, remembered=True) for server in chosen]

    def wake_at(self) -> Instant:
        """Return when `poll` has something to do without any answer."""
        return self._next_at

    def changed_readiness(self) -> Readiness | None:
        """Return the readiness of the DHT if it differs from what was returned last, else None."""
        readiness = self._readiness()
        if readiness == self._reported:
            return None
        self._reported = readiness
        return readiness

    def _own_pause(self) -> float:
        own_peer = self._context.own_peer or b""
        return self._backoff * (1.0 - SPREAD * zlib.crc32(own_peer) / 2**32)

    def _offer_at_once(self, now: Instant) -> None:
        self._backoff = FIRST_BACKOFF_SECONDS
        self._next_at = now

    def _readiness(self) -> Readiness:
        if self._server_known:
            return Readiness("dht", True, SERVER_KNOWN)
        if not self._context.bootstrap:
            return Readiness(
                "dht", True, "no bootstrap peer is configured: nodes elsewhere are found by hints only"
            )
        if self._context.own_peer is None:
            return Readiness("dht", False, "the network is not up yet")
        count = len(self._context.bootstrap)
        return Readiness(
            "dht", False, f"no DHT server is known: none of {count} bootstrap peers has answered"
        )


def _by_peer(named: Iterable[PeerAddresses]) -> dict[bytes, tuple[str, ...]]:
    """Return all addresses of each peer: one that listens over two transports is configured twice."""
    found: dict[bytes, tuple[str, ...]] = {}
    for one in named:
        both = dict.fromkeys((*found.get(one.peer, ()), *one.addresses))
        found[one.peer] = tuple(both)[:_MAX_ADDRESSES]
    return found
