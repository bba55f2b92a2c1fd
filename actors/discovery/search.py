"""One search: everything that a session's Find causes, from its arrival until it is withdrawn.

All finders run at once and their results are merged (candidates.py). Hints and nodes of this host become
candidates at once, and get a head start: the device that is looked for is most likely among them, and a
lookup would only take processor time from the pairing, and tell servers of it. The DHT is looked up in
rounds, with a growing pause between two rounds; a server that joins starts the next round early. A finder
that fails or finds nothing never ends the search.

Owns the rounds of one search. Never sends anything; `poll` and `pop_candidates` return what to send.
"""

from collections.abc import Sequence

from ...messages.base import Message
from ...messages.to_discovery import Find
from ...messages.to_session import CandidateFound
from ...messages.types import Finder, Instant, PeerAddresses
from .candidates import Candidates
from .context import DiscoveryContext
from .lookup_driver import LookupDriver, Providers
from .metrics import DiscoveryMetrics

HEAD_START_SECONDS = 0.25
"""Of the candidates that are known without asking anybody: so much later the first round begins."""
FIRST_BACKOFF_SECONDS = 0.25
MAX_BACKOFF_SECONDS = 5.0
"""Pauses between two rounds: doubled each time, from the first to the longest."""


class Search:
    """The state of one Find of one session. Created once the swarm is up, so this node's peer id is known."""

    def __init__(
        self, find: Find, context: DiscoveryContext, metrics: DiscoveryMetrics, now: Instant
    ) -> None:
        assert context.own_peer is not None
        self.key = find.key
        self._context = context
        self._metrics = metrics
        self._started = now
        self._candidates = Candidates(context.own_peer)
        self._measured_finders: set[Finder] = set()
        self._lookup: LookupDriver | None = None
        self._answered: frozenset[bytes] = frozenset()
        """The servers that have answered in the last round."""
        self._providers_in_round = 0
        self._backoff = FIRST_BACKOFF_SECONDS
        self._next_round = now
        self._round_started = now
        known = self._offer("hint", b"", find.hints, now)
        known += self._offer("same_host", b"", context.same_host, now)
        if known:
            self._next_round = now + HEAD_START_SECONDS

    def handle_same_host(self, now: Instant) -> None:
        """Use the nodes of this host: each is a candidate, and a server to ask."""
        self._offer("same_host", b"", self._context.same_host, now)
        if self._lookup is not None:
            self._lookup.add_seeds(self._context.same_host)
        elif self._context.same_host:
            self._hasten_next_round(now)

    def handle_lan_peer(self, source: bytes, named: PeerAddresses, now: Instant) -> None:
        """Use a device of which `source`, an IP address on the local network, says that it shows the code."""
        self._offer("mdns", source, (named,), now)

    def handle_server_joined(self, server: PeerAddresses, now: Instant) -> None:
        """Use a new DHT server: the running lookup asks it, or the next round begins early.

        Not because of one that the last round has asked, which is told of when identify is over: in a large
        DHT each round connects with some, and would be the reason for the next.
        """
        if self._lookup is not None:
            self._lookup.handle_joined(server)
        elif server.peer not in self._answered:
            self._hasten_next_round(now)

    def restart(self, now: Instant) -> None:
        """Begin the lookup again: the swarm has restarted and has lost its requests."""
        self.stop()
        self._answered = frozenset()
        self._backoff = FIRST_BACKOFF_SECONDS
        self._next_round = now

    def stop(self) -> None:
        """Give up the running lookup."""
        if self._lookup is not None:
            self._lookup.stop()
            self._lookup = None

    def poll(self, now: Instant) -> list[Message]:
        """Return what to send to the swarm now."""
        if self._lookup is None and now >= self._next_round:
            self._start_round(now)
        if self._lookup is None:
            return []
        out = self._lookup.poll(now)
        if self._lookup.finished:
            self._end_round(self._lookup, now)
        return out

    def pop_candidates(self, now: Instant) -> list[CandidateFound]:
        """Return the candidates to send to the session now."""
        return self._candidates.pop_changed(now)

    def wake_at(self) -> Instant:
        """Return when `poll` has something to do without any answer; inf: never."""
        return self._next_round if self._lookup is None else self._lookup.wake_at()

    def _start_round(self, now: Instant) -> None:
        self._candidates.start_round()
        self._providers_in_round = 0
        self._round_started = now

        def on_providers(server: bytes, providers: Providers, when: Instant) -> None:
            completed = [self._with_addresses(provider, lookup) for provider in providers]
            self._providers_in_round += self._offer("dht", server, completed, when)

        lookup = self._context.start_lookup(self.key, "get_providers", now, on_providers)
        self._lookup = lookup

    def _end_round(self, driver: LookupDriver, now: Instant) -> None:
        if self._providers_in_round:
            outcome = "found"
        elif driver.lookup.answer_count:
            outcome = "empty"
        else:
            outcome = "failed" if driver.lookup.request_count else "no_servers"
        self._metrics.observe("dht_query_seconds", ("find_providers", outcome), now - driver.started)
        self._lookup = None
        self._answered = driver.lookup.answered()
        self._next_round = now + self._backoff
        self._backoff = min(self._backoff * 2, MAX_BACKOFF_SECONDS)

    def _hasten_next_round(self, now: Instant) -> None:
        """Begin the next round now, but not sooner than FIRST_BACKOFF_SECONDS after the start of the last."""
        self._next_round = min(self._next_round, max(now, self._round_started + FIRST_BACKOFF_SECONDS))

    @staticmethod
    def _with_addresses(provider: PeerAddresses, driver: LookupDriver) -> PeerAddresses:
        """Add the addresses that the lookup has learned, if the server named none.

        Servers forget the addresses of a provider after 30 minutes, but keep the provider.
        """
        if provider.addresses:
            return provider
        return driver.lookup.named(provider.peer)

    def _offer(self, finder: Finder, source: bytes, peers: Sequence[PeerAddresses], now: Instant) -> int:
        """Offer peers to the candidates; return how many of them were looked at."""
        count = self._candidates.offer(finder, source, peers)
        if count and finder not in self._measured_finders:
            self._measured_finders.add(finder)
            self._metrics.observe("discovery_first_candidate_seconds", (finder,), now - self._started)
        return count
