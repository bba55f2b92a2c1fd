"""What is open of each address block, and which of it makes room for a newcomer. Pure.

Whoever holds much of what is scarce loses it first, so that strangers who say no more keep nobody out. Owns
what is open, oldest first. Never ends it: who asked for room does.
"""

from collections import Counter
from typing import Generic, TypeVar

T = TypeVar("T")


class BlockShares(Generic[T]):
    """At most `most` things, and `most_of_block` of one address block; None is a block without a share."""

    def __init__(self, most: int, most_of_block: int) -> None:
        self._most = most
        self._most_of_block = most_of_block
        self._open: dict[T, str | None] = {}
        """Their address blocks."""
        self._by_block: Counter[str | None] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, one: T) -> bool:
        return one in self._open

    def count(self, block: str | None) -> int:
        """Return how many are open of a block."""
        return self._by_block[block]

    def to_make_room(self, block: str | None) -> T | None:
        """Return what has to end before another of `block` may begin; None if there is room.

        It is the oldest of the block that has most, or of its own block if that has its share.
        """
        if block is not None and self._by_block[block] >= self._most_of_block:
            crowded: str | None = block
        elif len(self) >= self._most:
            ((crowded, _),) = self._by_block.most_common(1)
        else:
            return None
        return next(one for one, of_block in self._open.items() if of_block == crowded)

    def begin(self, one: T, block: str | None) -> None:
        """Count what was begun."""
        self._open[one] = block
        self._by_block[block] += 1

    def end(self, one: T) -> None:
        """Count it no more."""
        block = self._open.pop(one)
        self._by_block[block] -= 1
        if self._by_block[block] <= 0:
            del self._by_block[block]
