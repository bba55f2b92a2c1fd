"""How much one peer, address block or attempt may ask of this node (docs/protocol.md, "Limits").

Pure: every function gets the present; nothing here knows sockets. All tables are bounded: beyond the bound
the entry that was used least recently goes.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

STRIKES_OF_PEER = 30
STRIKES_OF_BLOCK = 300
STRIKE_WINDOW = 60.0
BLOCKED_FOR = 600.0
REPEATS = 10
REPEAT_WINDOW = 1.0
EXCHANGES = 256
EXCHANGES_OF_PEER = 16
_TABLE = 4096

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class RecentTable(Generic[K, V]):
    """A mapping of at most `size` entries that drops the least recently used one."""

    def __init__(self, size: int = _TABLE) -> None:
        self._size = size
        self._entries: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        """Return the entry and mark it as used."""
        if key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return self._entries[key]

    def put(self, key: K, value: V) -> None:
        """Set an entry, pushing out the oldest beyond the bound."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def pop(self, key: K) -> V | None:
        """Remove and return an entry."""
        return self._entries.pop(key, None)

    def __len__(self) -> int:
        return len(self._entries)


class RateWindow(Generic[K]):
    """Counts events per key in a sliding window."""

    def __init__(self, most: int, window: float) -> None:
        self._most = most
        self._window = window
        self._times: RecentTable[K, deque[float]] = RecentTable()

    def count(self, key: K, now: float) -> bool:
        """Record one event; return whether that makes more than the allowed number in the window."""
        times = self._times.get(key)
        if times is None:
            times = deque(maxlen=self._most + 1)
            self._times.put(key, times)
        while times and times[0] <= now - self._window:
            times.popleft()
        times.append(now)
        return len(times) > self._most


class Abuse:
    """Strikes for frames that lead nowhere, and the blocks that follow from them."""

    def __init__(self) -> None:
        self._peers: RateWindow[bytes] = RateWindow(STRIKES_OF_PEER - 1, STRIKE_WINDOW)
        self._blocks: RateWindow[str] = RateWindow(STRIKES_OF_BLOCK - 1, STRIKE_WINDOW)
        self._attempts: RateWindow[bytes] = RateWindow(1 + REPEATS, REPEAT_WINDOW)
        self._blocked: RecentTable[bytes | str, float] = RecentTable()

    def strike(self, peer: bytes, block: str | None, now: float) -> bool:
        """Count a frame that could not be decoded or has no valid code_id; return whether it now blocks."""
        peer_over = self._peers.count(peer, now)
        block_over = block is not None and self._blocks.count(block, now)
        if peer_over:
            self.block(peer, now)
        if block is not None and block_over:
            self._blocked.put(block, now + BLOCKED_FOR)
        return peer_over or block_over

    def block(self, peer: bytes, now: float) -> None:
        """Have nothing to do with `peer` for ten minutes."""
        self._blocked.put(peer, now + BLOCKED_FOR)

    def is_blocked(self, key: bytes | str | None, now: float) -> bool:
        """Return whether a peer (bytes) or an address block (text) is blocked."""
        until = None if key is None else self._blocked.get(key)
        if until is None:
            return False
        return until > now

    def too_often(self, attempt: bytes, now: float) -> bool:
        """Count a frame of one attempt; return whether it is more than one and ten repeats in a second."""
        return self._attempts.count(attempt, now)


class Slots:
    """Bounds how many inbound exchanges run at once, in all and for each peer."""

    def __init__(self, total: int = EXCHANGES, for_peer: int = EXCHANGES_OF_PEER) -> None:
        self._total = total
        self._for_peer = for_peer
        self._taken: dict[bytes, int] = {}
        self._sum = 0

    def take(self, peer: bytes) -> bool:
        """Take a slot for `peer`; return False when none is free."""
        mine = self._taken.get(peer, 0)
        if mine >= self._for_peer or self._sum >= self._total:
            return False
        self._taken[peer] = mine + 1
        self._sum += 1
        return True

    def give_back(self, peer: bytes) -> None:
        """Return a slot that was taken."""
        mine = self._taken[peer] - 1
        self._sum -= 1
        if mine:
            self._taken[peer] = mine
        else:
            del self._taken[peer]
