"""Announces this node as a provider of keys: at the servers closest to each key, again and again.

For each key there are rounds: a find_node lookup finds the closest servers, and each of them gets
add_provider. The next round follows after ten minutes (servers forget a provider's addresses after 30), or
soon if no server has stored the announcement. In between the announcement is renewed every minute at the
servers that have stored it, without a lookup: whoever pushed out a record, or restarted a server, has not
hidden a code for the rest of its life. Where a server no longer takes it, a round with a lookup follows.

The requests to one server are paced, over all keys: servers refuse more than 10 announcements in 10 s from
one peer. So each server has a queue, from which at most one announcement a second is sent. A refused or
unanswered one goes back into the queue, up to MAX_TRIES. Keys that the server has not stored yet go before
repetitions.

Why not `provide` of py-libp2p (docs/decisions/0004): it reports success when nothing was stored. Here only a
server's answer counts. There is no message that takes an announcement back: withdrawing a key ends the
rounds, and the record expires on the servers.

Owns which server has been sent what, and when. Never sends anything; `poll` returns what to send.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from ...messages.base import Message
from ...messages.to_swarm import KadRequest
from ...messages.types import Instant, PeerAddresses
from .context import DiscoveryContext
from .lookup import K, distance
from .lookup_driver import LookupDriver
from .metrics import DiscoveryMetrics
from .pending_requests import REQUEST_TIMEOUT_SECONDS, Answer

REANNOUNCE_INTERVAL_SECONDS = 600.0
"""From the end of a round with a lookup to the next such round."""
RENEWAL_INTERVAL_SECONDS = 60.0
"""From the end of a successful round to the next renewal; a code lives for five minutes."""
FIRST_BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 5.0
"""Pauses after a round in which no server stored the announcement: doubled each time. Nobody finds the code
meanwhile, and that a line is back makes no event here."""
SERVER_INTERVAL_SECONDS = 1.0
"""Between two announcements to one server, of whatever keys."""
EARLY_START_SECONDS = 0.7
"""After this time a round announces to the closest servers so far, though its lookup still runs."""
MAX_TRIES = 3
MAX_SERVER_QUEUES = 1024


@dataclass(slots=True)
class _ServerQueue:
    """The keys to announce to one server.

    It outlives its last key by the interval, so that the pace holds.
    """

    server: PeerAddresses
    next_at: Instant
    pending: int = 0
    """Requests to this server that have no answer yet."""
    new: dict[bytes, None] = field(default_factory=dict)
    repeated: dict[bytes, None] = field(default_factory=dict)
    """Keys in order; `new` are those that this server has not yet stored."""

    def add(self, key: bytes, *, repeated: bool) -> None:
        """Append a key, if it is not queued yet."""
        (self.repeated if repeated else self.new)[key] = None

    def remove(self, key: bytes) -> None:
        """Remove a key, if it is queued."""
        self.new.pop(key, None)
        self.repeated.pop(key, None)

    def pop(self) -> bytes:
        """Remove and return the next key."""
        queue = self.new or self.repeated
        key = next(iter(queue))
        del queue[key]
        return key


@dataclass(slots=True)
class _KeyAnnouncement:
    """One key and its present round."""

    next_round: Instant
    backoff: float = FIRST_BACKOFF_SECONDS
    lookup: LookupDriver | None = None
    round_started: Instant = 0.0
    in_round: bool = False
    stored_in_round: int = 0
    chosen_in_round: set[bytes] = field(default_factory=set)
    """Servers to which this round announces."""
    next_lookup: Instant = 0.0
    """Rounds before this time are renewals, without a lookup."""
    seen_answers: tuple[int, bool] = (0, False)
    """Number of answers of the lookup, and whether it was time to start, when servers were last chosen."""
    holders: dict[bytes, PeerAddresses] = field(default_factory=dict)
    """The K closest servers that have stored the announcement in any round."""
    tries: dict[bytes, int] = field(default_factory=dict)
    """Servers that are queued or have not answered yet, with the number of requests sent."""
    outdated: set[bytes] = field(default_factory=set)
    """Servers that have not answered yet, and were sent addresses that this node had before."""


class Announcer:
    """All keys that this node provides."""

    def __init__(self, context: DiscoveryContext, metrics: DiscoveryMetrics) -> None:
        self._context = context
        self._metrics = metrics
        self._announcements: dict[bytes, _KeyAnnouncement] = {}
        self._queues: dict[bytes, _ServerQueue] = {}

    def provide(self, key: bytes, now: Instant) -> None:
        """Announce `key` from now on; nothing changes if it is announced already."""
        self._announcements.setdefault(key, _KeyAnnouncement(next_round=now))

    def withdraw(self, key: bytes) -> None:
        """Stop announcing `key`."""
        announcement = self._announcements.pop(key, None)
        if announcement is None:
            return
        if announcement.lookup is not None:
            announcement.lookup.stop()
        for queue in self._queues.values():
            queue.remove(key)

    def handle_server_joined(self, server: PeerAddresses, now: Instant) -> None:
        """Announce to a new server, or to one that has come back and may have lost its records.

        A running round gets it as a seed of its lookup; between two rounds it is sent the key at once, if
        it is close enough to the key.
        """
        for key, announcement in self._announcements.items():
            if announcement.lookup is not None:
                announcement.lookup.handle_joined(server)
            elif self._is_close_enough(key, announcement, server.peer):
                self._enqueue(key, announcement, server, now)

    def handle_same_host(self, now: Instant) -> None:
        """Use the nodes of this host as servers."""
        for server in self._context.same_host:
            self.handle_server_joined(server, now)

    def renew(self, now: Instant) -> None:
        """Announce anew to those that hold an announcement: this node has other addresses.

        A round that runs, perhaps with dead servers for a while, is not waited for.
        """
        for key, announcement in self._announcements.items():
            announcement.backoff = FIRST_BACKOFF_SECONDS
            if announcement.in_round:
                self._send_again(key, announcement, now)
            else:
                announcement.next_round = now

    def restart(self, now: Instant) -> None:
        """Begin every announcement again: the swarm has lost its requests, or listens elsewhere."""
        self._context.requests.abandon(self)
        for queue in self._queues.values():
            # The queues stay, because servers go on counting: the pace holds over a restart of the swarm.
            queue.pending = 0
            queue.new.clear()
            queue.repeated.clear()
        for announcement in self._announcements.values():
            if announcement.lookup is not None:
                announcement.lookup.stop()
                announcement.lookup = None
            announcement.tries.clear()
            announcement.outdated.clear()
            announcement.in_round = False
            announcement.backoff = FIRST_BACKOFF_SECONDS
            announcement.next_round = announcement.next_lookup = now

    def announce_again(self, now: Instant) -> None:
        """Send every key to the servers that have it, or are being sent it: this node's addresses are new."""
        for key, announcement in self._announcements.items():
            self._send_again(key, announcement, now)

    def poll(self, now: Instant) -> list[Message]:
        """Return what to send to the swarm now."""
        out: list[Message] = []
        for key, announcement in self._announcements.items():
            if not announcement.in_round and now >= announcement.next_round:
                self._start_round(key, announcement, now)
            if announcement.lookup is not None:
                out.extend(announcement.lookup.poll(now))
                self._enqueue_closest(key, announcement, announcement.lookup, now)
            if announcement.in_round and announcement.lookup is None and not announcement.tries:
                self._end_round(announcement, now)
        out.extend(self._poll_queues(now))
        return out

    def wake_at(self) -> Instant:
        """Return when `poll` has something to do without any answer; inf: never."""
        times = [
            queue.next_at
            for queue in self._queues.values()
            if queue.new or queue.repeated or not queue.pending
        ]
        for announcement in self._announcements.values():
            if announcement.lookup is not None:
                times.append(announcement.lookup.wake_at())
            elif not announcement.in_round:
                times.append(announcement.next_round)
        return min(times, default=math.inf)

    def handle_answer(self, tag: bytes, answer: Answer, now: Instant) -> None:
        """Record that a server has stored the announcement."""
        server, key = _split_tag(tag)
        self._queues[server].pending -= 1
        announcement = self._announcements.get(key)
        if announcement is None:
            return
        announcement.tries.pop(server, None)
        announcement.stored_in_round += 1
        holders = announcement.holders
        holders[server] = self._queues[server].server
        if len(holders) > K:
            del holders[_farthest(key, holders)]
        if server in announcement.outdated:
            announcement.outdated.discard(server)
            self._enqueue(key, announcement, self._queues[server].server, now)

    def handle_failure(self, tag: bytes, now: Instant) -> None:
        """Try a server again that refused or did not answer: after 2, then 4 seconds, up to MAX_TRIES."""
        server, key = _split_tag(tag)
        queue = self._queues[server]
        queue.pending -= 1
        announcement = self._announcements.get(key)
        if announcement is None or server not in announcement.tries:
            return
        tries = announcement.tries[server]
        if tries >= MAX_TRIES:
            del announcement.tries[server]
            if announcement.holders.pop(server, None) is not None:
                announcement.next_lookup = min(announcement.next_lookup, now)
            return
        queue.next_at = max(queue.next_at, now + 2.0**tries)
        queue.add(key, repeated=server in announcement.holders)

    def _send_again(self, key: bytes, announcement: _KeyAnnouncement, now: Instant) -> None:
        for server in announcement.holders.values():
            self._enqueue(key, announcement, server, now)
        announcement.outdated = {server for server, tries in announcement.tries.items() if tries}

    def _start_round(self, key: bytes, announcement: _KeyAnnouncement, now: Instant) -> None:
        announcement.in_round = True
        announcement.round_started = now
        announcement.stored_in_round = 0
        announcement.chosen_in_round.clear()
        if announcement.holders and now < announcement.next_lookup:
            for server in announcement.holders.values():
                self._enqueue(key, announcement, server, now)
            return
        announcement.next_lookup = now + REANNOUNCE_INTERVAL_SECONDS
        announcement.seen_answers = (0, False)
        announcement.lookup = self._context.start_lookup(key, "find_node", now)

    def _enqueue_closest(
        self, key: bytes, announcement: _KeyAnnouncement, driver: LookupDriver, now: Instant
    ) -> None:
        """Announce to the closest servers found, as soon as that is sensible; those found later are added.

        Sensible is: only slow servers are still waited for, or EARLY_START_SECONDS have passed. Where many
        servers are dead the lookup takes seconds, and a joiner should find this node before that.
        """
        may_start = driver.settled or now >= driver.started + EARLY_START_SECONDS
        answers = (driver.lookup.answer_count, may_start)
        if answers == announcement.seen_answers and not driver.finished:
            return
        announcement.seen_answers = answers
        if driver.finished or (may_start and len(announcement.chosen_in_round) < K):
            for server in driver.lookup.closest():
                if server.peer not in announcement.chosen_in_round:
                    announcement.chosen_in_round.add(server.peer)
                    self._enqueue(key, announcement, server, now)
        if driver.finished:
            announcement.lookup = None

    def _end_round(self, announcement: _KeyAnnouncement, now: Instant) -> None:
        announcement.in_round = False
        stored = announcement.stored_in_round > 0
        outcome = "stored" if stored else "failed"
        self._metrics.observe("dht_query_seconds", ("announce", outcome), now - announcement.round_started)
        if stored:
            announcement.next_round = now + RENEWAL_INTERVAL_SECONDS
            announcement.backoff = FIRST_BACKOFF_SECONDS
        else:
            announcement.next_round = announcement.next_lookup = now + announcement.backoff
            announcement.backoff = min(announcement.backoff * 2, MAX_BACKOFF_SECONDS)

    @staticmethod
    def _is_close_enough(key: bytes, announcement: _KeyAnnouncement, server: bytes) -> bool:
        """Return whether a server is among the K closest, as far as this node knows."""
        if len(announcement.holders) < K or server in announcement.holders:
            return True
        return distance(key, server) < distance(key, _farthest(key, announcement.holders))

    def _enqueue(
        self, key: bytes, announcement: _KeyAnnouncement, server: PeerAddresses, now: Instant
    ) -> None:
        """Queue `key` for a server, unless it is queued there or unanswered already."""
        if server.peer in announcement.tries or server.peer == self._context.own_peer:
            return
        queue = self._queues.get(server.peer)
        if queue is None:
            if len(self._queues) >= MAX_SERVER_QUEUES:
                return
            queue = self._queues[server.peer] = _ServerQueue(server, next_at=now)
        elif server.addresses:
            queue.server = server
        announcement.tries[server.peer] = 0
        queue.add(key, repeated=server.peer in announcement.holders)

    def _poll_queues(self, now: Instant) -> list[Message]:
        """Return one announcement for each server whose interval has passed."""
        out: list[Message] = []
        requests = self._context.requests
        for server, queue in list(self._queues.items()):
            if queue.next_at > now:
                continue
            if not queue.new and not queue.repeated:
                if not queue.pending:
                    del self._queues[server]  # its interval has passed: a new queue may start at once
                continue
            if requests.room <= 0:
                break
            key = queue.pop()
            self._announcements[key].tries[server] += 1
            queue.next_at = now + SERVER_INTERVAL_SECONDS
            queue.pending += 1
            out.append(
                KadRequest(
                    request=requests.open(self, _join_tag(server, key), now),
                    peer=server,
                    addresses=queue.server.addresses,
                    hearsay=queue.server.hearsay,
                    op="add_provider",
                    key=key,
                    timeout=REQUEST_TIMEOUT_SECONDS,
                )
            )
        return out


def _farthest(key: bytes, servers: Iterable[bytes]) -> bytes:
    return max(servers, key=lambda server: distance(key, server))


def _join_tag(server: bytes, key: bytes) -> bytes:
    """Return the tag of a request: whom it asks, and about which key."""
    return bytes([len(server)]) + server + key


def _split_tag(tag: bytes) -> tuple[bytes, bytes]:
    """Return the server and the key of a request."""
    end = 1 + tag[0]
    return tag[1:end], tag[end:]
