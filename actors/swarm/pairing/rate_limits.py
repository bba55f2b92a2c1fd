"""How often something may happen in a time window. Pure: the time is an argument.

Implements docs/protocol.md, "Limits" (repeats, and what waits for its turn); ban_list.py counts strikes with
it.
"""

import math
from collections import deque
from typing import Generic

from .recent_table import K, RecentTable

MAX_REPEATS = 10
REPEAT_WINDOW_S = 1.0


class RateWindow(Generic[K]):
    """Counts events of each key in a sliding window of `window` seconds, of which `limit` are allowed."""

    def __init__(self, limit: int, window: float) -> None:
        self._limit = limit
        self._window = window
        self._times: RecentTable[K, deque[float]] = RecentTable()

    def record(self, key: K, now: float) -> bool:
        """Record one event; return whether the limit is exceeded now."""
        self._forget_until(now - self._window)
        times = self._times.get(key)
        if times is None:
            times = deque(maxlen=self._limit + 1)
            self._times.store(key, times)
        while times and times[0] <= now - self._window:
            times.popleft()
        times.append(now)
        return len(times) > self._limit

    def count(self, key: K, now: float) -> int:
        """Return how many events of a key are in the window, at most one more than are allowed."""
        return sum(time > now - self._window for time in self._times.get(key) or ())

    def _forget_until(self, time: float) -> None:
        """Forget the keys whose last event has left the window."""
        while (oldest := self._times.oldest()) is not None and oldest[1][-1] <= time:
            self._times.pop(oldest[0])

    def __len__(self) -> int:
        return len(self._times)


class Pace(Generic[K]):
    """At which pace things are done for each key: so many in a second, and so many at once after a rest.

    What comes faster waits for its turn and is not refused.
    """

    def __init__(self, per_second: float, burst: float) -> None:
        self._interval = 1.0 / per_second
        self._burst_s = burst / per_second
        self._due: RecentTable[K, float] = RecentTable()

    def wait_before(self, key: K, now: float, longest: float = math.inf) -> float:
        """Return how many seconds one more has to wait; 0 or less: none. Counts it, unless it is too long."""
        due = max(self._due.get(key) or now, now)
        wait = due - now - self._burst_s
        if wait <= longest:
            self._due.store(key, due + self._interval)
        return wait


class RepeatLimit(RateWindow[bytes]):
    """The frames of a peer about a code: one, and ten repeats in a second. The key is peer and code_id."""

    def __init__(self) -> None:
        super().__init__(1 + MAX_REPEATS, REPEAT_WINDOW_S)
