"""Who may begin a handshake, and who has to show first that it is where it says (RFC 9000, 8).

A first packet costs this node a signature and memory, and its source address may be made up. Owns which
inbound handshakes are open: in all, and of each address block. Beyond some dozen a newcomer has to send
back a token (Retry), which costs nothing here; when there are as many as may be, one of those who have most
makes room for it. Pure; the token itself is aioquic's.
"""

from collections import Counter
from typing import Final, Generic, Literal, TypeVar

MAX_HANDSHAKES: Final = 128
"""Open at once."""
MAX_HANDSHAKES_PER_BLOCK: Final = 64
RETRY_ABOVE: Final = 32
"""With so many open, everybody has to show its address first."""
RETRY_ABOVE_PER_BLOCK: Final = 16
HANDSHAKE_TIMEOUT_S: Final = 5.0

Admission = Literal["accept", "retry"]
Handshake = TypeVar("Handshake")


class HandshakeLimits(Generic[Handshake]):
    """The open inbound handshakes of one node, oldest first."""

    def __init__(self) -> None:
        self._open: dict[Handshake, str | None] = {}
        """Their address blocks."""
        self._by_block: Counter[str | None] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def judge(self, block: str | None, *, has_shown_address: bool) -> Admission:
        """Return what is done with a first packet from an address block."""
        is_crowded = len(self) >= RETRY_ABOVE or self._by_block[block] >= RETRY_ABOVE_PER_BLOCK
        return "retry" if is_crowded and not has_shown_address else "accept"

    def to_make_room(self, block: str | None) -> Handshake | None:
        """Return the handshake that has to end before one from `block` may begin; None if there is room.

        It is the oldest of the block that has most, or of its own block if that has its share.
        """
        if self._by_block[block] >= MAX_HANDSHAKES_PER_BLOCK:
            crowded = block
        elif len(self) >= MAX_HANDSHAKES:
            ((crowded, _),) = self._by_block.most_common(1)
        else:
            return None
        return next(one for one, of_block in self._open.items() if of_block == crowded)

    def begin(self, handshake: Handshake, block: str | None) -> None:
        """Count a handshake that was begun."""
        self._open[handshake] = block
        self._by_block[block] += 1

    def end(self, handshake: Handshake) -> None:
        """A handshake has ended, whichever way."""
        block = self._open.pop(handshake)
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
