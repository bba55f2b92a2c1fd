"""In which order the addresses of a peer are dialled, and when each begins.

Direct addresses come before relayed ones, which do not wait for all of them. First what worked with this peer
on this network, the newest first; then what is not known; then what has failed lately; then, a second later,
what runs through a relay over which this peer has fallen silent; and last of all UDP, where UDP gets no
answer on this network. What is equal otherwise goes in turns: QUIC, which connects in one round trip, then
TCP, which needs two, then WebSocket, then WebRTC; and of each IPv4 and IPv6, so that no kind that is dead
holds up the others. Each begins 250 ms after the one before, or after as long as connecting to this peer
takes, or as soon as that one has failed. Pure. Implements docs/protocol.md, "Finding and dialling".
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from ....messages.types import ConnectionKind, Transport
from .addresses import Endpoint

STAGGER_S = 0.25
MIN_STAGGER_S, MAX_STAGGER_S = 0.1, 1.0
"""Bounds of the stagger where the round trip to the peer is known."""
MIN_STAGGER_BEFORE_RELAYED_S = 0.05
"""Where there is a relayed address, the direct ones follow each other faster: it is often the only one that
leads there, and would otherwise wait for the staggers of all that do not."""
DIAL_TIMEOUT_S = 10.0
HEARSAY_TIMEOUT_S = 4.0
"""How long an address that is hearsay may take, and how long its failure is kept back (hearsay.py)."""
ROUND_TRIPS: dict[Transport, int] = {"quic": 1, "tcp": 2, "ws": 3, "wss": 4, "webrtc": 6}
"""Round trips to a connection, in order of preference (tests/counts/test_round_trips.py)."""


@dataclass(frozen=True, slots=True)
class Target:
    """One address that may be dialled. `is_hearsay`: only a third party has named it (hearsay.py).

    `leaves_from_listening_port`: over TCP, so that the other side sees the mapping of that port.
    """

    endpoint: Endpoint
    is_hearsay: bool = False
    kind: ConnectionKind = "direct"
    leaves_from_listening_port: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """What is remembered of a peer on this network (history.py). `worked` has the newest first."""

    worked: tuple[Endpoint, ...] = ()
    failed: frozenset[Endpoint] = frozenset()
    round_trip_s: float | None = None
    udp_is_silent: bool = False
    bad_relays: frozenset[str] = frozenset()
    """Peer ids of relays that let connections with this peer come about, and then nothing through."""


@dataclass(frozen=True, slots=True)
class Start:
    """One attempt of a race. `at_s`: seconds after the race begins, if none before it fails.

    The next one begins `pause_s` later, or once this one has failed, unless that must not be seen.
    """

    target: Target
    at_s: float
    pause_s: float
    timeout_s: float


NOTHING_KNOWN = Known()


def plan(targets: Sequence[Target], known: Known = NOTHING_KNOWN) -> tuple[Start, ...]:
    """Return the attempts of a race, in the order in which they begin."""
    starts: list[Start] = []
    at = 0.0
    ordered = in_order(targets, known)
    relayed_at = next((place for place, one in enumerate(ordered) if one.kind == "relayed"), 0)
    for place, target in enumerate(ordered):
        pause = _stagger(target.endpoint.transport, known.round_trip_s)
        after = ordered[place + 1].endpoint if place + 1 < len(ordered) else target.endpoint
        if after.relay in known.bad_relays:
            pause = MAX_STAGGER_S  # it connects as soon as another one, which is no use
        if place < relayed_at:
            pause = min(pause, max(STAGGER_S / relayed_at, MIN_STAGGER_BEFORE_RELAYED_S))
        timeout = HEARSAY_TIMEOUT_S if target.is_hearsay else DIAL_TIMEOUT_S
        starts.append(Start(target, at, pause, timeout))
        at += pause
    return tuple(starts)


def in_order(targets: Iterable[Target], known: Known = NOTHING_KNOWN) -> list[Target]:
    """Return the targets in the order in which they are dialled."""
    tiers: dict[tuple[int, ...], list[Target]] = {}
    for target in targets:
        tiers.setdefault(_tier(target, known), []).append(target)
    return [target for tier in sorted(tiers) for target in _in_turns(tiers[tier])]


def _tier(target: Target, known: Known) -> tuple[int, ...]:
    endpoint = target.endpoint
    is_silent = known.udp_is_silent and endpoint.is_udp
    place = known.worked.index(endpoint) if endpoint in known.worked else len(known.worked)
    is_bad = endpoint.relay in known.bad_relays
    return int(is_silent), int(target.kind == "relayed"), int(is_bad), place, int(endpoint in known.failed)


def _in_turns(targets: Sequence[Target]) -> list[Target]:
    """Return equally good targets, transports in turns, and of each transport IP versions in turns."""
    families = dict.fromkeys(target.endpoint.family for target in targets)
    return _one_of_each(
        _one_of_each(
            [one for one in targets if (one.endpoint.transport, one.endpoint.family) == (transport, f)]
            for f in families
        )
        for transport in ROUND_TRIPS
    )


def _one_of_each(groups: Iterable[Sequence[Target]]) -> list[Target]:
    """Return the first of each group, then the second of each, and so on."""
    rounds = zip_longest(*groups)
    return [target for one_round in rounds for target in one_round if target is not None]


def _stagger(transport: Transport, round_trip_s: float | None) -> float:
    if round_trip_s is None:
        return STAGGER_S
    return min(max(round_trip_s * ROUND_TRIPS[transport], MIN_STAGGER_S), MAX_STAGGER_S)
