"""What arrives on an SCTP association: in the order in which it was sent, each part once, within a window.

Parts are handed on in the order of their TSNs, whatever their stream: a lost packet holds up all streams of
its connection until it comes again, and in return nothing has to be put together for each stream. Owns what
has come too early, and the acknowledgements. Pure.
"""

from typing import Final

from .sctp_chunks import Data, Sack, is_after, ranges_of

WINDOW_BYTES: Final = 256 * 1024
"""What the peer of a connection may have sent that nobody here has read. SCTP has no window of a stream."""
_TOLERANCE_BYTES: Final = 4 * 1024
"""What a peer may send to find out whether the window is still closed."""
_MAX_EARLY: Final = 1024
"""Parts that came too early; more are dropped, and come again."""
_MAX_DISTANCE: Final = 4096
"""How far ahead of what is missing a TSN may be."""
_MAX_RANGES: Final = 16
ACK_DELAY_S: Final = 0.02
_UNSAID_WINDOW_BYTES: Final = WINDOW_BYTES // 4
"""By so much the window has to grow for the peer to be told of it at once."""


class Receiver:
    """One direction of an association. `first_tsn` is that of the first part to come."""

    def __init__(self, first_tsn: int) -> None:
        self.tsn = (first_tsn - 1) % (1 << 32)
        """Up to here everything has come."""
        self.unread = 0
        """Bytes that were handed on and have not been read."""
        self._early: dict[int, Data] = {}
        self._early_bytes = 0
        self._unacknowledged = 0
        """Packets since the last acknowledgement."""
        self._is_urgent = False
        self._ack_at: float | None = None
        self._said_window = WINDOW_BYTES

    @property
    def held(self) -> int:
        """Bytes that are held here, read or not in order yet."""
        return self.unread + self._early_bytes

    @property
    def is_urgent(self) -> bool:
        """Whether the peer has to be told at once what has come or was read."""
        return self._is_urgent

    @property
    def ack_at(self) -> float | None:
        """When an acknowledgement is due; None: none is."""
        return self._ack_at

    def receive(self, data: Data, now: float) -> list[Data]:
        """Take a part; return those that can be handed on now."""
        self._unacknowledged += 1
        if self._ack_at is None:
            self._ack_at = now + ACK_DELAY_S
        distance = (data.tsn - self.tsn) % (1 << 32)
        if not 0 < distance <= _MAX_DISTANCE or data.tsn in self._early:
            self._is_urgent = True  # it has come before, or is of no use
            return []
        if self.held + len(data.data) > WINDOW_BYTES + _TOLERANCE_BYTES:
            self._is_urgent = True
            return []
        if distance > 1:
            self._is_urgent = True
            if len(self._early) < _MAX_EARLY:
                self._early[data.tsn] = data
                self._early_bytes += len(data.data)
            return []
        found = [data]
        self.tsn = data.tsn
        while self._early and (following := self._early.pop((self.tsn + 1) % (1 << 32), None)) is not None:
            self.tsn = following.tsn
            self._early_bytes -= len(following.data)
            found.append(following)
        if self._early:
            self._is_urgent = True
        return found

    def has_come(self, tsn: int) -> bool:
        """Return whether everything up to a TSN has come."""
        return not is_after(tsn, self.tsn)

    def read(self, size: int) -> None:
        """So many bytes have been read, or will not be read."""
        self.unread -= size
        if self._window() - self._said_window >= _UNSAID_WINDOW_BYTES:
            self._is_urgent = True

    def acknowledgement(self, now: float, *, at_once: bool = False) -> Sack | None:
        """Return what is to be said of what has come, if it is due, or `at_once` if there is anything."""
        is_due = self._is_urgent or self._unacknowledged >= 2 or (self._ack_at or now + 1) <= now
        if not (is_due or (at_once and self._unacknowledged)):
            return None
        self._unacknowledged, self._is_urgent, self._ack_at = 0, False, None
        self._said_window = self._window()
        early = sorted(self._early, key=lambda tsn: (tsn - self.tsn) % (1 << 32)) if self._early else ()
        return Sack(self.tsn, self._said_window, ranges_of(early, self.tsn, _MAX_RANGES))

    def _window(self) -> int:
        return max(WINDOW_BYTES - self.held, 0)
