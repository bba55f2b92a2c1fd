"""The requests to the swarm that are open: who waits for each, and until when.

Owns request ids and deadlines; sends nothing. Bounded: the swarm's mailbox must never overflow because of
discovery, so at most MAX_OPEN requests are open, whatever the number of queries.
"""

import math
from dataclasses import dataclass, field
from typing import Protocol

from ...messages.to_discovery import KadReply, Servers
from ...messages.types import Instant

MAX_OPEN = 192
ANSWER_WITHIN = 2.0
"""Seconds that one server has, dial included; the swarm answers KadFailed then."""
GIVE_UP_AFTER = 3.0
"""Seconds after which the swarm's own answer is not waited for either."""

Answer = KadReply | Servers


class Owner(Protocol):
    """Whoever has asked something of the swarm. `tag` is its own name for the request."""

    def answered(self, tag: bytes, answer: Answer, now: Instant) -> None:
        """Take an answer."""
        ...

    def failed(self, tag: bytes, now: Instant) -> None:
        """Take that there will be no answer."""
        ...


@dataclass(frozen=True, slots=True)
class _Open:
    owner: Owner
    tag: bytes
    deadline: Instant


@dataclass(slots=True)
class Requests:
    """The table of open requests. Ids do not repeat over restarts of the actor."""

    incarnation: int
    _next: int = 0
    _open: dict[int, _Open] = field(default_factory=dict)

    @property
    def room(self) -> int:
        """How many more requests may be opened."""
        return MAX_OPEN - len(self._open)

    def open(self, owner: Owner, tag: bytes, now: Instant) -> int:
        """Register a request and return its id. The caller has checked `room`."""
        self._next += 1
        request = (self.incarnation << 32) | self._next
        self._open[request] = _Open(owner, tag, now + GIVE_UP_AFTER)
        return request

    def answered(self, answer: Answer, now: Instant) -> None:
        """Hand an answer to its owner; one that nobody waits for is dropped."""
        waiting = self._open.pop(answer.request, None)
        if waiting is not None:
            waiting.owner.answered(waiting.tag, answer, now)

    def failed(self, request: int, now: Instant) -> None:
        """Tell the owner that a request has failed."""
        waiting = self._open.pop(request, None)
        if waiting is not None:
            waiting.owner.failed(waiting.tag, now)

    def expire(self, now: Instant) -> None:
        """Fail what is overdue."""
        for request, waiting in list(self._open.items()):
            if waiting.deadline > now:
                return  # deadlines stand in the order of opening
            self.failed(request, now)

    def abandon(self, owner: Owner) -> None:
        """Forget what `owner` has asked, without telling it."""
        self._open = {request: open_ for request, open_ in self._open.items() if open_.owner is not owner}

    def clear(self) -> None:
        """Forget everything: the swarm has lost it."""
        self._open.clear()

    def wake_at(self) -> Instant:
        """Return when the oldest request is overdue; inf: none is open."""
        for waiting in self._open.values():
            return waiting.deadline
        return math.inf
