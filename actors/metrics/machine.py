"""Metrics as a stepping actor: adds up what the other actors report, and knows which parts are ready.

Owns the checkpoint: totals and readiness. The HTTP server reads from the machine and never changes it. What
belongs to a single HTTP request (who waits for the supervisor's Alive) is not part of the checkpoint.
"""

import math
from collections.abc import Sequence
from typing import Annotated

import msgspec
import trio
from msgspec import Meta

from ...messages.base import Decoder
from ...messages.from_supervisor import ActorDown, ActorRestarted, Alive, SessionEnded
from ...messages.session_names import actor_of_session
from ...messages.to_gateway import Readiness
from ...messages.to_metrics import MetricsInbox, Observed
from ...messages.types import Instant, Reason
from ..base import Effects, Incoming
from .totals import Totals

PARTS: dict[str, str] = {"vault": "vault", "swarm": "swarm", "dht": "discovery"}
"""The parts that must be ready, each with the actor that reports its readiness."""


class PartState(msgspec.Struct, frozen=True):
    """What was last reported of one part."""

    ready: bool = False
    detail: Reason = "not started"


class _Checkpoint(msgspec.Struct, frozen=True):
    totals: bytes
    parts: Annotated[dict[str, PartState], Meta(max_length=len(PARTS))]
    created: float
    down: Annotated[frozenset[str], Meta(max_length=len(PARTS))] = frozenset()


_decode: Decoder[_Checkpoint] = Decoder(_Checkpoint)


class Metrics:
    """The stepping machine of metrics. `revision` changes whenever a value does.

    `started` is the Unix time at which this process began; counting began with the first of them.
    """

    def __init__(self, version: str, checkpoint: bytes | None = None, started: float = 0.0) -> None:
        restored = None if checkpoint is None else _decode(checkpoint)
        self.version = version
        self.created = started if restored is None else restored.created
        self.totals = Totals(None if restored is None else restored.totals)
        self.parts = {part: PartState() for part in PARTS} | ({} if restored is None else restored.parts)
        self._down = set() if restored is None else set(restored.down)
        """The actors that have ended and are not back yet: what they reported does not count."""
        self._absent: dict[str, str] = {}
        """The actors that the supervisor missed when it last answered, and how."""
        self.revision = 0
        self.alive_waiters: dict[int, trio.Event] = {}
        """Set when the supervisor's Alive arrives, by request; bounded by the number of HTTP connections."""

    def step(self, incoming: Incoming[MetricsInbox], now: Instant) -> Effects:
        """See stepping.StepMachine."""
        match incoming.message:
            case Alive(request=request, down=down, silent=silent):
                self._mark_absent(down, silent)
                if (event := self.alive_waiters.get(request)) is not None:
                    event.set()
                return Effects()
            case Observed() as observed:
                self.totals.observe(incoming.sender, incoming.incarnation, observed)
            case Readiness(part=part, ready=ready, detail=detail):
                if incoming.sender == PARTS[part]:
                    self.parts[part] = PartState(ready, detail)
            case ActorDown(actor=actor, keeps_state=keeps_state):
                self._mark_down(actor, keeps_state)
            case ActorRestarted(actor=actor):
                self._down.discard(actor)
            case SessionEnded(session=session):
                self.totals.end_sender(actor_of_session(session))
        self.revision += 1
        return Effects(checkpoint=self._checkpoint())

    def tick(self, now: Instant) -> Effects | None:
        """See stepping.StepMachine."""
        return None

    def wake_at(self) -> Instant:
        """See stepping.StepMachine."""
        return math.inf

    def _mark_down(self, actor: str, keeps_state: bool) -> None:
        self.totals.end_gauges(actor)
        for part in [part for part, reporter in PARTS.items() if reporter == actor]:
            self._down.add(actor)
            if not keeps_state:
                self.parts[part] = PartState(detail="restarted")

    def _mark_absent(self, down: Sequence[str], silent: Sequence[str]) -> None:
        absent = dict.fromkeys(down, "not running") | dict.fromkeys(silent, "does not answer")
        if absent != self._absent:
            self._absent = absent
            self.revision += 1

    def part_states(self) -> dict[str, PartState]:
        """Return the state of each part, and of each other actor that is missing.

        A part whose actor has ended or does not answer is not ready, whatever it reported.
        """
        states = {}
        for part, state in self.parts.items():
            why = "restarting" if PARTS[part] in self._down else self._absent.get(PARTS[part])
            states[part] = state if why is None else PartState(detail=why)
        others = {actor: why for actor, why in self._absent.items() if actor not in PARTS.values()}
        return states | {actor: PartState(detail=why) for actor, why in others.items()}

    @property
    def ready(self) -> bool:
        """Whether every part is ready, and no actor is missing."""
        return all(state.ready for state in self.part_states().values())

    def _checkpoint(self) -> bytes:
        return msgspec.msgpack.encode(
            _Checkpoint(self.totals.checkpoint(), self.parts, self.created, frozenset(self._down))
        )
