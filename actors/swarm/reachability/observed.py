"""What peers see of this node: its public addresses, and which kind of NAT is in between.

A peer says in identify from which address a connection came. If that was dialled from the port on which this
node listens, the address is the mapping of that port. Two peers in different places that see the same: the
mapping does not depend on whom it leads to, and a hole can be punched. All see another one: the NAT is
symmetric. A peer may lie, so one alone says nothing, and what two agree on counts more than what one says
otherwise. Owns the observations of the last half hour, one of each address block. Pure. Implements
docs/protocol.md, "Reachability".
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final, Literal

from ....messages.to_swarm import SeenFrom
from ....messages.types import Instant
from ..dial.addresses import Endpoint, IpAddress, block_of, parse

MAX_OBSERVATIONS: Final = 32
"""For each listening port and IP version."""
REMEMBERED_S: Final = 1800.0
MIN_AGREEING = 2

Mapping = Literal["unknown", "independent", "dependent"]
"""Whether the NAT maps a port in the same way whomever it talks to (RFC 4787, section 4.1)."""


@dataclass(frozen=True, slots=True)
class _Observation:
    seen: Endpoint
    from_listening_port: bool
    at: Instant


class Observed:
    """The observations of this node, by address block of who has made them."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], dict[str, _Observation]] = {}
        """By transport and IP version, then by block; the newest last."""

    def note(self, observer: str, seen: Endpoint, now: Instant, *, from_listening_port: bool) -> None:
        """Note that a peer at the IP address `observer` says that this node's connection came from `seen`."""
        block = block_of(observer)
        if block is None or seen.ip is None:
            return
        group = self._found.setdefault((seen.transport, seen.family), {})
        group.pop(block, None)
        group[block] = _Observation(seen, from_listening_port, now)
        if len(group) > MAX_OBSERVATIONS:
            del group[next(iter(group))]

    def clear(self) -> None:
        """Forget all: this host is in another network now."""
        self._found.clear()

    def keep_only(self, blocks: Collection[str | None]) -> None:
        """Forget what others say than those in these blocks, with whom there still are connections."""
        for group in self._found.values():
            for block in group.keys() - set(blocks):
                del group[block]

    def kept(self) -> list[SeenFrom]:
        """Return the observations, the newest last, to be given to `resume` of another process."""
        found = [
            SeenFrom(block, str(one.seen), one.from_listening_port, one.at)
            for group in self._found.values()
            for block, one in group.items()
        ]
        return sorted(found, key=lambda one: one.at)

    def resume(self, kept: Iterable[SeenFrom]) -> None:
        """Take up the observations of a former process."""
        for one in kept:
            seen = parse(one.seen)
            group = self._found.setdefault((seen.transport, seen.family), {})
            group[one.block] = _Observation(seen, one.from_listening_port, one.at)

    def mapping(self, now: Instant) -> Mapping:
        """Return the kind of mapping; one group that can tell is enough."""
        kinds = {self._mapping_of(group, now) for group in self._found.values()}
        if "independent" in kinds:
            return "independent"
        return "dependent" if "dependent" in kinds else "unknown"

    def mapped(self, now: Instant) -> list[Endpoint]:
        """Return the mappings of listening ports on which two observers agree."""
        found = []
        for group in self._found.values():
            counted = Counter(one.seen for one in self._fresh(group, now) if one.from_listening_port)
            found += [seen for seen, count in counted.most_common(1) if count >= MIN_AGREEING]
        return found

    def likely(self, now: Instant) -> list[Endpoint]:
        """Return the mapping of each listening port that most observers have seen, the newest first."""
        found = []
        for group in self._found.values():
            seen = [one.seen for one in self._fresh(group, now) if one.from_listening_port]
            found += [one for one, _count in Counter(reversed(seen)).most_common(1)]
        return found

    def likely_hosts(self, now: Instant) -> list[IpAddress]:
        """Return the IP address of each version that most observers have seen, over any port."""
        seen = [
            one.seen.ip for group in self._found.values() for one in self._fresh(group, now) if one.seen.ip
        ]
        by_version = ([ip for ip in reversed(seen) if ip.version == version] for version in (4, 6))
        return [ip for ips in by_version for ip, _count in Counter(ips).most_common(1)]

    def hosts(self, now: Instant) -> list[IpAddress]:
        """Return the IP addresses of this node as two observers agree on, over any port: one a version."""
        found = []
        for family in ("ip4", "ip6"):
            seen: dict[str, Endpoint] = {}
            for (_transport, version), group in self._found.items():
                if version == family:
                    seen |= {block: one.seen for block, one in group.items() if now - one.at < REMEMBERED_S}
            ips = [one.ip for one in seen.values() if one.ip is not None]
            found += [ip for ip, count in Counter(ips).most_common(1) if count >= MIN_AGREEING]
        return found

    def all_hosts(self, now: Instant) -> set[IpAddress]:
        """Return every IP address that any observer has named."""
        fresh = [one for group in self._found.values() for one in self._fresh(group, now)]
        return {one.seen.ip for one in fresh if one.seen.ip is not None}

    def _mapping_of(self, group: dict[str, _Observation], now: Instant) -> Mapping:
        seen = [one.seen for one in self._fresh(group, now) if one.from_listening_port]
        if len(seen) < MIN_AGREEING:
            return "unknown"
        return "independent" if Counter(seen).most_common(1)[0][1] >= MIN_AGREEING else "dependent"

    @staticmethod
    def _fresh(group: dict[str, _Observation], now: Instant) -> list[_Observation]:
        return [one for one in group.values() if now - one.at < REMEMBERED_S]
