"""How many inbound connections may be before the end of TLS and HTTP: in all, and of each address block.

A connection costs a descriptor and a buffer as long as its request is not complete, and whoever sends none
holds it for some seconds. Pure. What comes later is limited with all other connections
(library/connection_limits.py).
"""

from collections import Counter
from typing import Final

MAX_UPGRADES: Final = 128
"""At once."""
MAX_UPGRADES_PER_BLOCK: Final = 32
"""Of one address block. The address of a proxy is not counted: its clients come from many."""
UPGRADE_TIMEOUT_S: Final = 5.0


class UpgradeLimits:
    """The open upgrades of one node."""

    def __init__(self) -> None:
        self._by_block: Counter[str | None] = Counter()

    def __len__(self) -> int:
        return self._by_block.total()

    def begin(self, block: str | None, *, is_proxy: bool) -> bool:
        """Count one more upgrade if it may begin; return whether it may."""
        if self._by_block.total() >= MAX_UPGRADES:
            return False
        if not is_proxy and self._by_block[block] >= MAX_UPGRADES_PER_BLOCK:
            return False
        self._by_block[block] += 1
        return True

    def end(self, block: str | None) -> None:
        """An upgrade that was counted has ended, whichever way."""
        self._by_block[block] -= 1
        if self._by_block[block] <= 0:
            del self._by_block[block]
