"""One iterative Kademlia lookup: which servers to ask next, and when the closest ones have answered.

Implements docs/architecture.md, "Discovery", on the kad-dht specification of libp2p. Owns the path through
the network. Never does I/O, reads no clock and keeps no providers: the caller handles what servers name as
providers.

How it converges. Servers are ordered by their distance from the key. The lookup asks the closest server that
it knows and has not asked; the answer names servers that are closer still, and these are asked next. Each
step typically halves the distance or more, so the number of steps grows with the logarithm of the network's
size. The lookup is finished when each of the K closest servers that it has heard of has answered or failed.

Why not the lookup of py-libp2p (docs/decisions/0004): it stops at its local store and at twenty providers, so
that one decoy hides the true device; it asks in rounds, each as slow as its slowest server (10 s for one that
hangs); and it returns providers only at its end. A search needs the first provider as soon as it is named,
one bound on the requests of all lookups, and tests in virtual time against servers that lie.

Differences from the textbook, each against servers that lie or hang:

- A server that has not answered after SLOW_AFTER_SECONDS no longer holds a slot; its answer still counts.
- Besides the K closest servers known, the closest few that *each* server named are asked. So servers
  that name invented neighbours "closer" than all honest ones cannot end the lookup.
- Half of the requests goes to the closest, as in the textbook; but whom a liar has named waits. A server owes
  one for each peer that it named and that was asked in vain, less those that have answered, and whoever was
  named by debtors alone comes last. To invent peers that are "closer" would cost a server nothing otherwise.
- The other half goes to the branch (all that was named on the paths from one seed) that has had the fewest
  requests, so that one branch cannot use up the budget, even if all in it answer.
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
"""Requests at once, slow ones not counted (kad-dht, "Alpha concurrency parameter": 10 at most)."""
SLOW_AFTER_SECONDS = 0.5
"""After this a request no longer counts towards ALPHA. An honest server, dial included, needs 20–300 ms."""
MAX_REQUESTS = 160
"""Requests of one lookup. 100 000 servers take about 60; the rest allows for dead and lying ones."""
MAX_WANTED_PER_ANSWER = 3
"""Servers of each answer that are asked however close others are: the closest that the answer named."""
MAX_WANTED_SEEDS = 8
"""The same for the seeds, the servers that the lookup begins with."""
MAX_ADDRESSES = 16
MAX_ADDRESSES_PER_ANSWER = 8
MAX_REQUESTS_PER_SERVER = 2


def kademlia_point(data: bytes) -> int:
    """Return the position of a key or a binary peer id in the key space: its SHA-256 as a number."""
    return int.from_bytes(hashlib.sha256(data).digest(), "big")


def distance(key: bytes, peer: bytes) -> int:
    """Return the Kademlia distance of a peer from a key: the XOR of their points.

    kad-dht, "Kademlia distance"; the same as sort_peer_ids_by_distance of py-libp2p (kad_dht/utils.py).
    """
    return kademlia_point(key) ^ kademlia_point(peer)


class _Status(Enum):
    FRESH = "fresh"
    PENDING = "pending"
    ANSWERED = "answered"
    FAILED = "failed"


@dataclass(slots=True)
class _Server:
    peer: bytes
    distance: int
    addresses: tuple[str, ...]
    known: set[str]
    """Those of `addresses`, or more, that are not hearsay."""
    branches: set[bytes]
    """The seeds from which the lookup was led to this server; a seed itself is among its own."""
    namers: set[bytes]
    """The servers that have named this one in an answer."""
    status: _Status = _Status.FRESH
    requested_at: Instant = 0.0
    request_count: int = 0
    has_joined: bool = False
    """It was given another try because there was a connection with it."""
    tried_addresses: int = 0
    """How many of `addresses` were known when it was last asked."""


@dataclass(slots=True)
class Lookup:
    """The state of one lookup for `key` by the node `own_peer`.

    Feed it answers, and `poll` it for requests.
    """

    key: bytes
    own_peer: bytes
    request_count: int = 0
    answer_count: int = 0
    _point: int = field(init=False)
    _servers: dict[bytes, _Server] = field(default_factory=dict)
    _by_distance: list[tuple[int, bytes]] = field(default_factory=list)
    _pending: dict[bytes, _Server] = field(default_factory=dict)
    _closest_named: dict[bytes, tuple[bytes, ...]] = field(default_factory=dict)
    """The closest servers that an answer named, by the server that gave it."""
    _seeds: list[tuple[int, bytes]] = field(default_factory=list)
    _branch_requests: dict[bytes, int] = field(default_factory=dict)
    _debts: dict[bytes, int] = field(default_factory=dict)
    """By server: how many of those that it named were asked in vain, less those that have answered."""

    def __post_init__(self) -> None:
        self._point = kademlia_point(self.key)

    def add_seeds(self, servers: Iterable[PeerAddresses]) -> None:
        """Add servers that the lookup starts from, also while it runs; each of them begins a branch."""
        for named in servers:
            server = self._learn(named, {named.peer}, set())
            if server is not None and (server.distance, server.peer) not in self._seeds:
                insort(self._seeds, (server.distance, server.peer))
                del self._seeds[K * 4 :]

    def handle_joined(self, named: PeerAddresses) -> None:
        """Add a seed that is connected now. If it has failed, it was away, and is asked again."""
        self.add_seeds([named])
        server = self._servers.get(named.peer)
        if server is not None and server.status is _Status.FAILED and not server.has_joined:
            server.status, server.has_joined = _Status.FRESH, True

    def poll(self, now: Instant, room: int) -> list[PeerAddresses]:
        """Return the servers to ask now, at most `room` of them; their requests are pending from now on."""
        fast = sum(now < server.requested_at + SLOW_AFTER_SECONDS for server in self._pending.values())
        slots = min(ALPHA - fast, room, MAX_REQUESTS - self.request_count)
        if slots <= 0:
            return []
        chosen: list[PeerAddresses] = []
        fresh = self._fresh_servers()
        while fresh and len(chosen) < slots:
            server = self._pick_next(fresh)
            fresh.remove(server)
            server.status = _Status.PENDING
            server.requested_at = now
            if server.request_count == 0:
                self._add_to_debts(server.namers, 1)
            server.request_count += 1
            server.tried_addresses = len(server.addresses)
            self._pending[server.peer] = server
            self.request_count += 1
            for branch in server.branches:
                self._branch_requests[branch] = self._branch_requests.get(branch, 0) + 1
            chosen.append(_as_named(server))
        return chosen

    def handle_answer(self, peer: bytes, closer: Sequence[PeerAddresses]) -> None:
        """Learn the neighbours that a server named. An answer of a server that was not asked is ignored."""
        server = self._pending.pop(peer, None)
        if server is None:
            return
        server.status = _Status.ANSWERED
        self.answer_count += 1
        self._add_to_debts(server.namers, -2)  # it was counted as asked in vain until now
        named = [self._learn(neighbour, server.branches, {peer}) for neighbour in closer[:K]]
        nearest = sorted({found.distance: found.peer for found in named if found is not None}.items())
        self._closest_named[peer] = tuple(found for _, found in nearest[:MAX_WANTED_PER_ANSWER])

    def handle_failure(self, peer: bytes) -> None:
        """Record that a server did not answer. It is asked once more if more addresses of it become known."""
        server = self._pending.pop(peer, None)
        if server is None:
            return
        server.status = _Status.FAILED
        self._revive(server)

    @property
    def finished(self) -> bool:
        """Whether no request is pending and no server is left to ask."""
        return not self._pending and (self.request_count >= MAX_REQUESTS or not self._fresh_servers())

    def settled(self, now: Instant) -> bool:
        """Return whether only slow servers are still pending: the closest ones that answer are known."""
        if any(now < server.requested_at + SLOW_AFTER_SECONDS for server in self._pending.values()):
            return False
        return self.request_count >= MAX_REQUESTS or not self._fresh_servers()

    def wake_at(self, now: Instant) -> Instant:
        """Return when the next pending request becomes slow, so that `poll` may return more; inf: never."""
        slow_at = (server.requested_at + SLOW_AFTER_SECONDS for server in self._pending.values())
        return min((when for when in slow_at if when > now), default=math.inf)

    def closest(self) -> list[PeerAddresses]:
        """Return the K closest servers that have answered, closest first."""
        found = []
        for _, peer in self._by_distance:
            server = self._servers[peer]
            if server.status is _Status.ANSWERED:
                found.append(_as_named(server))
                if len(found) == K:
                    break
        return found

    def answered(self) -> frozenset[bytes]:
        """Return the servers that have answered."""
        return frozenset(peer for peer, server in self._servers.items() if server.status is _Status.ANSWERED)

    def named(self, peer: bytes) -> PeerAddresses:
        """Return `peer` with the addresses that servers have named in this lookup."""
        server = self._servers.get(peer)
        return PeerAddresses(peer) if server is None else _as_named(server)

    def _learn(self, named: PeerAddresses, branches: set[bytes], namers: set[bytes]) -> _Server | None:
        if named.peer == self.own_peer:
            return None
        server = self._servers.get(named.peer)
        offered = named.addresses[:MAX_ADDRESSES_PER_ANSWER]
        if server is None:
            point = self._point ^ kademlia_point(named.peer)
            known = set(offered).difference(named.hearsay)
            server = _Server(named.peer, point, offered, known, set(branches), set(namers))
            self._servers[named.peer] = server
            insort(self._by_distance, (point, named.peer))
            return server
        server.branches |= branches
        if server.status is not _Status.ANSWERED:  # to name who has answered already is no merit
            if server.request_count:
                self._add_to_debts(namers - server.namers, 1)
            server.namers |= namers
        merged = dict.fromkeys(server.addresses + offered)
        server.addresses = tuple(merged)[:MAX_ADDRESSES]
        server.known.update(set(offered).difference(named.hearsay))
        server.known.intersection_update(server.addresses)
        self._revive(server)
        return server

    def _revive(self, server: _Server) -> None:
        """Let a failed server be asked again if other servers have named addresses that were not tried."""
        more = len(server.addresses) > server.tried_addresses
        if server.status is _Status.FAILED and more and server.request_count < MAX_REQUESTS_PER_SERVER:
            server.status = _Status.FRESH

    def _fresh_servers(self) -> list[_Server]:
        """Return the servers that are still to be asked, closest first.

        These are the fresh ones among the K closest that have not failed, the closest few of each answer, and
        the closest seeds.
        """
        wanted: dict[bytes, _Server] = {}
        closest = 0
        for _, peer in self._by_distance:
            server = self._servers[peer]
            if server.status is _Status.FAILED:
                continue
            if server.status is _Status.FRESH:
                wanted[peer] = server
            closest += 1
            if closest == K:
                break
        kept = [peer for peers in self._closest_named.values() for peer in peers]
        kept.extend(peer for _, peer in self._seeds[:MAX_WANTED_SEEDS])
        for peer in kept:
            server = self._servers[peer]
            if server.status is _Status.FRESH:
                wanted[peer] = server
        return sorted(wanted.values(), key=lambda server: server.distance)

    def _pick_next(self, fresh: list[_Server]) -> _Server:
        """Return the closest, or every second time the closest of the branch with the fewest requests."""
        if self.request_count % 2 == 0:
            return min(fresh, key=lambda server: (self._debt(server), server.distance))
        return min(fresh, key=lambda server: (self._least_used(server), server.distance))

    def _debt(self, server: _Server) -> int:
        """Return the least that any namer of a server owes; 0 for a seed, which needs none."""
        if server.peer in server.branches:
            return 0
        return max(0, min(self._debts.get(namer, 0) for namer in server.namers))

    def _add_to_debts(self, namers: Iterable[bytes], amount: int) -> None:
        for namer in namers:
            self._debts[namer] = self._debts.get(namer, 0) + amount

    def _least_used(self, server: _Server) -> int:
        return min(self._branch_requests.get(branch, 0) for branch in server.branches)


def _as_named(server: _Server) -> PeerAddresses:
    hearsay = tuple(address for address in server.addresses if address not in server.known)
    return PeerAddresses(server.peer, server.addresses, hearsay)
