"""Provider records: who has announced itself for which key; bounded in all, for each key, peer and block.

Owns the choice of the record that makes room for a new one. A stranger makes any number of peer ids, so what
counts is the address block from which an announcement came (dial/addresses.py): a crowd of one block pushes
out its own records and nobody else's. Pure. Implements docs/protocol.md, "Limits" (provider records).
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

MAX_RECORDS = 8192
MAX_RECORDS_PER_BLOCK = 2048
MAX_RECORDS_PER_PEER = 256
MAX_PROVIDERS_PER_KEY = 20
RECORD_LIFE_S = 48 * 3600.0
"""As in other implementations (kad-dht, "Provider record expiration")."""


@dataclass(frozen=True, slots=True)
class ProviderRecord:
    """The addresses of a provider, as binary multiaddrs; from which block and when it announced itself."""

    addresses: tuple[bytes, ...]
    address_block: str | None
    stored_at: float


class ProviderRecords:
    """The provider records of one server."""

    def __init__(
        self,
        total: int = MAX_RECORDS,
        per_block: int = MAX_RECORDS_PER_BLOCK,
        per_peer: int = MAX_RECORDS_PER_PEER,
        per_key: int = MAX_PROVIDERS_PER_KEY,
    ) -> None:
        self._total = total
        self._per_block = per_block
        self._per_peer = per_peer
        self._per_key = per_key
        self._of_key: dict[bytes, dict[bytes, ProviderRecord]] = {}
        self._of_block: dict[str | None, dict[bytes, dict[bytes, None]]] = {}
        """By block and peer: its keys. At each level the one announced last is at the end."""
        self._count: Counter[str | None] = Counter()
        """Records of each block."""

    def __len__(self) -> int:
        return self._count.total()

    def store(
        self, key: bytes, peer: bytes, addresses: Iterable[bytes], address_block: str | None, now: float
    ) -> bool:
        """Keep a record, or renew it; return whether it was kept. Beyond the bounds another one makes room.

        Of a peer, its oldest. Otherwise one of the block that has most, in the block or in all; there of the
        peer that has most; there the oldest.
        Of a key, the last that came of the block that has most providers of it, but not for a block with as
        many: who does not know the words learns a key only after the true device has announced it.
        """
        known = self._of_key.get(key, {}).get(peer)
        if known is None and not self._has_room_for_provider(key, address_block):
            return False
        of_block = self._of_block.get(address_block, {})
        if known is not None:
            self._uncount(key, peer, known.address_block)
        elif len(of_block.get(peer, {})) >= self._per_peer:
            self._remove(next(iter(of_block[peer])), peer)
        elif self._count[address_block] >= self._per_block:
            self._remove_oldest_of(address_block)
        elif len(self) >= self._total:
            self._remove_oldest_of(max(self._of_block, key=self._count.__getitem__))

        # A renewed record stays in its place among the providers of the key.
        self._of_key.setdefault(key, {})[peer] = ProviderRecord(tuple(addresses), address_block, now)
        peers = self._of_block.pop(address_block, {})
        keys = peers.pop(peer, {})
        keys[key] = None
        peers[peer] = keys
        self._of_block[address_block] = peers
        self._count[address_block] += 1
        return True

    def providers(self, key: bytes, now: float) -> list[tuple[bytes, ProviderRecord]]:
        """Return the providers of a key, the one that came first first; expired records are dropped."""
        for peer, record in list(self._of_key.get(key, {}).items()):
            if record.stored_at + RECORD_LIFE_S <= now:
                self._remove(key, peer)
        return list(self._of_key.get(key, {}).items())

    def _has_room_for_provider(self, key: bytes, address_block: str | None) -> bool:
        """Return whether a new provider of a key may come; if need be another one makes room."""
        records = self._of_key.get(key, {})
        if len(records) < self._per_key:
            return True
        blocks = Counter(record.address_block for record in records.values())
        most = max(blocks, key=blocks.__getitem__)
        if blocks[most] <= blocks[address_block] + 1:
            return False
        self._remove(key, [peer for peer, record in records.items() if record.address_block == most][-1])
        return True

    def _remove_oldest_of(self, address_block: str | None) -> None:
        peers = self._of_block[address_block]
        peer = max(peers, key=lambda one: len(peers[one]))
        self._remove(next(iter(peers[peer])), peer)

    def _remove(self, key: bytes, peer: bytes) -> None:
        record = self._of_key[key].pop(peer)
        if not self._of_key[key]:
            del self._of_key[key]
        self._uncount(key, peer, record.address_block)

    def _uncount(self, key: bytes, peer: bytes, address_block: str | None) -> None:
        peers = self._of_block[address_block]
        del peers[peer][key]
        if not peers[peer]:
            del peers[peer]
        if not peers:
            del self._of_block[address_block]
        self._count[address_block] -= 1
        if not self._count[address_block]:
            del self._count[address_block]
