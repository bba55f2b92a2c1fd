"""Which peers are worth remembering: each has a score from how it behaved, which fades with time.

A score goes up when a peer answers and down when it is slow, does not answer or lies; half of it is gone
after a week. What is kept is bounded for each kind of peer, for each address block and for each wider
network, so that whoever has many peer ids in few networks cannot push out the others: a crowd makes room,
its worst member first. Pure: the caller gives the day. Never keeps more of the time than the day, and of
devices not even that (docs/security.md, "What a node remembers").
"""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Final

from ...messages.to_vault import PeerReport
from ...messages.types import RememberedKind, RememberedPeer
from ...protocol.multiaddrs import AddressError, parse

HALF_LIFE_DAYS: Final = 7.0
MAX_SCORE: Final = 16.0
"""A score is between this and its negative: who behaved well for long is not trusted for ever."""
ANSWERED, SLOW, DROPPED, LIED = 1.0, 0.25, -2.0, -MAX_SCORE
"""What one answer in time, one slow one, one that did not come, and one lie are worth."""
MAX_TIMES: Final = 4
"""What one report says of a peer counts so many times at most."""
MAX_PEERS: Final[dict[RememberedKind, int]] = {"server": 256, "relay": 32, "device": 128}
MAX_ADDRESSES: Final = 8
MAX_PER_BLOCK: Final[dict[RememberedKind, int]] = {"server": 8, "relay": 2, "device": 128}
"""Peers of one address block, where that is a public one."""
MAX_PER_NETWORK: Final[dict[RememberedKind, int]] = {"server": 32, "relay": 8, "device": 128}
"""Peers of one /16 of IPv4 or /32 of IPv6; and of all whose address is a name."""
_MAX_HALF_LIVES: Final = 64.0
_LENGTHS: Final = {4: (24, 16), 6: (56, 32)}
"""Bits of an address block and of a network, by IP version."""
_NAMES: Final = "names"
"""The block and network of all addresses that are names: whoever has one name can make any number."""

Key = tuple[RememberedKind, str, bytes]
"""Kind, protocol id (of the DHT where a server or relay was found; "" for devices), peer id."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One remembered peer. `score` is that of the day `day`, counted from 1 January 1970; 0 for devices."""

    kind: RememberedKind
    protocol: str
    peer: bytes
    addresses: tuple[str, ...]
    score: float
    day: int

    @property
    def key(self) -> Key:
        """What tells it from others."""
        return self.kind, self.protocol, self.peer


def faded(entry: Entry, today: int) -> float:
    """Return the score as it is today. A clock that was set back lets nothing fade, nor grow."""
    if entry.kind == "device":
        return entry.score
    half_lives = min(max(today - entry.day, 0) / HALF_LIFE_DAYS, _MAX_HALF_LIVES)
    return entry.score * math.exp2(-half_lives)


def points(report: PeerReport) -> float:
    """Return what a report adds to the score of its peer."""
    told = (
        (report.answered, ANSWERED),
        (report.slow, SLOW),
        (report.dropped, DROPPED),
        (report.lied, LIED),
    )
    return sum(min(times, MAX_TIMES) * worth for times, worth in told)


def place_of(address: str) -> tuple[str, str]:
    """Return the address block (docs/glossary.md) and the wider network of an address.

    Raises AddressError.
    """
    ip = parse(address).ip
    if ip is None:
        return _NAMES, _NAMES
    bits = ip.max_prefixlen
    block, network = (f"{int(ip) >> bits - length:x}/{length}" for length in _LENGTHS[ip.version])
    # Many peers of one home, or of this host, are in one block; they share what one network may have.
    return (block if ip.is_global else network), network


class PeerMemory:
    """The remembered peers. After each change `changed` and `removed` say what has to be written."""

    def __init__(self, entries: Iterable[Entry] = (), today: int = 0) -> None:
        """Take what was read, but for what cannot be right. A day that is still to come counts as today."""
        self._entries: dict[Key, Entry] = {}
        self._places: dict[Key, tuple[str, str]] = {}
        self._counts: Counter[tuple[RememberedKind, str]] = Counter()
        """Peers of each kind in each block and network; in all under the name ""."""
        self.changed: dict[Key, Entry] = {}
        self.removed: set[Key] = set()
        for entry in entries:
            try:
                _check(entry)
                self._put(replace(entry, day=min(entry.day, today)), today)
            except ValueError:
                self.removed.add(entry.key)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: Key) -> bool:
        return key in self._entries

    def written(self) -> None:
        """Forget what had to be written."""
        self.changed, self.removed = {}, set()

    def rewrite(self) -> None:
        """Have everything written again: the file was lost."""
        self.changed, self.removed = dict(self._entries), set()

    def report(self, report: PeerReport, protocol: str, today: int) -> None:
        """Take in what a peer did. A peer that is not known yet has to have been of use, at an address."""
        protocol = "" if report.kind == "device" else protocol
        key: Key = (report.kind, protocol, report.peer)
        known = self._entries.get(key)
        addresses = [*report.addresses, *(known.addresses if known else ())]
        addresses = [one for one in dict.fromkeys(addresses) if _is_address(one)][:MAX_ADDRESSES]
        added = points(report)
        if not addresses or (known is None and added <= 0):
            return
        score = added + (faded(known, today) if known else 0.0)
        score = min(max(score, -MAX_SCORE), MAX_SCORE)
        day = 0 if report.kind == "device" else today
        entry = Entry(report.kind, protocol, report.peer, tuple(addresses), score, day)
        if entry != known:
            self.changed[key] = entry
            self.removed.discard(key)
            self._put(entry, today)

    def keep_devices(self, is_trusted: Callable[[bytes], bool]) -> None:
        """Forget each device whose peer is not trusted any more."""
        for key in [key for key in self._entries if key[0] == "device" and not is_trusted(key[2])]:
            self._remove(key)

    def recall(self, protocol: str, today: int, salt: bytes) -> list[RememberedPeer]:
        """Return who was of use, of servers and relays those of one DHT; of each kind the best come first.

        Networks take turns, so that no network has all the first places; among equals the order follows from
        `salt`, which nobody can foresee.
        """
        groups: dict[tuple[RememberedKind, str], list[tuple[float, bytes, Entry]]] = {}
        for entry in self._entries.values():
            score = faded(entry, today)
            if score > 0 and (entry.kind == "device" or entry.protocol == protocol):
                chance = hashlib.sha256(salt + entry.peer).digest()
                group = groups.setdefault((entry.kind, self._places[entry.key][1]), [])
                group.append((-score, chance, entry))
        for group in groups.values():
            group.sort(key=lambda item: item[:2])
        ordered = sorted(groups.items(), key=lambda item: (item[0][0], item[1][0][:2]))
        turns = zip_longest(*(group for _place, group in ordered))
        return [
            RememberedPeer(item[2].kind, item[2].peer, item[2].addresses)
            for one_turn in turns
            for item in one_turn
            if item is not None
        ]

    def _put(self, entry: Entry, today: int) -> None:
        """Put an entry in, and remove what is too much then; that may be the entry itself."""
        current, kind = entry.key, entry.kind
        place = block, network = place_of(entry.addresses[0])
        if current in self._entries:
            self._count(current, -1)
        self._entries[current] = entry
        self._places[current] = place
        self._count(current, +1)

        def worst(keys: Iterable[Key]) -> Key:
            """Among equals the one that was put in last goes."""
            return min(keys, key=lambda key: (faded(self._entries[key], today), key != current))

        for index, name, limit in (
            (0, block, MAX_PER_BLOCK[kind] if block != network else MAX_PER_NETWORK[kind]),
            (1, network, MAX_PER_NETWORK[kind]),
        ):
            if self._counts[kind, name] > limit:
                self._remove(worst(self._members(kind, index, name)))
                return
        if self._counts[kind, ""] > MAX_PEERS[kind]:
            networks = {place[1] for key, place in self._places.items() if key[0] == kind}
            fullest = max(networks, key=lambda name: (self._counts[kind, name], name == network))
            self._remove(worst(self._members(kind, 1, fullest)))

    def _members(self, kind: RememberedKind, index: int, name: str) -> list[Key]:
        """Return who is in a block (index 0) or in a network (1)."""
        return [key for key, place in self._places.items() if key[0] == kind and place[index] == name]

    def _count(self, key: Key, change: int) -> None:
        for name in {*self._places[key], ""}:
            self._counts[key[0], name] += change
            if not self._counts[key[0], name]:
                del self._counts[key[0], name]

    def _remove(self, key: Key) -> None:
        self._count(key, -1)
        del self._entries[key], self._places[key]
        self.changed.pop(key, None)
        self.removed.add(key)


def _is_address(text: str) -> bool:
    try:
        parse(text)
    except AddressError:
        return False
    return True


def _check(entry: Entry) -> None:
    """Raise ValueError for an entry that cannot have been written. Its addresses are the swarm's to read."""
    if not (
        entry.kind in MAX_PEERS
        and 34 <= len(entry.peer) <= 64
        and len(entry.protocol) <= 128
        and (entry.protocol == "") == (entry.kind == "device")
        and 0 < len(entry.addresses) <= MAX_ADDRESSES
        and -MAX_SCORE <= entry.score <= MAX_SCORE
        and 0 <= entry.day < 1 << 32
    ):
        raise ValueError("not an entry of this program")
