"""Every message of a pairing, before and after: where a failure may strike (docs/protocol.md, "Messages")."""

import random
from dataclasses import dataclass
from typing import Literal

Side = Literal["initiator", "joiner"]
SIDES: tuple[Side, Side] = ("initiator", "joiner")
How = Literal["kill", "stop", "cable"]
HOWS: tuple[How, ...] = ("kill", "stop", "cable")
Long = Literal["ever", "ten"]
LONGS: tuple[Long, ...] = ("ever", "ten")


@dataclass(frozen=True)
class Moment:
    """A message at one side: about to leave (`sends`) or just arrived (`gets`).

    `accepting`: the sides whose users accept before it, in this order, each when it has heard of the one
    before; the others do when the failure has struck.
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
) -> list[Moment]:
    other: Side = "initiator" if asking == "joiner" else "joiner"
    return [
        Moment(asking, "sends", request, number, accepting=accepting),
        Moment(other, "gets", request, number, answering, accepting),
        Moment(other, "sends", answer, number, answering, accepting),
        Moment(asking, "gets", answer, number, accepting=accepting),
    ]


def _decisions(first: Side, second: Side) -> list[Moment]:
    return [
        *_exchange(first, "PairingDecision", "DecisionReceived", accepting=(first,)),
        *_exchange(second, "PairingDecision", "DecisionReceived", accepting=(first, second)),
    ]


LOOKUP = (
    Moment("initiator", "sends", "add_provider", actor="discovery"),
    Moment("initiator", "gets", "add_provider", actor="discovery"),
    Moment("joiner", "sends", "get_providers", actor="discovery"),
    Moment("joiner", "gets", "get_providers", actor="discovery"),
)
EXCHANGES = (
    *_exchange("joiner", "PairingRequest", "Challenge"),
    *_exchange("joiner", "ChallengeResponse", "ChallengeConfirmation"),
    *_decisions("joiner", "initiator"),
    *_decisions("initiator", "joiner"),
)
PRESENCE = (
    # While users decide, after the own acceptance, and after `paired`, where the other's vault answers.
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
MOMENTS: tuple[Moment, ...] = (*LOOKUP, *EXCHANGES, *PRESENCE)


@dataclass(frozen=True)
class Case:
    """One vanishing: who, how and for how long, and at which moments of as many pairings at once."""

    victim: Side
    how: How
    long: Long
    moments: tuple[Moment, ...]
    first_shows: bool
    """Whether the node that the other one has as its DHT server shows the code, or enters it."""

    def __str__(self) -> str:
        verb = {"kill": "killed", "stop": "stopped", "cable": "without cable"}[self.how]
        until = "for ever" if self.long == "ever" else "for ten seconds"
        server = "initiator" if self.first_shows else "joiner"
        at = "; ".join(map(str, self.moments))
        return f"{self.victim} {verb} {until} (the {server} is the other's server) at: {at}"


def every_case(seed: int, together: int) -> list[Case]:
    """Each moment with each victim, manner and length; `together` pairings of one pair of nodes at once."""
    draw = random.Random(seed)
    cases = [
        Case(victim, how, long, part, first_shows=draw.random() < 0.5)
        for victim in SIDES
        for how in HOWS
        for long in LONGS
        for part in _parts(draw, together)
    ]
    draw.shuffle(cases)
    return cases


def sample(seed: int, how: How, together: int) -> list[Case]:
    """Each moment in one manner, once; victims and lengths take turns."""
    draw = random.Random(f"{seed}/{how}")
    turns = [(victim, long) for victim in SIDES for long in LONGS]
    return [
        Case(turns[number % 4][0], how, turns[number % 4][1], part, first_shows=draw.random() < 0.5)
        for number, part in enumerate(_parts(draw, together))
    ]


def _parts(draw: random.Random, together: int) -> list[tuple[Moment, ...]]:
    # In this order the two moments of one actor never come into the same part: it can be held once.
    shared = sorted((m for m in MOMENTS if m.actor != "session"), key=lambda m: m.event)
    own = [moment for moment in MOMENTS if moment.actor == "session"]
    moments = [*shared, *draw.sample(own, len(own))]
    parts = -(-len(moments) // together)
    return [tuple(sorted(moments[part::parts], key=_order)) for part in range(parts)]


def _order(moment: Moment) -> tuple[int, int]:
    """What takes long comes first, and last what holds up all that would come after it."""
    actors = ("session", "vault", "get_providers", "add_provider")
    return actors.index(moment.name if moment.actor == "discovery" else moment.actor), -moment.number
