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
from ...messages.types import Finder, Instant, PeerAddresses

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
MAX_QUICK_UPDATES = 16
SLOW_UPDATE_SECONDS = 5.0
"""How often one candidate is handed over again at once because it has got other addresses or finders; after
that it waits so long. A liar has ever new addresses, and a device that is elsewhere by now has others too."""

_FINDER_ORDER: tuple[Finder, ...] = ("hint", "same_host", "mdns", "dht")


@dataclass(slots=True)
class _FoundPeer:
    finders: set[Finder] = field(default_factory=set)
    by_source: dict[tuple[Finder, bytes], dict[str, None]] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    """Addresses that are more than hearsay to one of the sources."""
    handed_over: CandidateFound | None = None
    """What the session was given last."""
    handed_over_at: Instant = 0.0
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

    def pop_changed(self, now: Instant) -> list[CandidateFound]:
        """Return the candidates that are new since the last call, or have got other addresses or finders.

        One that has changed very often comes later.
        """
        out = []
        late: dict[bytes, None] = {}
        for peer in self._changed:
            found = self._found[peer]
            if found.updates >= MAX_QUICK_UPDATES and now < found.handed_over_at + SLOW_UPDATE_SECONDS:
                late[peer] = None
                continue
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
                if same:
                    continue
                found.updates += 1
            found.handed_over, found.handed_over_at = candidate, now
            out.append(candidate)
        self._changed = late
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
        newest = named.addresses[:MAX_ADDRESSES_PER_SOURCE]
        found.known.update(address for address in newest if address not in named.hearsay)
        if not addresses.keys() >= set(newest):
            self._changed[named.peer] = None
            # A device moves: what the source named before makes room for what it names now.
            kept = tuple(dict.fromkeys((*newest, *addresses)))[:MAX_ADDRESSES_PER_SOURCE]
            found.by_source[finder, source] = dict.fromkeys(kept)
            found.known.intersection_update(one for of_one in found.by_source.values() for one in of_one)


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
