"""Who may begin a handshake over UDP, and who has to show first that it is where it says (RFC 9000, 8).

A first packet costs this node a signature and memory, and its source address may be made up. Owns which
inbound handshakes of one transport are open: in all, and of each address block. Beyond some dozen a newcomer
has to send back a token, which costs nothing here: that of QUIC's Retry, or the cookie of DTLS. When there
are as many as may be, one of those who have most makes room for it. Pure; the token is the transport's.
"""

from typing import Final, Literal, TypeVar

from .block_shares import BlockShares

MAX_HANDSHAKES: Final = 128
"""Open at once."""
MAX_HANDSHAKES_PER_BLOCK: Final = 64
RETRY_ABOVE: Final = 32
"""With so many open, everybody has to show its address first."""
RETRY_ABOVE_PER_BLOCK: Final = 16
HANDSHAKE_TIMEOUT_S: Final = 5.0

Admission = Literal["accept", "retry"]
Handshake = TypeVar("Handshake")


class HandshakeLimits(BlockShares[Handshake]):
    """The open inbound handshakes of one node, oldest first."""

    def __init__(self) -> None:
        super().__init__(MAX_HANDSHAKES, MAX_HANDSHAKES_PER_BLOCK)

    def judge(self, block: str | None, *, has_shown_address: bool) -> Admission:
        """Return what is done with a first packet from an address block."""
        is_crowded = len(self) >= RETRY_ABOVE or self.count(block) >= RETRY_ABOVE_PER_BLOCK
        return "retry" if is_crowded and not has_shown_address else "accept"


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
