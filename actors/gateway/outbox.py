"""What one client still has to be sent: replies in order, and of each session only the newest state.

Owns the promise that a slow subscriber costs a bounded amount of memory and delays nobody: a state is
complete, so an older one that has not been sent is replaced; and that the devices may have changed is said
once, however often they did since it was last said. Sans-IO: never touches a socket.
"""

from collections import deque
from collections.abc import Callable

from ...messages.base import CONTROL_LIMIT, Message, encode, frame
from ...messages.control_protocol import (
    DevicesChanged,
    Done,
    Error,
    SessionEvent,
    SessionState,
    Subscribe,
    WatchDevices,
)
from ...messages.types import SessionId
from .safe_texts import with_safe_texts

_BATCH_BYTES = 64 * 1024


class Outbox:
    """The queued replies, and the subscriptions with their queued events, of one client.

    `limit` returns how many subscriptions it may hold at this moment.
    """

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._replies: deque[bytes] = deque()
        self._events: dict[tuple[int, SessionId], SessionState] = {}
        self._subscriptions: dict[int, SessionId | None] = {}
        self._device_watches: set[int] = set()
        self._device_changes: dict[int, None] = {}
        """The watches that have not been sent yet that the devices may have changed, in order."""

    def reply(self, message: Message) -> None:
        """Queue a reply. The caller bounds the number of open requests, and so of replies."""
        self._replies.append(_framed(message))

    def subscribe(self, request: Subscribe, current: list[SessionState]) -> None:
        """Queue Done and the current states, and every later state from now on; or queue an Error."""
        if self._is_full(request.id):
            return
        if request.session is not None and not current:
            self.reply(Error(request.id, "no_such_session", "the node knows no such session"))
            return
        self.reply(Done(request.id))
        self._subscriptions[request.id] = request.session
        for state in current:
            self._queue_event(request.id, state)

    def watch_devices(self, request: WatchDevices) -> None:
        """Queue Done and a first DevicesChanged, and one at every change from now on; or queue an Error."""
        if self._is_full(request.id):
            return
        self.reply(Done(request.id))
        self._device_watches.add(request.id)
        self._device_changes[request.id] = None

    def _is_full(self, id: int) -> bool:
        """Return whether the client holds as many subscriptions as it may; then refuse the request `id`."""
        limit = self._limit()
        if len(self._subscriptions) + len(self._device_watches) < limit:
            return False
        self.reply(Error(id, "busy", f"a client can hold {limit} subscriptions"))
        return True

    def publish(self, state: SessionState) -> None:
        """Queue a new state for every subscription to its session."""
        for id, session in list(self._subscriptions.items()):
            if session is None or session == state.session:
                self._queue_event(id, state)

    def publish_device_change(self) -> None:
        """Queue for every watch that the devices may have changed."""
        self._device_changes.update(dict.fromkeys(self._device_watches))

    def _queue_event(self, id: int, state: SessionState) -> None:
        """Replace the event of this subscription and session, if the older state has not been sent yet.

        A subscription to one session ends with the outcome of that session.
        """
        self._events[id, state.session] = state
        if state.outcome is not None and self._subscriptions[id] is not None:
            del self._subscriptions[id]

    @property
    def reply_count(self) -> int:
        """The number of replies that are still queued."""
        return len(self._replies)

    @property
    def pending(self) -> bool:
        """Whether anything is queued."""
        return bool(self._replies or self._device_changes or self._events)

    def pop_batch(self) -> bytes:
        """Return the next frames to write, some 64 KiB at most, replies first; empty if none is queued."""
        batch = bytearray()
        while self._replies and len(batch) < _BATCH_BYTES:
            batch += self._replies.popleft()
        while self._device_changes and not self._replies and len(batch) < _BATCH_BYTES:
            id = next(iter(self._device_changes))
            del self._device_changes[id]
            batch += _framed(DevicesChanged(id))
        while self._events and not self._replies and len(batch) < _BATCH_BYTES:
            id, _session = key = next(iter(self._events))
            batch += _framed(SessionEvent(id, self._events.pop(key)))
        return bytes(batch)


def _framed(message: Message) -> bytes:
    return frame(encode(with_safe_texts(message)), CONTROL_LIMIT)
