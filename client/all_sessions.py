"""All sessions of a node, followed by one subscription of a connection and read by any number of iterators.

Owns the newest state of each session, numbered in order of arrival, so that an iterator which is slow misses
states in between and never makes a queue grow. Never keeps more than 4096 sessions.
"""

from collections import deque
from collections.abc import AsyncIterator

from ..messages.control_protocol import SessionState
from .control_connection import ControlConnection, Subscription
from .pairing import news
from .tasks import Change

_MAX_ENDED_SESSIONS = 1024
"""Kept to recognize what a reconnection repeats; a node repeats 128 at most."""
_MAX_SESSIONS = 4096
"""Four times what a node runs at once: of those that were lost with a node's restart nobody tells the end."""


class AllSessions:
    """The sessions of one node. Subscribes when they are first followed."""

    def __init__(self, connection: ControlConnection) -> None:
        self._connection = connection
        self._subscription: Subscription | None = None
        self._states: dict[str, tuple[int, SessionState]] = {}
        """The newest state of each session with its number, in order of number."""
        self._ended: deque[str] = deque()
        self._last_number = 0
        self._failure: Exception | None = None
        self._changed = Change()

    def follow(self) -> AsyncIterator[SessionState]:
        """Yield the present state of each session, then each change (NodeClient.all_states)."""
        if self._subscription is None:
            self._failure = None
            # It may fail at once.
            self._subscription = self._connection.subscribe(None, self._on_state, self._on_error)
            if self._failure is not None:
                self._subscription = None
        return _StateIterator(self)

    async def after(self, number: int) -> list[tuple[int, SessionState]]:
        """Wait until there are states with a higher number, and return them in order."""
        while self._last_number <= number:
            if self._failure is not None:
                raise self._failure
            await self._changed.wait()
        found = []
        for entry in reversed(self._states.values()):
            if entry[0] <= number:
                break
            found.append(entry)
        return found[::-1]

    def _on_state(self, state: SessionState) -> None:
        known = self._states.get(state.session)
        following = news(None if known is None else known[1], state)
        if following is None:
            return
        self._last_number += 1
        self._states.pop(state.session, None)
        self._states[state.session] = self._last_number, following
        if len(self._states) > _MAX_SESSIONS:
            del self._states[next(iter(self._states))]
        if following.outcome is not None and (known is None or known[1].outcome is None):
            self._ended.append(state.session)
            if len(self._ended) > _MAX_ENDED_SESSIONS:
                self._states.pop(self._ended.popleft(), None)
        self._changed.announce()

    def _on_error(self, error: Exception) -> None:
        self._failure, self._subscription = error, None
        self._changed.announce()


class _StateIterator(AsyncIterator[SessionState]):
    """The iterator of NodeClient.all_states. Not an async generator: leaving its loop would not close it."""

    def __init__(self, sessions: AllSessions) -> None:
        self._sessions = sessions
        self._number = 0
        self._waiting: deque[tuple[int, SessionState]] = deque()

    async def __anext__(self) -> SessionState:
        while not self._waiting:
            number = self._number
            found = await self._sessions.after(number)
            if self._number == number and not self._waiting:  # else another task at this iterator has them
                self._waiting.extend(found)
        self._number, state = self._waiting.popleft()
        return state
