"""One iterative Kademlia lookup: which servers to ask next, and when the closest ones have answered.

Owns the walk through the network and nothing else: no I/O, no clock, no store of providers; what servers
say about providers is for the caller. Implements docs/architecture.md, "discovery", on the kad-dht
specification of libp2p ("Kademlia distance": XOR of SHA-256 of key and of peer id, as an unsigned number;
py-libp2p: kad_dht/utils.py, sort_peer_ids_by_distance).

Differences from the textbook, each against servers that lie or hang:

- a server that has not answered after SLOW_AFTER no longer holds a slot, though its answer still counts;
- besides the K closest servers known, the closest few that *each* server named are asked, so that servers
  which name invented neighbours "closer" than all honest ones cannot end the walk;
- every second request goes to the branch (everything named from one first server on) that has had the
  fewest, so that one branch cannot use up the budget.
"""

import hashlib
import math
from bisect import insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from ...messages.types import Instant, PeerAddresses

K = 20
"""Servers that keep a key, and neighbours in one answer (kad-dht, "Replication parameter (k)")."""
ALPHA = 6
"""Requests at once that are not slow (kad-dht, "Alpha concurrency parameter": 10 at most)."""
SLOW_AFTER = 0.5
"""Seconds after which a request gives up its slot: an honest server with its dial needs 20–300 ms."""
MAX_REQUESTS = 160
"""Requests of one lookup. 100 000 servers need about 60; the rest is for the dead and for liars."""
NAMED_KEPT = 3
"""Servers that are asked on the word of a single server, however close others are."""
FIRST_KEPT = 8
"""The same for the servers that the lookup begins with."""
MAX_ADDRESSES = 16
ADDRESSES_PER_NAMING = 8
_ASKS_PER_SERVER = 2


def kademlia_point(data: bytes) -> int:
    """Return where a key or a binary peer id stands in the key space."""
    return int.from_bytes(hashlib.sha256(data).digest(), "big")


def distance(key: bytes, peer: bytes) -> int:
    """Return the Kademlia distance of a peer from a key."""
    return kademlia_point(key) ^ kademlia_point(peer)


class _Status(Enum):
    FRESH = "fresh"
    ASKED = "asked"
    ANSWERED = "answered"
    FAILED = "failed"


@dataclass(slots=True)
class _Server:
    peer: bytes
    distance: int
    addresses: tuple[str, ...]
    branches: set[bytes]
    status: _Status = _Status.FRESH
    asked_at: Instant = 0.0
    asks: int = 0
    asked_addresses: int = 0


@dataclass(slots=True)
class Lookup:
    """The state of one lookup for `key` by the peer `own`. Feed it answers, `poll` it for requests."""

    key: bytes
    own: bytes
    requests: int = 0
    answers: int = 0
    _point: int = field(init=False)
    _servers: dict[bytes, _Server] = field(default_factory=dict)
    _order: list[tuple[int, bytes]] = field(default_factory=list)
    _asked: dict[bytes, _Server] = field(default_factory=dict)
    _named: dict[bytes, tuple[bytes, ...]] = field(default_factory=dict)
    _first: list[tuple[int, bytes]] = field(default_factory=list)
    _branch_requests: dict[bytes, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._point = kademlia_point(self.key)

    def begin_with(self, servers: Iterable[PeerAddresses]) -> None:
        """Add servers that the lookup starts from, also while it runs; each begins a branch of its own."""
        for named in servers:
            server = self._learn(named, {named.peer})
            if server is not None and (server.distance, server.peer) not in self._first:
                insort(self._first, (server.distance, server.peer))
                del self._first[K * 4 :]

    def poll(self, now: Instant, room: int) -> list[PeerAddresses]:
        """Return the servers to ask now, at most `room`; they count as asked from now on."""
        fast = sum(now < server.asked_at + SLOW_AFTER for server in self._asked.values())
        slots = min(ALPHA - fast, room, MAX_REQUESTS - self.requests)
        if slots <= 0:
            return []
        chosen: list[PeerAddresses] = []
        fresh = self._wanted()
        while fresh and len(chosen) < slots:
            server = self._choose(fresh)
            fresh.remove(server)
            server.status = _Status.ASKED
            server.asked_at = now
            server.asks += 1
            server.asked_addresses = len(server.addresses)
            self._asked[server.peer] = server
            self.requests += 1
            for branch in server.branches:
                self._branch_requests[branch] = self._branch_requests.get(branch, 0) + 1
            chosen.append(PeerAddresses(server.peer, server.addresses))
        return chosen

    def answered(self, peer: bytes, closer: Sequence[PeerAddresses]) -> None:
        """Take the neighbours that an asked server named; anything from one that was not asked is ignored."""
        server = self._asked.pop(peer, None)
        if server is None:
            return
        server.status = _Status.ANSWERED
        self.answers += 1
        named = [self._learn(neighbour, server.branches) for neighbour in closer[:K]]
        nearest = sorted({found.distance: found.peer for found in named if found is not None}.items())
        self._named[peer] = tuple(found for _, found in nearest[:NAMED_KEPT])

    def failed(self, peer: bytes) -> None:
        """Take that an asked server did not answer. It is asked once more if it has got other addresses."""
        server = self._asked.pop(peer, None)
        if server is None:
            return
        server.status = _Status.FAILED
        self._revive(server)

    @property
    def finished(self) -> bool:
        """Whether nothing is open and nobody is left to ask."""
        return not self._asked and (self.requests >= MAX_REQUESTS or not self._wanted())

    def settled(self, now: Instant) -> bool:
        """Whether only slow servers are still open: the closest ones that answer are known."""
        if any(now < server.asked_at + SLOW_AFTER for server in self._asked.values()):
            return False
        return self.requests >= MAX_REQUESTS or not self._wanted()

    def wake_at(self, now: Instant) -> Instant:
        """Return when the next open request becomes slow, so that `poll` may return others; inf: never."""
        turning = (server.asked_at + SLOW_AFTER for server in self._asked.values())
        return min((when for when in turning if when > now), default=math.inf)

    def closest(self) -> list[PeerAddresses]:
        """Return the K closest servers that have answered, closest first."""
        found = []
        for _, peer in self._order:
            server = self._servers[peer]
            if server.status is _Status.ANSWERED:
                found.append(PeerAddresses(peer, server.addresses))
                if len(found) == K:
                    break
        return found

    def addresses(self, peer: bytes) -> tuple[str, ...]:
        """Return what the lookup has heard of where `peer` is."""
        server = self._servers.get(peer)
        return () if server is None else server.addresses

    def _learn(self, named: PeerAddresses, branches: set[bytes]) -> _Server | None:
        if named.peer == self.own:
            return None
        server = self._servers.get(named.peer)
        offered = named.addresses[:ADDRESSES_PER_NAMING]
        if server is None:
            point = self._point ^ kademlia_point(named.peer)
            server = _Server(named.peer, point, offered, set(branches))
            self._servers[named.peer] = server
            insort(self._order, (point, named.peer))
            return server
        server.branches |= branches
        merged = dict.fromkeys(server.addresses + offered)
        server.addresses = tuple(merged)[:MAX_ADDRESSES]
        self._revive(server)
        return server

    def _revive(self, server: _Server) -> None:
        """Let a failed server be asked again when others have named addresses that were not tried."""
        more = len(server.addresses) > server.asked_addresses
        if server.status is _Status.FAILED and more and server.asks < _ASKS_PER_SERVER:
            server.status = _Status.FRESH

    def _wanted(self) -> list[_Server]:
        """Return the servers still to ask, closest first."""
        wanted: dict[bytes, _Server] = {}
        closest = 0
        for _, peer in self._order:
            server = self._servers[peer]
            if server.status is _Status.FAILED:
                continue
            if server.status is _Status.FRESH:
                wanted[peer] = server
            closest += 1
            if closest == K:
                break
        kept = [peer for peers in self._named.values() for peer in peers]
        kept.extend(peer for _, peer in self._first[:FIRST_KEPT])
        for peer in kept:
            server = self._servers[peer]
            if server.status is _Status.FRESH:
                wanted[peer] = server
        return sorted(wanted.values(), key=lambda server: server.distance)

    def _choose(self, fresh: list[_Server]) -> _Server:
        if self.requests % 2 == 0:
            return fresh[0]
        return min(fresh, key=lambda server: (self._least_used(server), server.distance))

    def _least_used(self, server: _Server) -> int:
        return min(self._branch_requests.get(branch, 0) for branch in server.branches)
