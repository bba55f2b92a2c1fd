"""What goes out on an SCTP association: cut into parts, sent within two windows, and again if it is lost.

The windows are the peer's and that of the path (RFC 9260, 7: slow start, congestion avoidance, fast
retransmission). Owns what was not acknowledged yet; the writers' bound on it is stream.py's. Pure.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

from .sctp_chunks import DATA_HEADER_BYTES, Data, Sack, is_after

MAX_PART_BYTES: Final = 1132
"""Of a part, so that with all that goes around it a datagram is full."""
_INITIAL_WINDOW_BYTES: Final = 4 * (MAX_PART_BYTES + DATA_HEADER_BYTES)
_PATH_BYTES: Final = MAX_PART_BYTES + DATA_HEADER_BYTES
_MAX_WINDOW_BYTES: Final = 1024 * 1024
_MISSES_BEFORE_REPEAT: Final = 3
_INITIAL_TIMEOUT_S, _MIN_TIMEOUT_S, _MAX_TIMEOUT_S = 1.0, 1.0, 4.0
MAX_TIMEOUTS: Final = 5
"""In a row, after which the peer counts as gone: some 20 seconds."""


@dataclass(slots=True)
class _Sent:
    part: Data
    packed: bytes
    at: float
    times: int = 1
    misses: int = 0
    is_acknowledged: bool = False
    is_due: bool = False
    """To be sent again."""


class Sender:
    """One direction of an association."""

    def __init__(self, first_tsn: int, window: int) -> None:
        self.next_tsn = first_tsn
        self.acknowledged_tsn = (first_tsn - 1) % (1 << 32)
        self.timeouts = 0
        """In a row."""
        self.timer_at: float | None = None
        self._peer_window = window
        self._queue: deque[Data] = deque()
        self.queued = 0
        """Bytes that were not sent yet."""
        self._sent: deque[_Sent] = deque()
        self._outstanding = 0
        """Bytes of data in `_sent`."""
        self._flight = 0
        """Bytes of chunks that are taken to be under way."""
        self._path_window = _INITIAL_WINDOW_BYTES
        self._threshold = _MAX_WINDOW_BYTES
        self._recovery_tsn: int | None = None
        """A loss was noticed; the path's window shrinks no more until this has come."""
        self._may_try = False
        """One part may be sent though the peer's window is closed."""
        self._due = 0
        self._sequences: dict[int, int] = {}
        self._smoothed_s: float | None = None
        self._variation_s = 0.0
        self._timeout_s = _INITIAL_TIMEOUT_S

    @property
    def has_unacknowledged(self) -> bool:
        """Whether the peer owes an acknowledgement, or data waits to be sent."""
        return bool(self._sent or self._queue)

    @property
    def timeout_s(self) -> float:
        """After so many seconds what got no answer is sent again."""
        return self._timeout_s

    def put(self, stream_id: int, kind: int, data: bytes) -> None:
        """Queue one message."""
        sequence = self._sequences.get(stream_id, 0)
        self._sequences[stream_id] = (sequence + 1) % (1 << 16)
        for at in range(0, len(data), MAX_PART_BYTES):
            piece = data[at : at + MAX_PART_BYTES]
            is_last = at + MAX_PART_BYTES >= len(data)
            self._queue.append(Data(self.next_tsn, stream_id, sequence, kind, piece, at == 0, is_last))
            self.next_tsn = (self.next_tsn + 1) % (1 << 32)
        self.queued += len(data)

    def forget(self, stream_id: int) -> None:
        """The stream was reset: its messages are counted from 0 again."""
        self._sequences.pop(stream_id, None)

    def next_part(self, now: float) -> bytes | None:
        """Return the chunk that may be sent now, and count it as sent; None: there is none, or no room."""
        if self._flight >= self._path_window:
            return None
        if self._due:
            for sent in self._sent:
                if sent.is_due:
                    sent.is_due, sent.at, sent.misses = False, now, 0
                    sent.times += 1
                    self._due -= 1
                    self._flight += len(sent.packed)
                    self._start_timer(now)
                    return sent.packed
        if not self._queue or not self._may_send_new(now):
            return None
        part = self._queue.popleft()
        self.queued -= len(part.data)
        packed = bytes(part)
        self._sent.append(_Sent(part, packed, now))
        self._flight += len(packed)
        self._outstanding += len(part.data)
        self._peer_window = max(self._peer_window - len(part.data), 0)
        self._start_timer(now)
        return packed

    def _may_send_new(self, now: float) -> bool:
        """Return whether the peer's window is open, or to be tried: word of it may have been lost."""
        if self._peer_window:
            return True
        self._start_timer(now)
        may_try, self._may_try = self._may_try, False
        return may_try

    def receive(self, sack: Sack, now: float) -> bool:
        """Take an acknowledgement; return whether it was one of what was sent."""
        last_sent = self._sent[-1].part.tsn if self._sent else self.acknowledged_tsn
        if is_after(self.acknowledged_tsn, sack.tsn) or is_after(sack.tsn, last_sent):
            return False
        acknowledged = 0
        self.timeouts = 0
        has_moved = is_after(sack.tsn, self.acknowledged_tsn)
        while self._sent and not is_after(self._sent[0].part.tsn, sack.tsn):
            sent = self._sent.popleft()
            self._outstanding -= len(sent.part.data)
            acknowledged += self._acknowledge(sent, now)
        self.acknowledged_tsn = sack.tsn
        acknowledged += self._take_ranges(sack, now)
        if has_moved and self._recovery_tsn is not None and not is_after(self._recovery_tsn, sack.tsn):
            self._recovery_tsn = None
        if has_moved and self._recovery_tsn is None:
            self._widen(acknowledged)
        self._peer_window = max(sack.window - self._outstanding, 0)
        if not self._sent:
            self.timer_at, self._may_try = None, False
        elif has_moved:
            self.timer_at = now + self._timeout_s
        return True

    def handle_timer(self, now: float) -> None:
        """The time for acknowledgements is over: send everything again, slowly."""
        if not self._sent:
            self._may_try, self.timer_at = True, None
            return
        self.timeouts += 1
        self._timeout_s = min(self._timeout_s * 2, _MAX_TIMEOUT_S)
        self._threshold = max(self._path_window // 2, 4 * _PATH_BYTES)
        self._path_window = _PATH_BYTES
        self._recovery_tsn = None
        for sent in self._sent:
            self._mark_due(sent)
        self.timer_at = now + self._timeout_s if self._sent else None

    def _start_timer(self, now: float) -> None:
        if self.timer_at is None:
            self.timer_at = now + self._timeout_s

    def _acknowledge(self, sent: _Sent, now: float) -> int:
        """Return how many bytes are acknowledged by this that were not before."""
        if sent.is_acknowledged:
            return 0
        sent.is_acknowledged = True
        if sent.is_due:
            sent.is_due = False
            self._due -= 1
        else:
            self._flight -= len(sent.packed)
        if sent.times == 1:
            self._measure(now - sent.at)
        return len(sent.packed)

    def _take_ranges(self, sack: Sack, now: float) -> int:
        """Take what has come behind a gap; send again what was passed over three times."""
        if not (sack.ranges and self._sent):
            return 0
        acknowledged = 0
        first = (self._sent[0].part.tsn - sack.tsn) % (1 << 32)
        newest = 0
        ranges = iter(sack.ranges)
        low, high = next(ranges)
        offset = first
        for sent in self._sent:
            while offset > high and (following := next(ranges, None)) is not None:
                low, high = following
            if low <= offset <= high and not sent.is_acknowledged:
                acknowledged += self._acknowledge(sent, now)
                newest = offset
            offset += 1
        for offset, sent in enumerate(self._sent, first):
            if offset >= newest:
                break
            if not (sent.is_acknowledged or sent.is_due):
                sent.misses += 1
                if sent.misses == _MISSES_BEFORE_REPEAT:
                    self._mark_due(sent)
                    self._shrink()
        return acknowledged

    def _mark_due(self, sent: _Sent) -> None:
        if not (sent.is_acknowledged or sent.is_due):
            sent.is_due = True
            self._due += 1
            self._flight -= len(sent.packed)

    def _shrink(self) -> None:
        if self._recovery_tsn is None:
            self._threshold = max(self._path_window // 2, 4 * _PATH_BYTES)
            self._path_window = self._threshold
            self._recovery_tsn = self._sent[-1].part.tsn

    def _widen(self, acknowledged: int) -> None:
        if self._path_window <= self._threshold:
            self._path_window += acknowledged
        else:
            self._path_window += max(_PATH_BYTES * acknowledged // self._path_window, 1)
        self._path_window = min(self._path_window, _MAX_WINDOW_BYTES)

    def _measure(self, seconds: float) -> None:
        """Take the time of one round trip (RFC 9260, 6.3.1)."""
        if self._smoothed_s is None:
            self._smoothed_s, self._variation_s = seconds, seconds / 2
        else:
            self._variation_s += (abs(self._smoothed_s - seconds) - self._variation_s) / 4
            self._smoothed_s += (seconds - self._smoothed_s) / 8
        wanted = self._smoothed_s + 4 * self._variation_s
        self._timeout_s = min(max(wanted, _MIN_TIMEOUT_S), _MAX_TIMEOUT_S)
