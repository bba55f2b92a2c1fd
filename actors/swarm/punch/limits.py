"""How much a direct upgrade sends, to whom, and how often. Pure: the time is an argument.

A peer may name third parties. What they get of this node is bounded for each attempt, and for each address
block over all attempts, whoever has asked for them. Implements docs/protocol.md, "Limits".
"""

from collections.abc import Iterable
from typing import Final

from ....messages.types import Instant
from ..dial.addresses import Endpoint, block_of
from ..pairing.rate_limits import RateWindow

MAX_UPGRADES: Final = 32
"""That run at once, in both roles; one for each peer."""
MAX_PACKETS: Final = 60
"""That one attempt sends before anything has come from there: bounded by what its dials can take at most."""
PUNCH_S: Final = 3.0
"""How long an attempt lasts."""
MAX_ATTEMPTS_PER_BLOCK: Final = 9
BLOCK_WINDOW_S: Final = 60.0
"""In so long one address block is dialled so often, for all peers together: three upgrades of a peer."""
PACKETS_OF_TCP: Final = 2
"""A dial sends its SYN again after one second, and after three."""
PACKETS_OF_QUIC: Final = 10
"""A dial that gets no answer sends so many in three seconds, at most."""
PACKETS_OF_PROBE: Final = 1


class PacketBudget:
    """What one attempt may still send."""

    def __init__(self, packets: int = MAX_PACKETS) -> None:
        self._left = packets

    def take(self, packets: int) -> bool:
        """Return whether so many packets may be sent; if so, they count as sent."""
        if packets > self._left:
            return False
        self._left -= packets
        return True


class TargetLimit:
    """How often each address block is dialled."""

    def __init__(self) -> None:
        self._attempts: RateWindow[str] = RateWindow(MAX_ATTEMPTS_PER_BLOCK, BLOCK_WINDOW_S)

    def allowed(self, endpoints: Iterable[Endpoint], now: Instant) -> tuple[Endpoint, ...]:
        """Return those of the addresses that may be dialled in one attempt, which then counts."""
        found = tuple(endpoints)
        blocks = {block_of(one.host): one.host for one in found}
        closed = {block for block in blocks if block is None or self._attempts.record(block, now)}
        return tuple(one for one in found if block_of(one.host) not in closed)
