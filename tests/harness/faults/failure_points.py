"""The failure points of a pairing: before and after every message (docs/protocol.md, "Messages")."""

import random
from dataclasses import dataclass
from typing import Literal

from spacedrive_node.tests.harness.faults.relays import RELAYED_TRANSPORTS, RelayedTransport

Side = Literal["initiator", "joiner"]
SIDES: tuple[Side, Side] = ("initiator", "joiner")
Manner = Literal["kill", "stop", "cable"]
MANNERS: tuple[Manner, ...] = ("kill", "stop", "cable")
Duration = Literal["ever", "ten"]
DURATIONS: tuple[Duration, ...] = ("ever", "ten")


@dataclass(frozen=True)
class FailurePoint:
    """A message at one side: about to leave (`sends`) or just arrived (`gets`).

    `accepting`: the sides whose users accept before it, in this order, each after the acceptance of the one
    before has arrived. The other users accept after the failure.
    """

    side: Side
    event: Literal["sends", "gets"]
    name: str
    number: int = 1
    actor: str = "session"
    accepting: tuple[Side, ...] = ()

    def __str__(self) -> str:
        order = f" ({' then '.join(self.accepting)} accepting)" if self.accepting else ""
        count = f" #{self.number}" if self.number > 1 else ""
        return f"{self.side} {self.event} {self.name}{count}{order}"


def _exchange(
    asking: Side,
    request: str,
    answer: str,
    number: int = 1,
    accepting: tuple[Side, ...] = (),
    answering: str = "session",
) -> list[FailurePoint]:
    other: Side = "initiator" if asking == "joiner" else "joiner"
    return [
        FailurePoint(asking, "sends", request, number, accepting=accepting),
        FailurePoint(other, "gets", request, number, answering, accepting),
        FailurePoint(other, "sends", answer, number, answering, accepting),
        FailurePoint(asking, "gets", answer, number, accepting=accepting),
    ]


def _decisions(first: Side, second: Side) -> list[FailurePoint]:
    return [
        *_exchange(first, "PairingDecision", "DecisionReceived", accepting=(first,)),
        *_exchange(second, "PairingDecision", "DecisionReceived", accepting=(first, second)),
    ]


LOOKUP = (
    FailurePoint("initiator", "sends", "add_provider", actor="discovery"),
    FailurePoint("initiator", "gets", "add_provider", actor="discovery"),
    FailurePoint("joiner", "sends", "get_providers", actor="discovery"),
    FailurePoint("joiner", "gets", "get_providers", actor="discovery"),
)
EXCHANGES = (
    *_exchange("joiner", "PairingRequest", "Challenge"),
    *_exchange("joiner", "ChallengeResponse", "ChallengeConfirmation"),
    *_decisions("joiner", "initiator"),
    *_decisions("initiator", "joiner"),
)
PRESENCE = (
    # While users decide, after this side's acceptance, and after `paired`, where the other's vault answers.
    *_exchange("joiner", "ChallengeResponse", "ChallengeConfirmation", 2),
    *_exchange("joiner", "PairingDecision", "DecisionReceived", 2, accepting=("joiner",)),
    *_exchange(
        "joiner",
        "PairingDecision",
        "DecisionReceived",
        2,
        accepting=("joiner", "initiator"),
        answering="vault",
    ),
)
FAILURE_POINTS: tuple[FailurePoint, ...] = (*LOOKUP, *EXCHANGES, *PRESENCE)


@dataclass(frozen=True)
class FailureCase:
    """One failure: which device vanishes, how and for how long, at one point of each of several pairings."""

    victim: Side
    manner: Manner
    duration: Duration
    points: tuple[FailurePoint, ...]
    first_shows: bool
    """Whether the node that is the other's DHT server shows the code. Otherwise it enters it."""
    transport: RelayedTransport = "tcp"
    """The only one that both have."""

    def __str__(self) -> str:
        verb = {"kill": "killed", "stop": "stopped", "cable": "without cable"}[self.manner]
        ending = "for ever" if self.duration == "ever" else "for ten seconds"
        server = "initiator" if self.first_shows else "joiner"
        at = "; ".join(map(str, self.points))
        over = {"tcp": "TCP", "quic": "QUIC"}[self.transport]
        return f"over {over}, {self.victim} {verb} {ending} (the {server} is the other's server) at: {at}"


def all_cases(seed: int, together: int) -> list[FailureCase]:
    """Return cases with each point for each transport, victim, manner and duration.

    Each case has `together` points.
    """
    draw = random.Random(seed)
    cases = [
        FailureCase(victim, manner, duration, part, _first_shows(part, draw), transport)
        for transport in RELAYED_TRANSPORTS
        for victim in SIDES
        for manner in MANNERS
        for duration in DURATIONS
        for part in _parts(draw, together)
    ]
    draw.shuffle(cases)
    return cases


def sample_cases(seed: int, manner: Manner, together: int) -> list[FailureCase]:
    """Return cases in one manner: each point once over TCP, and a few over QUIC.

    Victims and durations take turns.
    """
    draw = random.Random(f"{seed}/{manner}")
    turns = [(victim, duration) for victim in SIDES for duration in DURATIONS]
    over_tcp = [
        FailureCase(turns[number % 4][0], manner, turns[number % 4][1], part, _first_shows(part, draw))
        for number, part in enumerate(_parts(draw, together))
    ]
    victims = draw.sample(SIDES, len(SIDES))
    over_quic = [
        FailureCase(victim, manner, duration, part, _first_shows(part, draw), "quic")
        for victim, duration, part in zip(victims, DURATIONS, _parts(draw, together), strict=False)
    ]
    return [*over_quic, *over_tcp]


def _first_shows(part: tuple[FailurePoint, ...], draw: random.Random) -> bool:
    """Choose who shows the code: by chance, unless one point needs it.

    The server itself has nobody to tell or to ask: it keeps the record, and looks there first.
    """
    names = {point.name for point in part}
    if "get_providers" in names:
        return True
    return "add_provider" not in names and draw.random() < 0.5


def _parts(draw: random.Random, together: int) -> list[tuple[FailurePoint, ...]]:
    # In this order the two points of one actor never come into the same part: it can be held only once.
    shared = sorted((m for m in FAILURE_POINTS if m.actor != "session"), key=lambda m: m.event)
    own = [point for point in FAILURE_POINTS if point.actor == "session"]
    points = [*shared, *draw.sample(own, len(own))]
    parts = -(-len(points) // together)
    return [tuple(sorted(points[part::parts], key=_order)) for part in range(parts)]


def _order(point: FailurePoint) -> tuple[int, int]:
    """Order points that take long first, and last those that hold up everything after them."""
    actors = ("session", "vault", "get_providers", "add_provider")
    return actors.index(point.name if point.actor == "discovery" else point.actor), -point.number
