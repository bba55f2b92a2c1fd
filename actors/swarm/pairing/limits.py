"""How much one peer, address block or attempt may ask of this node (docs/protocol.md, "Limits").

Pure: every function gets the present; nothing here knows sockets. All tables are bounded: beyond the bound
the entry that was used least recently goes.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..dial import addresses

STRIKES_OF_PEER = 30
STRIKES_OF_BLOCK = 300
STRIKE_WINDOW = 60.0
BLOCKED_FOR = 600.0
REPEATS = 10
REPEAT_WINDOW = 1.0
EXCHANGES = 256
EXCHANGES_OF_BLOCK = 64
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

    def oldest(self) -> tuple[K, V] | None:
        """Return the entry that was used least recently."""
        return next(iter(self._entries.items()), None)

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
        self._forget(now - self._window)
        times = self._times.get(key)
        if times is None:
            times = deque(maxlen=self._most + 1)
            self._times.put(key, times)
        while times and times[0] <= now - self._window:
            times.popleft()
        times.append(now)
        return len(times) > self._most

    def _forget(self, before: float) -> None:
        """Drop the keys whose last event has left the window."""
        while (oldest := self._times.oldest()) is not None and oldest[1][-1] <= before:
            self._times.pop(oldest[0])

    def __len__(self) -> int:
        return len(self._times)


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


def in_the_way(connections: Sequence[tuple[str | None, bool]]) -> int:
    """Return which of these connections makes room; each is (address block, has streams), the oldest first.

    One of the block that has most of them, without streams if there is one, and of these the oldest.
    """
    of_block = Counter(block for block, _ in connections)
    ranks = [(of_block[block], not has_streams) for block, has_streams in connections]
    return ranks.index(max(ranks))


@dataclass(eq=False, slots=True)
class Slot:
    """One inbound exchange. `waits_for_peer`: it is the peer's turn, to send, to read or to close."""

    peer: bytes
    block: str | None
    lose: Callable[[], None]
    waits_for_peer: bool = True


class Slots:
    """Bounds how many inbound exchanges run at once: in all, for each address block and for each peer.

    Strangers could hold every slot for seconds by saying nothing. So where all are taken, one that waits for
    its peer makes room: of the block and then of the peer that hold most of them, the one that began first.
    One that waits for a session or the vault never does: only who knows a code gets so far.
    """

    def __init__(
        self,
        total: int = EXCHANGES,
        for_block: int = EXCHANGES_OF_BLOCK,
        for_peer: int = EXCHANGES_OF_PEER,
    ) -> None:
        self._total = total
        self._for_block = for_block
        self._for_peer = for_peer
        self._taken: dict[Slot, None] = {}
        """In the order in which they were taken."""

    def take(self, peer: bytes, block: str | None, lose: Callable[[], None]) -> Slot | None:
        """Take a slot, or return None when there is none; `lose` is called if it goes to another later."""
        of_block, of_peer = self._counts()
        if of_peer[peer] >= self._for_peer:
            return None
        if of_block[block] >= self._for_block and not addresses.is_loopback_block(block):
            room = self._make_room([slot for slot in self._taken if slot.block == block])
        elif len(self._taken) >= self._total:
            room = self._make_room(self._taken)
        else:
            room = True
        if not room:
            return None
        slot = Slot(peer, block, lose)
        self._taken[slot] = None
        return slot

    def give_back(self, slot: Slot) -> None:
        """Return a slot; one that was lost is returned already."""
        self._taken.pop(slot, None)

    def _make_room(self, slots: Iterable[Slot]) -> bool:
        waiting = [slot for slot in slots if slot.waits_for_peer]
        if not waiting:
            return False
        of_block, of_peer = self._counts()
        # max returns the first of equals, and so the one that was taken first.
        worst = max(waiting, key=lambda slot: (of_block[slot.block], of_peer[slot.peer]))
        self.give_back(worst)
        worst.lose()
        return True

    def _counts(self) -> tuple[Counter[str | None], Counter[bytes]]:
        return Counter(slot.block for slot in self._taken), Counter(slot.peer for slot in self._taken)
