"""A bounded mapping that forgets the least recently used entry. Pure."""

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

_DEFAULT_SIZE = 4096

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class RecentTable(Generic[K, V]):
    """A mapping of at most `size` entries; one more pushes out the least recently used one."""

    def __init__(self, size: int = _DEFAULT_SIZE) -> None:
        self._size = size
        self._entries: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        """Return the entry and mark it as used."""
        if key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return self._entries[key]

    def store(self, key: K, value: V) -> None:
        """Add or replace an entry."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def oldest(self) -> tuple[K, V] | None:
        """Return the least recently used entry."""
        return next(iter(self._entries.items()), None)

    def pop(self, key: K) -> V | None:
        """Remove an entry and return it."""
        return self._entries.pop(key, None)

    def __iter__(self) -> Iterator[K]:
        """Return the keys, the least recently used first."""
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
