"""How fast the DHT requests of one address block are answered: beyond, the answer waits. Pure.

A request has 40 bytes, hundreds of them fit into one packet, and each costs this side more than it cost its
sender. A stranger makes any number of peer ids, so what counts is the address block; only on loopback, where
many nodes may be, the peer. Nobody is refused: honest devices may be in the block, too. Implements
docs/protocol.md, "Limits".
"""

from ..dial import addresses
from ..pairing.recent_table import RecentTable

REQUESTS_PER_S = 300.0
"""In the long run. A node with a thousand codes asks each server some 40 times in a second."""
BURST_REQUESTS = 300.0
"""At once, after a rest."""


class RequestPace:
    """When each block's next request would be due at that pace."""

    def __init__(self, per_second: float = REQUESTS_PER_S, burst: float = BURST_REQUESTS) -> None:
        self._interval = 1.0 / per_second
        self._burst_s = burst / per_second
        self._due: RecentTable[bytes | str | None, float] = RecentTable()

    def wait_before(self, peer: bytes, address_block: str | None, now: float) -> float:
        """Count a request; return how many seconds its answer has to wait, 0 or less: none."""
        key = peer if addresses.is_loopback_block(address_block) else address_block
        due = max(self._due.get(key) or now, now)
        self._due.store(key, due + self._interval)
        return due - now - self._burst_s
