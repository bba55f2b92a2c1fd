"""How many inbound connections may be before the end of TLS and HTTP: in all, and of each address block.

A connection costs a descriptor and a buffer as long as its request is not complete, and whoever sends none
holds it for some seconds. When there are as many as may be, one of those who have most makes room. What
comes later is limited with all other connections (library/connection_limits.py).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

from ..library.block_shares import BlockShares
from ..library.crowds import place

MAX_UPGRADES: Final = 128
"""At once."""
MAX_UPGRADES_PER_BLOCK: Final = 32
"""Of one address block. The address of a proxy has no share of its own: its clients come from many."""
UPGRADE_TIMEOUT_S: Final = 5.0


class UpgradeLimits:
    """The open upgrades of one node."""

    def __init__(self) -> None:
        self._open: BlockShares[trio.CancelScope] = BlockShares(MAX_UPGRADES, MAX_UPGRADES_PER_BLOCK)

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def one(self, block: str | None) -> Iterator[None]:
        """Bound one upgrade by its time, and by those of others; when either is over, the body is cancelled.

        `block` is None for a proxy.
        """
        with place(self._open, block, UPGRADE_TIMEOUT_S):
            yield
