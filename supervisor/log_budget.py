"""How much one actor may write into the log: lines in a window, and bytes in the long run. Sans-IO.

An actor that was taken over must not fill a disk. Its lines, and those that the supervisor writes because of
what it does, are paid from one budget: a burst of 64 KiB, refilled by 1 KiB each second, so 84 MiB a day at
the most. Owns the count of what was dropped. Never writes anything.
"""

from collections.abc import Mapping

from ..messages.types import LogField

_MAX_LOG_LINES = 200
_LOG_WINDOW_S = 10.0
_BURST_BYTES = 64 * 1024
_REFILL_BYTES_PER_S = 1024
_LINE_BYTES = 150
"""What every line has beside its own text: the time, the actor, the level."""


class LogBudget:
    """The budget of one actor."""

    def __init__(self) -> None:
        self._lines = 0
        self._window_began = 0.0
        self._bytes = float(_BURST_BYTES)
        self._refilled = 0.0
        self._dropped = 0

    def allow(self, event: str, fields: Mapping[str, LogField], now: float) -> bool:
        """Pay for one line; return False if it is to be dropped."""
        if now - self._window_began > _LOG_WINDOW_S:
            self._window_began, self._lines = now, 0
        refill = max(now - self._refilled, 0.0) * _REFILL_BYTES_PER_S
        self._bytes = min(self._bytes + refill, _BURST_BYTES)
        self._refilled = now
        size = _size(event, fields)
        if self._lines >= _MAX_LOG_LINES or size > self._bytes:
            self._dropped += 1
            return False
        self._lines += 1
        self._bytes -= size
        return True

    def take_dropped(self) -> int:
        """Return how many lines were dropped since the last call."""
        dropped, self._dropped = self._dropped, 0
        return dropped


def _size(event: str, fields: Mapping[str, LogField]) -> int:
    """Return about how many bytes the line takes, with what is escaped in it."""
    texts = len(ascii(event)) + sum(len(key) + len(ascii(value)) + 6 for key, value in fields.items())
    return _LINE_BYTES + texts
