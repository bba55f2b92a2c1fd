"""What peers did, gathered for the vault's memory: who answered, slowly or in time, who did not, who lied.

Owns what is worth telling, and how often: at most 64 peers in a report, a peer that goes on answering as it
did is named once in ten minutes, and that one did not answer is told only if another did, because otherwise
this node's own network may have been away. Never says when something happened, nor anything of a code. Pure;
the caller gives the time. Implements docs/security.md, "What a node remembers".
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from ...messages.to_vault import PeerReport
from ...messages.types import Instant, RememberedKind

REPORT_INTERVAL_S: Final = 2.0
"""Between what a peer did and the report, and so between two reports."""
REPEAT_INTERVAL_S: Final = 600.0
SLOW_S: Final = 1.0
"""An answer that takes longer, dial included, is slow."""
MAX_REPORTED: Final = 64
MAX_PEERS: Final = 512
MAX_ADDRESSES: Final = 8

Behaviour = Literal["answered", "slow", "dropped", "lied"]


@dataclass(slots=True)
class _Seen:
    addresses: dict[str, None] = field(default_factory=dict)
    """At which it was reached, the newest at the end."""
    counts: dict[Behaviour, int] = field(default_factory=dict)


class PeerReports:
    """What is to be reported next."""

    def __init__(self) -> None:
        self._seen: dict[tuple[RememberedKind, bytes], _Seen] = {}
        self._reached: dict[bytes, dict[str, None]] = {}
        """Where peers of any kind were reached; those reached last are at the end."""
        self._told: dict[tuple[RememberedKind, bytes], tuple[Instant, tuple[str, ...]]] = {}
        """When a peer was last reported to answer, and at which addresses."""
        self._any_answered = False

    def reached(self, peer: bytes, address: str) -> None:
        """Note that a dial led to a peer."""
        self.recalled(peer, (address, *reversed(self._reached.get(peer, {}))))

    def recalled(self, peer: bytes, addresses: Sequence[str]) -> None:
        """Note where a peer was reached before, the newest first."""
        self._reached.pop(peer, None)
        self._reached[peer] = dict.fromkeys(reversed(tuple(dict.fromkeys(addresses))[:MAX_ADDRESSES]))
        if len(self._reached) > MAX_PEERS:
            del self._reached[next(iter(self._reached))]

    def note(self, kind: RememberedKind, peer: bytes, behaviour: Behaviour, now: Instant) -> bool:
        """Note what a peer did; return whether there is something to report.

        Nothing is told of a peer that was never reached: there is nothing to remember.
        """
        addresses = tuple(reversed(self._reached.get(peer, {})))
        if behaviour in ("answered", "slow"):
            self._any_answered = True
        if not addresses:
            return bool(self._seen)
        if behaviour in ("answered", "slow"):
            told = self._told.get((kind, peer))
            if told and now < told[0] + REPEAT_INTERVAL_S and told[1] == addresses:
                return bool(self._seen)
            self._told.pop((kind, peer), None)
            self._told[kind, peer] = (now, addresses)
            if len(self._told) > MAX_PEERS:
                del self._told[next(iter(self._told))]
        key = (kind, peer)
        if key not in self._seen and len(self._seen) >= MAX_PEERS:
            return True
        seen = self._seen.setdefault(key, _Seen())
        seen.addresses = dict.fromkeys(addresses)
        seen.counts[behaviour] = seen.counts.get(behaviour, 0) + 1
        return True

    def forget(self, peer: bytes) -> None:
        """Forget a peer: its device was forgotten."""
        for kind in ("server", "relay", "device"):
            self._seen.pop((kind, peer), None)
            self._told.pop((kind, peer), None)
        self._reached.pop(peer, None)

    def take(self) -> tuple[PeerReport, ...]:
        """Return what is reported now; what is left over comes next time."""
        answered, self._any_answered = self._any_answered, False
        reports: list[PeerReport] = []
        while self._seen and len(reports) < MAX_REPORTED:
            (kind, peer), seen = next(iter(self._seen.items()))
            del self._seen[kind, peer]
            if not answered:
                seen.counts.pop("dropped", None)
            counts = {name: min(count, 1000) for name, count in seen.counts.items()}
            if counts:
                reports.append(PeerReport(kind, peer, tuple(seen.addresses), **counts))
        self._any_answered = answered and bool(self._seen)
        return tuple(reports)
