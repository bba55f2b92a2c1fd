"""The candidates of one search: merged by peer, and limited for each source that named them.

A source is a DHT server, the local network, or one of the other finders, and any of them may lie. So none may
use up the candidates that a search can hand over (docs/protocol.md, "Limits": 128 per code): each may add at
most a quarter of what the others have left, and a server at most MAX_NEW_PER_ROUND in one round. About twenty
servers would have to lie together to keep out the rest.

Owns these limits and what the session has already been given. Never decides whom a session asks.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from ...messages.to_session import CandidateFound
from ...messages.types import Finder, PeerAddresses

MAX_CANDIDATES = 128
MAX_NEW_PER_ROUND = 16
"""New candidates from one server in one lookup; the next lookup can add more."""
MAX_PROVIDERS_PER_ANSWER = 64
"""Providers of one answer that are looked at; further ones are ignored."""
MAX_SOURCES = 20
MAX_LAN_SOURCES = 8
"""Servers, and devices on the LAN, that may name addresses of one candidate."""
MAX_ADDRESSES_PER_SOURCE = 8
MAX_ADDRESSES = 32
MAX_UPDATES_PER_CANDIDATE = 16
"""How often one candidate is handed over again because it has got more addresses or finders."""

_FINDER_ORDER: tuple[Finder, ...] = ("hint", "same_host", "mdns", "dht")


@dataclass(slots=True)
class _FoundPeer:
    finders: set[Finder] = field(default_factory=set)
    by_source: dict[tuple[Finder, bytes], dict[str, None]] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    """Addresses that are more than hearsay to one of the sources."""
    handed_over: CandidateFound | None = None
    """What the session was given last."""
    updates: int = 0


class Candidates:
    """Collects what finders name and hands over what the session has not seen.

    `own_peer` is never a candidate.
    """

    def __init__(self, own_peer: bytes) -> None:
        self._own_peer = own_peer
        self._found: dict[bytes, _FoundPeer] = {}
        self._changed: dict[bytes, None] = {}
        self._added_by: dict[bytes, int] = {}
        self._added_in_round: dict[bytes, int] = {}

    def start_round(self) -> None:
        """Begin a new lookup: every server may add MAX_NEW_PER_ROUND more candidates."""
        self._added_in_round.clear()

    def offer(self, finder: Finder, source: bytes, peers: Iterable[PeerAddresses]) -> int:
        """Add or update the candidates that `source` names; return how many were looked at.

        `source` is a server's peer id, the IP address of who spoke on the LAN, or b"" if the finder itself
        knows them. This node is not counted.
        """
        count = 0
        # If a server names itself, that entry goes first: it answered, so it is certainly reachable.
        for named in sorted(tuple(peers)[:MAX_PROVIDERS_PER_ANSWER], key=lambda named: named.peer != source):
            if named.peer == self._own_peer:
                continue
            count += 1
            found = self._found.get(named.peer)
            if found is None:
                if not self._may_add(finder, source):
                    continue
                found = self._found[named.peer] = _FoundPeer()
                self._changed[named.peer] = None
            self._merge(named, found, finder, source)
        return count

    def pop_changed(self) -> list[CandidateFound]:
        """Return the candidates that are new since the last call, or have got more addresses or finders."""
        out = []
        for peer in self._changed:
            found = self._found[peer]
            addresses = _interleaved(found)
            candidate = CandidateFound(
                peer,
                addresses,
                tuple(finder for finder in _FINDER_ORDER if finder in found.finders),
                tuple(address for address in addresses if address not in found.known),
            )
            if found.handed_over is not None:
                known = set(found.handed_over.addresses)
                same = (
                    known.issuperset(candidate.addresses) and found.handed_over.finders == candidate.finders
                )
                if same or found.updates >= MAX_UPDATES_PER_CANDIDATE:
                    continue
                found.updates += 1
            found.handed_over = candidate
            out.append(candidate)
        self._changed.clear()
        return out

    def _may_add(self, finder: Finder, source: bytes) -> bool:
        total = len(self._found)
        if total >= MAX_CANDIDATES:
            return False
        # Addresses on the LAN cost nothing, so all of them together count as one source.
        account = source if source and finder == "dht" else finder.encode()
        added = self._added_by.get(account, 0)
        added_in_round = self._added_in_round.get(account, 0)
        # A quarter of what the other sources have left: the free places and those that it has itself.
        if added >= max(1, (MAX_CANDIDATES - total + added) // 4):
            return False
        if account == source and added_in_round >= MAX_NEW_PER_ROUND:
            return False
        self._added_by[account] = added + 1
        self._added_in_round[account] = added_in_round + 1
        return True

    def _merge(self, named: PeerAddresses, found: _FoundPeer, finder: Finder, source: bytes) -> None:
        if finder not in found.finders:
            found.finders.add(finder)
            self._changed[named.peer] = None
        addresses = found.by_source.get((finder, source))
        if addresses is None:
            # What a finder knows itself, and what a peer says of itself, is taken beyond this limit.
            is_hearsay = source not in (b"", named.peer)
            if is_hearsay:
                same = sum(named_by == finder for named_by, _source in found.by_source)
                if same >= (MAX_LAN_SOURCES if finder == "mdns" else MAX_SOURCES):
                    return
            addresses = found.by_source[finder, source] = {}
        for address in named.addresses[:MAX_ADDRESSES_PER_SOURCE]:
            if address not in addresses and len(addresses) < MAX_ADDRESSES_PER_SOURCE:
                addresses[address] = None
                self._changed[named.peer] = None
            if address in addresses and address not in named.hearsay:
                found.known.add(address)


def _interleaved(found: _FoundPeer) -> tuple[str, ...]:
    """Return the addresses, the first of every source before the second of any: none is crowded out."""
    sources = sorted(found.by_source, key=lambda source: _FINDER_ORDER.index(source[0]))
    lists = [list(found.by_source[source]) for source in sources]
    merged: dict[str, None] = {}
    for position in range(MAX_ADDRESSES_PER_SOURCE):
        for addresses in lists:
            if position < len(addresses):
                merged[addresses[position]] = None
    return tuple(merged)[:MAX_ADDRESSES]
