"""The pending requests to the swarm: who waits for each of them, and until when.

Owns request ids and deadlines. Bounded: at most MAX_PENDING_REQUESTS are pending, whatever the number of
searches and announcements, so that discovery never fills the swarm's mailbox. Never sends anything: the
caller opens a request here, puts the id into its message and sends that.
"""

import math
from dataclasses import dataclass, field
from typing import Protocol

from ...messages.to_discovery import KadReply, Servers
from ...messages.types import Instant

MAX_PENDING_REQUESTS = 192
REQUEST_TIMEOUT_SECONDS = 2.0
"""Time that one DHT server has to answer, dial included; after that the swarm sends KadFailed."""
SWARM_TIMEOUT_SECONDS = 3.0
"""Time after which discovery stops waiting for the swarm's answer as well."""

Answer = KadReply | Servers


class RequestOwner(Protocol):
    """The part of discovery that made a request.

    It gets exactly one of the two calls, or none if it abandoned it.

    `tag` is the owner's name for the request, given to `open`.
    """

    def handle_answer(self, tag: bytes, answer: Answer, now: Instant) -> None:
        """Handle the swarm's answer."""
        ...

    def handle_failure(self, tag: bytes, now: Instant) -> None:
        """Handle that there will be no answer."""
        ...


@dataclass(frozen=True, slots=True)
class _PendingRequest:
    owner: RequestOwner
    tag: bytes
    deadline: Instant


@dataclass(slots=True)
class PendingRequests:
    """The table of pending requests. The incarnation is part of an id, so ids never repeat over restarts."""

    incarnation: int
    _last_number: int = 0
    _pending: dict[int, _PendingRequest] = field(default_factory=dict)

    @property
    def room(self) -> int:
        """How many more requests may be opened."""
        return MAX_PENDING_REQUESTS - len(self._pending)

    def open(self, owner: RequestOwner, tag: bytes, now: Instant) -> int:
        """Register a request and return its id. The caller has checked `room`."""
        self._last_number += 1
        request = (self.incarnation << 32) | self._last_number
        self._pending[request] = _PendingRequest(owner, tag, now + SWARM_TIMEOUT_SECONDS)
        return request

    def resolve(self, answer: Answer, now: Instant) -> None:
        """Hand an answer to the owner of its request; an answer to no pending request is dropped."""
        pending = self._pending.pop(answer.request, None)
        if pending is not None:
            pending.owner.handle_answer(pending.tag, answer, now)

    def fail(self, request: int, now: Instant) -> None:
        """Report to its owner that a request has failed."""
        pending = self._pending.pop(request, None)
        if pending is not None:
            pending.owner.handle_failure(pending.tag, now)

    def expire(self, now: Instant) -> None:
        """Fail every request whose deadline has passed."""
        for request, pending in list(self._pending.items()):
            if pending.deadline > now:
                return  # all requests have the same timeout, so deadlines are in the order of opening
            self.fail(request, now)

    def abandon(self, owner: RequestOwner) -> None:
        """Forget the requests of `owner`, without a call to it."""
        self._pending = {
            request: pending for request, pending in self._pending.items() if pending.owner is not owner
        }

    def clear(self) -> None:
        """Forget everything: the swarm has restarted and has lost all requests."""
        self._pending.clear()

    def wake_at(self) -> Instant:
        """Return the deadline of the oldest request; inf: none is pending."""
        for pending in self._pending.values():
            return pending.deadline
        return math.inf
