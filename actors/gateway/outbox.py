"""What one client still has to be sent: replies in order, and of each session only the newest state.

Sans-IO. Owns the promise that a slow subscriber costs a bounded amount of memory and never holds anybody
up: a state carries everything, so an older one that has not been sent is simply replaced.
"""

from collections import deque

from ...messages.base import CONTROL_LIMIT, Message, encode, frame
from ...messages.control_protocol import Done, Error, SessionEvent, SessionState, Subscribe
from ...messages.types import SessionId

SUBSCRIPTIONS = 512
"""For one client; above the default number of sessions that a node runs at once."""
_BATCH = 64 * 1024


class Outbox:
    """Replies and subscriptions of one client."""

    def __init__(self) -> None:
        self._replies: deque[bytes] = deque()
        self._events: dict[tuple[int, SessionId], SessionState] = {}
        self._subscriptions: dict[int, SessionId | None] = {}

    def reply(self, message: Message) -> None:
        """Queue a reply. Whoever calls this bounds how many requests are open."""
        self._replies.append(_framed(message))

    def subscribe(self, request: Subscribe, present: list[SessionState]) -> None:
        """Queue Done and the present states, and take what follows; or refuse."""
        if len(self._subscriptions) >= SUBSCRIPTIONS:
            self.reply(Error(request.id, "busy", f"a client can hold {SUBSCRIPTIONS} subscriptions"))
            return
        if request.session is not None and not present:
            self.reply(Error(request.id, "no_such_session", "the node knows no such session"))
            return
        self.reply(Done(request.id))
        self._subscriptions[request.id] = request.session
        for state in present:
            self._put(request.id, state)

    def publish(self, state: SessionState) -> None:
        """Queue a new state for every subscription that it concerns."""
        for id, session in list(self._subscriptions.items()):
            if session is None or session == state.session:
                self._put(id, state)

    def _put(self, id: int, state: SessionState) -> None:
        self._events[id, state.session] = state
        if state.outcome is not None and self._subscriptions[id] is not None:
            del self._subscriptions[id]

    @property
    def replies(self) -> int:
        """Replies that have not been taken."""
        return len(self._replies)

    @property
    def waiting(self) -> bool:
        """Whether there is anything to take."""
        return bool(self._replies or self._events)

    def take(self) -> bytes:
        """Return the next frames to write, about 64 KiB at most, replies first; empty when there are none."""
        batch = bytearray()
        while self._replies and len(batch) < _BATCH:
            batch += self._replies.popleft()
        while self._events and not self._replies and len(batch) < _BATCH:
            id, _session = key = next(iter(self._events))
            batch += _framed(SessionEvent(id, self._events.pop(key)))
        return bytes(batch)


def _framed(message: Message) -> bytes:
    return frame(encode(message), CONTROL_LIMIT)
