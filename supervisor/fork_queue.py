"""Whose turn it is to have a child forked: so many forks at a time, the most urgent first.

When the fork server is lost, or a thousand sessions are started, all of them want a fork at once. The queue
keeps what has been asked of the fork server and not been answered small: its socket does not fill, and an
actor that must be restarted meanwhile waits for a few forks and not for all of them.

Owns the order. Never sends anything: fork_client.py does.
"""

import heapq
import itertools

import trio

from .child_specs import SESSION, ChildSpec
from .spawner import ForkServerLostError

MAX_FORKS_AT_A_TIME = 8
"""Requests without a reply. More would not be faster: the fork server serves one after another."""


def urgency(spec: ChildSpec, *, spare: bool) -> int:
    """Return the place of a fork in the order, the lowest first: singletons, then sessions, then spares."""
    if spare:
        return 2
    return 1 if spec.kind == SESSION else 0


class ForkQueue:
    """The forks that wait for their turn with one fork server."""

    def __init__(self) -> None:
        self._free = MAX_FORKS_AT_A_TIME
        self._waiting: list[tuple[int, int, trio.Event]] = []
        self._numbers = itertools.count()
        self._closed = False

    async def wait_for_turn(self, urgency: int) -> None:
        """Wait for a turn; whoever has got one ends it with `end_turn`. Raises ForkServerLostError."""
        if self._closed:
            raise ForkServerLostError
        if self._free:
            self._free -= 1
            return
        turn = trio.Event()
        heapq.heappush(self._waiting, (urgency, next(self._numbers), turn))
        try:
            await turn.wait()
        except trio.Cancelled:
            if turn.is_set():
                self.end_turn()
            else:
                self._waiting = [entry for entry in self._waiting if entry[2] is not turn]
                heapq.heapify(self._waiting)
            raise
        if self._closed:
            raise ForkServerLostError

    def end_turn(self) -> None:
        """Give the turn to the most urgent fork that waits; among equals to the one that came first."""
        if self._waiting:
            heapq.heappop(self._waiting)[2].set()
        else:
            self._free += 1

    def close(self) -> None:
        """End every wait, present and future, with ForkServerLostError."""
        self._closed = True
        while self._waiting:
            self._waiting.pop()[2].set()
