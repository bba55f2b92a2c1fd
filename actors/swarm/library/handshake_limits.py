"""Who may begin a handshake over UDP, and who has to show first that it is where it says (RFC 9000, 8).

A first packet costs this node a signature and memory, and its source address may be made up. Owns the counts
of open inbound handshakes of one transport: in all, and for each address block. Beyond some dozen a newcomer
has to send back a token, which costs nothing here: that of QUIC's Retry, or the cookie of DTLS. Pure; the
token itself is the transport's.
"""

from collections import Counter
from typing import Final, Literal

MAX_HANDSHAKES: Final = 128
"""Open at once."""
MAX_HANDSHAKES_PER_BLOCK: Final = 64
RETRY_ABOVE: Final = 32
"""With so many open, everybody has to show its address first."""
RETRY_ABOVE_PER_BLOCK: Final = 16
HANDSHAKE_TIMEOUT_S: Final = 5.0

Admission = Literal["accept", "retry", "drop"]


class HandshakeLimits:
    """The open inbound handshakes of one node."""

    def __init__(self) -> None:
        self._by_block: Counter[str | None] = Counter()

    def __len__(self) -> int:
        return self._by_block.total()

    def judge(self, block: str | None, *, has_shown_address: bool) -> Admission:
        """Return what is done with a first packet from an address block."""
        total, of_block = self._by_block.total(), self._by_block[block]
        if total >= MAX_HANDSHAKES or of_block >= MAX_HANDSHAKES_PER_BLOCK:
            return "drop"
        if not has_shown_address and (total >= RETRY_ABOVE or of_block >= RETRY_ABOVE_PER_BLOCK):
            return "retry"
        return "accept"

    def begin(self, block: str | None) -> None:
        """Count a handshake that was begun."""
        self._by_block[block] += 1

    def end(self, block: str | None) -> None:
        """A handshake has ended, whichever way."""
        self._by_block[block] -= 1
        if self._by_block[block] <= 0:
            del self._by_block[block]


class RateLimit:
    """At most `rate` events a second in the long run, and `burst` at once; as many as in a second if None."""

    def __init__(self, rate: float, burst: float | None = None) -> None:
        self._rate = rate
        self._burst = self._left = rate if burst is None else burst
        self._since = 0.0

    def allows(self, now: float) -> bool:
        """Return whether one more event may happen, and count it if so."""
        return self.take(1, now) == 1

    def take(self, wanted: int, now: float) -> int:
        """Return how many of `wanted` events may happen, and count them."""
        self._left = min(self._burst, self._left + (now - self._since) * self._rate)
        self._since = now
        taken = min(wanted, int(self._left))
        self._left -= taken
        return taken
