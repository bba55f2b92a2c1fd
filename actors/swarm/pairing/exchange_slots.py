"""How many inbound exchanges run at once: in all, for each address block and for each peer. Pure.

Streams of the DHT, requests to a relay and nonces of AutoNAT servers are counted in the same manner. Owns the
choice of the exchange that makes room for a new one. Implements docs/protocol.md, "Limits".
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..dial import addresses

MAX_EXCHANGES = 256
MAX_EXCHANGES_PER_ADDRESS_BLOCK = 64
MAX_EXCHANGES_PER_PEER = 16


@dataclass(eq=False, slots=True)
class ExchangeSlot:
    """The place of one inbound exchange; `evict` ends the exchange when its place goes to another one."""

    peer: bytes
    address_block: str | None
    evict: Callable[[], None]
    waits_for_peer: bool = True
    """Whether it is the peer's turn: to send, to read or to close."""

    @contextmanager
    def waiting_for_actor(self) -> Iterator[None]:
        """Keep the slot in this block, in which an actor of this node owes the reply."""
        self.waits_for_peer = False
        try:
            yield
        finally:
            self.waits_for_peer = True


class ExchangeSlots:
    """All slots of one host.

    Strangers could hold every slot for seconds by sending nothing. So where all are taken, an exchange that
    waits for its peer is evicted: from the address block with the most exchanges, there from the peer with
    the most, the oldest first. A slow block (ban_list.py) comes before all others. An exchange that waits
    for a session or the vault is never evicted: only a peer that knows a code, or is a known device, gets so
    far.
    """

    def __init__(
        self,
        total: int = MAX_EXCHANGES,
        per_address_block: int = MAX_EXCHANGES_PER_ADDRESS_BLOCK,
        per_peer: int = MAX_EXCHANGES_PER_PEER,
        is_slow: Callable[[str | None], bool] = lambda _block: False,
    ) -> None:
        self._total = total
        self._per_address_block = per_address_block
        self._per_peer = per_peer
        self._is_slow = is_slow
        self._taken: dict[ExchangeSlot, None] = {}
        """In the order in which they were acquired."""

    def acquire(
        self, peer: bytes, address_block: str | None, evict: Callable[[], None]
    ) -> ExchangeSlot | None:
        """Return a slot, or None when there is none; `evict` is called if another exchange gets it later."""
        of_block, of_peer = self._counts()
        if of_peer[peer] >= self._per_peer:
            return None
        # Many nodes may run on one host, so loopback has no bound of its own.
        if of_block[address_block] >= self._per_address_block and not addresses.is_loopback_block(
            address_block
        ):
            has_room = self._evict_one([slot for slot in self._taken if slot.address_block == address_block])
        elif len(self._taken) >= self._total:
            has_room = self._evict_one(self._taken)
        else:
            has_room = True
        if not has_room:
            return None
        slot = ExchangeSlot(peer, address_block, evict)
        self._taken[slot] = None
        return slot

    def __len__(self) -> int:
        return len(self._taken)

    def release(self, slot: ExchangeSlot) -> None:
        """Free a slot; one that was evicted is free already."""
        self._taken.pop(slot, None)

    def _evict_one(self, slots: Iterable[ExchangeSlot]) -> bool:
        """Evict one of `slots` that waits for its peer; return whether there was one."""
        waiting = [slot for slot in slots if slot.waits_for_peer]
        if not waiting:
            return False
        of_block, of_peer = self._counts()
        # max returns the first of equals, and so the oldest.
        slow = {block for block in of_block if self._is_slow(block)}
        evicted = max(
            waiting,
            key=lambda slot: (slot.address_block in slow, of_block[slot.address_block], of_peer[slot.peer]),
        )
        self.release(evicted)
        evicted.evict()
        return True

    def _counts(self) -> tuple[Counter[str | None], Counter[bytes]]:
        """Return how many slots each address block and each peer holds."""
        return Counter(slot.address_block for slot in self._taken), Counter(slot.peer for slot in self._taken)
