"""Announcing: this node as provider of each key, at the servers closest to it, again and again.

Owns what was told to whom and when; sends nothing itself. The library's own `provide` reports success when
nothing was stored, so each server's answer counts here. There is no way to take an announcement back:
withdrawing a key stops the repetition, and the record dies on the servers by itself.
"""

import math
from dataclasses import dataclass, field

from ...messages.base import Message
from ...messages.to_swarm import KadRequest
from ...messages.types import Instant, PeerAddresses
from .lookup import K, distance
from .lookup_driver import Surroundings, Walk
from .metrics import DiscoveryMetrics as Measurements
from .pending_requests import ANSWER_WITHIN, Answer

REPEAT_EVERY = 600.0
"""Seconds between announcements: servers forget a provider's addresses after 30 minutes."""
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
"""Pauses after a round in which no server took the announcement."""
PER_SERVER = 1.0
"""Seconds between two announcements to one server: servers refuse more than 10 in 10 s from a peer."""
IMPATIENT = 0.7
"""Seconds after which a round announces to whom it has, though closer servers may still be found."""
MAX_TRIES = 3
MAX_LINES = 1024


@dataclass(slots=True)
class _Line:
    """What waits to be told to one server. Keys that it has never heard of go before repetitions."""

    addresses: tuple[str, ...]
    next_at: Instant
    open: int = 0
    new: dict[bytes, None] = field(default_factory=dict)
    repeated: dict[bytes, None] = field(default_factory=dict)

    def pop(self) -> bytes:
        queue = self.new or self.repeated
        key = next(iter(queue))
        del queue[key]
        return key


@dataclass(slots=True)
class _Provided:
    next_round: Instant
    pause: float = FIRST_PAUSE
    walk: Walk | None = None
    started: Instant = 0.0
    in_round: bool = False
    taken_in_round: int = 0
    asked_in_round: set[bytes] = field(default_factory=set)
    followed: tuple[int, bool] = (0, False)  # answers of the walk and earliness when it was last followed
    told: dict[bytes, int] = field(default_factory=dict)  # server → its distance
    waiting: dict[bytes, int] = field(default_factory=dict)  # server → tries so far


class Announcer:
    """All keys that this node provides."""

    def __init__(self, around: Surroundings, measured: Measurements) -> None:
        self._around = around
        self._measured = measured
        self._provided: dict[bytes, _Provided] = {}
        self._lines: dict[bytes, _Line] = {}

    def provide(self, key: bytes, now: Instant) -> None:
        """Announce `key` from now on; nothing changes if it is announced already."""
        self._provided.setdefault(key, _Provided(next_round=now))

    def withdraw(self, key: bytes) -> None:
        """Announce `key` no more."""
        provided = self._provided.pop(key, None)
        if provided is None:
            return
        if provided.walk is not None:
            provided.walk.stop()
        for line in self._lines.values():
            line.new.pop(key, None)
            line.repeated.pop(key, None)

    def server_joined(self, server: PeerAddresses, now: Instant) -> None:
        """Take a new server, or one that has come back and may have forgotten everything."""
        for key, provided in self._provided.items():
            if provided.walk is not None:
                provided.walk.begin_with([server])
            elif self._belongs(key, provided, server.peer):
                self._tell(key, provided, server, now)

    def restart(self, now: Instant) -> None:
        """Begin every announcement again: the swarm has lost its requests, or has other addresses."""
        self._around.requests.abandon(self)
        for line in self._lines.values():  # the lines stay: servers count on
            line.open = 0
            line.new.clear()
            line.repeated.clear()
        for provided in self._provided.values():
            if provided.walk is not None:
                provided.walk.stop()
                provided.walk = None
            provided.waiting.clear()
            provided.in_round = False
            provided.pause = FIRST_PAUSE
            provided.next_round = now

    def same_host_changed(self, now: Instant) -> None:
        """Take the nodes of this host as servers."""
        for server in self._around.same_host:
            self.server_joined(server, now)

    def poll(self, now: Instant) -> list[Message]:
        """Return what to send to the swarm now."""
        out: list[Message] = []
        for key, provided in self._provided.items():
            if not provided.in_round and now >= provided.next_round:
                provided.in_round = True
                provided.started = now
                provided.taken_in_round = 0
                provided.asked_in_round.clear()
                provided.followed = (0, False)
                provided.walk = self._around.walk(key, "find_node", now)
            if provided.walk is not None:
                out.extend(provided.walk.poll(now))
                self._follow(key, provided, provided.walk, now)
            if provided.in_round and provided.walk is None and not provided.waiting:
                self._end_round(provided, now)
        out.extend(self._poll_lines(now))
        return out

    def wake_at(self) -> Instant:
        """Return when `poll` has something to do without any answer; inf: never."""
        times = [line.next_at for line in self._lines.values() if line.new or line.repeated or not line.open]
        for provided in self._provided.values():
            if provided.walk is not None:
                times.append(provided.walk.wake_at())
            elif not provided.in_round:
                times.append(provided.next_round)
        return min(times, default=math.inf)

    def answered(self, tag: bytes, answer: Answer, now: Instant) -> None:
        """Take that a server has the announcement."""
        server, key = _untag(tag)
        self._lines[server].open -= 1
        provided = self._provided.get(key)
        if provided is None:
            return
        provided.waiting.pop(server, None)
        provided.taken_in_round += 1
        provided.told[server] = distance(key, server)
        if len(provided.told) > K:
            del provided.told[max(provided.told, key=provided.told.__getitem__)]

    def failed(self, tag: bytes, now: Instant) -> None:
        """Take that a server did not answer, or refused; it is tried again, later each time."""
        server, key = _untag(tag)
        line = self._lines[server]
        line.open -= 1
        provided = self._provided.get(key)
        if provided is None or server not in provided.waiting:
            return
        tries = provided.waiting[server]
        if tries >= MAX_TRIES:
            del provided.waiting[server]
            return
        line.next_at = max(line.next_at, now + 2.0**tries)
        (line.repeated if server in provided.told else line.new)[key] = None

    def _follow(self, key: bytes, provided: _Provided, walk: Walk, now: Instant) -> None:
        """Announce as soon as the closest servers that answer are known; those found later join in.

        Where many are dead that takes seconds; after IMPATIENT the closest ones so far are told.
        """
        early = walk.settled or now >= walk.started + IMPATIENT
        present = (walk.lookup.answers, early)
        if present == provided.followed and not walk.finished:
            return
        provided.followed = present
        if walk.finished or (early and len(provided.asked_in_round) < K):
            for server in walk.lookup.closest():
                if server.peer not in provided.asked_in_round:
                    provided.asked_in_round.add(server.peer)
                    self._tell(key, provided, server, now)
        if walk.finished:
            provided.walk = None

    def _end_round(self, provided: _Provided, now: Instant) -> None:
        provided.in_round = False
        taken = provided.taken_in_round > 0
        outcome = "stored" if taken else "failed"
        self._measured.observe("dht_query_seconds", ("announce", outcome), now - provided.started)
        if taken:
            provided.next_round = now + REPEAT_EVERY
            provided.pause = FIRST_PAUSE
        else:
            provided.next_round = now + provided.pause
            provided.pause = min(provided.pause * 2, LONGEST_PAUSE)

    @staticmethod
    def _belongs(key: bytes, provided: _Provided, server: bytes) -> bool:
        if len(provided.told) < K or server in provided.told:
            return True
        return distance(key, server) < max(provided.told.values())

    def _tell(self, key: bytes, provided: _Provided, server: PeerAddresses, now: Instant) -> None:
        if server.peer in provided.waiting or server.peer == self._around.own:
            return
        line = self._lines.get(server.peer)
        if line is None:
            if len(self._lines) >= MAX_LINES:
                return
            line = self._lines[server.peer] = _Line(server.addresses, next_at=now)
        elif server.addresses:
            line.addresses = server.addresses
        provided.waiting[server.peer] = 0
        (line.repeated if server.peer in provided.told else line.new)[key] = None

    def _poll_lines(self, now: Instant) -> list[Message]:
        out: list[Message] = []
        requests = self._around.requests
        for server, line in list(self._lines.items()):
            if line.next_at > now:
                continue
            if not line.new and not line.repeated:
                if not line.open:
                    del self._lines[server]  # it has had its pause
                continue
            if requests.room <= 0:
                break
            key = line.pop()
            self._provided[key].waiting[server] += 1
            line.next_at = now + PER_SERVER
            line.open += 1
            request = requests.open(self, _tag(server, key), now)
            out.append(KadRequest(request, server, line.addresses, "add_provider", key, ANSWER_WITHIN))
        return out


def _tag(server: bytes, key: bytes) -> bytes:
    return bytes([len(server)]) + server + key


def _untag(tag: bytes) -> tuple[bytes, bytes]:
    end = 1 + tag[0]
    return tag[1:end], tag[end:]
