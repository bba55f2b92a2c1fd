"""One Find from its start until it is withdrawn: every finder at once, merged; the DHT again and again.

Owns the rounds of one query; sends nothing itself. A finder that finds nothing or fails ends nothing: hints
and nodes of this host are handed over at once, and the lookup in the DHT is repeated with a growing pause,
at once when a server joins.
"""

from ...messages.base import Message
from ...messages.to_discovery import Find
from ...messages.to_session import CandidateFound
from ...messages.types import Finder, Instant, PeerAddresses
from .candidates import Candidates
from .lookup_driver import Providers, Surroundings, Walk
from .metrics import Measurements

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 5.0


class Query:
    """The state of one Find of one session. The swarm is up, so the own peer is known."""

    def __init__(self, find: Find, around: Surroundings, measured: Measurements, now: Instant) -> None:
        assert around.own is not None
        self.key = find.key
        self._around = around
        self._measured = measured
        self._started = now
        self._candidates = Candidates(around.own)
        self._first_seen: set[Finder] = set()
        self._walk: Walk | None = None
        self._found_in_round = 0
        self._pause = FIRST_PAUSE
        self._next_round = now
        self._round_started = now
        self._offer("hint", b"", find.hints, now)
        self.same_host_changed(now)

    def same_host_changed(self, now: Instant) -> None:
        """Take the nodes of this host: each is a candidate, and a server to ask."""
        self._offer("same_host", b"", self._around.same_host, now)
        if self._walk is not None:
            self._walk.begin_with(self._around.same_host)
        elif self._around.same_host:
            self._soon(now)

    def server_joined(self, server: PeerAddresses, now: Instant) -> None:
        """Take a new DHT server: it is asked at once."""
        if self._walk is not None:
            self._walk.begin_with([server])
        else:
            self._soon(now)

    def restart(self, now: Instant) -> None:
        """Begin the lookup again: the swarm has lost its requests."""
        self.stop()
        self._pause = FIRST_PAUSE
        self._next_round = now

    def stop(self) -> None:
        """Give up what is under way."""
        if self._walk is not None:
            self._walk.stop()
            self._walk = None

    def poll(self, now: Instant) -> list[Message]:
        """Return what to send to the swarm now."""
        if self._walk is None and now >= self._next_round:
            self._begin_round(now)
        if self._walk is None:
            return []
        out = self._walk.poll(now)
        if self._walk.finished:
            self._end_round(self._walk, now)
        return out

    def take(self) -> list[CandidateFound]:
        """Return the candidates to hand to the session now."""
        return self._candidates.take()

    def wake_at(self) -> Instant:
        """Return when `poll` has something to do without any answer; inf: never."""
        return self._next_round if self._walk is None else self._walk.wake_at()

    def _begin_round(self, now: Instant) -> None:
        self._candidates.new_round()
        self._found_in_round = 0
        self._round_started = now

        def on_providers(server: bytes, providers: Providers, when: Instant) -> None:
            placed = [self._placed(provider, walk) for provider in providers]
            self._found_in_round += self._offer("dht", server, placed, when)

        walk = self._walk = self._around.walk(self.key, "get_providers", now, on_providers)

    def _end_round(self, walk: Walk, now: Instant) -> None:
        if self._found_in_round:
            outcome = "found"
        elif walk.lookup.answers:
            outcome = "empty"
        else:
            outcome = "failed" if walk.lookup.requests else "no_servers"
        self._measured.observe("dht_query_seconds", ("find_providers", outcome), now - walk.started)
        self._walk = None
        self._next_round = now + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def _soon(self, now: Instant) -> None:
        """Begin the next round at once, but not more often than every FIRST_PAUSE."""
        self._next_round = min(self._next_round, max(now, self._round_started + FIRST_PAUSE))

    @staticmethod
    def _placed(provider: PeerAddresses, walk: Walk) -> PeerAddresses:
        """Add the addresses that the lookup itself knows: servers forget those of providers after 30 min."""
        if provider.addresses:
            return provider
        return PeerAddresses(provider.peer, walk.lookup.addresses(provider.peer))

    def _offer(
        self,
        finder: Finder,
        source: bytes,
        peers: tuple[PeerAddresses, ...] | list[PeerAddresses],
        now: Instant,
    ) -> int:
        count = self._candidates.offer(finder, source, peers)
        if count and finder not in self._first_seen:
            self._first_seen.add(finder)
            self._measured.observe("discovery_first_candidate_seconds", (finder,), now - self._started)
        return count
