"""The candidates of one query: merged by peer, limited by who named them.

Whoever names candidates may lie, so no single source can use up what a query may hand over
(docs/protocol.md, "Limits": 128 per code): each gets at most a quarter of what the others left, and a server
at most PER_ROUND new ones in one round. Some twenty servers would have to lie together to shut out the rest.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from ...messages.to_session import CandidateFound
from ...messages.types import Finder, PeerAddresses

MAX_CANDIDATES = 128
PER_ROUND = 16
"""New candidates from one server in one lookup; the next lookup brings the next ones."""
MAX_NAMED = 64
"""Providers of one answer that are looked at."""
MAX_SOURCES = 20
ADDRESSES_PER_SOURCE = 8
MAX_ADDRESSES = 32
MAX_REPEATS = 16
"""How often one candidate is handed over again with more addresses or finders."""

_FINDER_ORDER: tuple[Finder, ...] = ("hint", "same_host", "mdns", "dht")


@dataclass(slots=True)
class _Found:
    finders: set[Finder] = field(default_factory=set)
    by_source: dict[tuple[Finder, bytes], dict[str, None]] = field(default_factory=dict)
    handed: CandidateFound | None = None
    repeats: int = 0


class Candidates:
    """Takes what finders name, hands over what a session has not seen yet. The peer `own` never counts."""

    def __init__(self, own: bytes) -> None:
        self._own = own
        self._found: dict[bytes, _Found] = {}
        self._changed: dict[bytes, None] = {}
        self._given: dict[bytes, int] = {}
        self._this_round: dict[bytes, int] = {}

    def new_round(self) -> None:
        """Begin a new lookup: every server may name PER_ROUND more."""
        self._this_round.clear()

    def offer(self, finder: Finder, source: bytes, peers: Iterable[PeerAddresses]) -> int:
        """Take what `source` names: a server's peer id, or b"" for a finder's own knowledge.

        Returns how many were looked at, the own peer not counted.
        """
        count = 0
        # A server that names itself comes first: it answered, so it is there.
        for named in sorted(tuple(peers)[:MAX_NAMED], key=lambda named: named.peer != source):
            if named.peer == self._own:
                continue
            count += 1
            found = self._found.get(named.peer)
            if found is None:
                if not self._may_add(finder, source):
                    continue
                found = self._found[named.peer] = _Found()
                self._changed[named.peer] = None
            self._merge(named, found, finder, source)
        return count

    def take(self) -> list[CandidateFound]:
        """Return the candidates that are new, or have got more addresses or finders, since the last call."""
        out = []
        for peer in self._changed:
            found = self._found[peer]
            candidate = CandidateFound(
                peer,
                _interleaved(found),
                tuple(finder for finder in _FINDER_ORDER if finder in found.finders),
            )
            if found.handed is not None:
                known = set(found.handed.addresses)
                same = known.issuperset(candidate.addresses) and found.handed.finders == candidate.finders
                if same or found.repeats >= MAX_REPEATS:
                    continue
                found.repeats += 1
            found.handed = candidate
            out.append(candidate)
        self._changed.clear()
        return out

    def _may_add(self, finder: Finder, source: bytes) -> bool:
        total = len(self._found)
        if total >= MAX_CANDIDATES:
            return False
        account = source or finder.encode()
        given = self._given.get(account, 0)
        round_given = self._this_round.get(account, 0)
        if given >= max(1, (MAX_CANDIDATES - total + given) // 4):
            return False
        if source and round_given >= PER_ROUND:
            return False
        self._given[account] = given + 1
        self._this_round[account] = round_given + 1
        return True

    def _merge(self, named: PeerAddresses, found: _Found, finder: Finder, source: bytes) -> None:
        if finder not in found.finders:
            found.finders.add(finder)
            self._changed[named.peer] = None
        addresses = found.by_source.get((finder, source))
        if addresses is None:
            others_word = source not in (b"", named.peer)
            if others_word and len(found.by_source) >= MAX_SOURCES:
                return
            addresses = found.by_source[finder, source] = {}
        for address in named.addresses[:ADDRESSES_PER_SOURCE]:
            if address not in addresses and len(addresses) < ADDRESSES_PER_SOURCE:
                addresses[address] = None
                self._changed[named.peer] = None


def _interleaved(found: _Found) -> tuple[str, ...]:
    """Return the addresses, the first of every source before the second of any, so none is crowded out."""
    sources = sorted(found.by_source, key=lambda source: _FINDER_ORDER.index(source[0]))
    lists = [list(found.by_source[source]) for source in sources]
    merged: dict[str, None] = {}
    for position in range(ADDRESSES_PER_SOURCE):
        for addresses in lists:
            if position < len(addresses):
                merged[addresses[position]] = None
    return tuple(merged)[:MAX_ADDRESSES]
