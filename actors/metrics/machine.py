"""Metrics as a stepping actor: adds up what the other actors report, and knows which parts are ready.

Owns the checkpoint: totals and readiness. The HTTP server reads from the machine and never changes it. What
belongs to a single HTTP request (who waits for the supervisor's Alive) is not part of the checkpoint.
"""

import math
from typing import Annotated

import msgspec
import trio
from msgspec import Meta

from ...messages.base import Decoder
from ...messages.from_supervisor import SessionEnded
from ...messages.session_names import actor_of_session
from ...messages.to_gateway import Readiness
from ...messages.to_metrics import Alive, MetricsInbox, Observed
from ...messages.types import Instant, Reason
from ..base import Effects, Incoming
from .totals import Totals

PARTS: dict[str, tuple[str, ...]] = {
    "vault": ("vault",),
    "swarm": ("swarm",),
    "dht": ("swarm", "discovery"),
}
"""The parts that must be ready, each with the actors that may report its readiness."""


class PartState(msgspec.Struct, frozen=True):
    """What was last reported of one part."""

    ready: bool = False
    detail: Reason = "not started"


class _Checkpoint(msgspec.Struct, frozen=True):
    totals: bytes
    parts: Annotated[dict[str, PartState], Meta(max_length=len(PARTS))]


_decode: Decoder[_Checkpoint] = Decoder(_Checkpoint)


class Metrics:
    """The stepping machine of metrics. `revision` changes whenever a value does."""

    def __init__(self, version: str, checkpoint: bytes | None = None) -> None:
        restored = None if checkpoint is None else _decode(checkpoint)
        self.version = version
        self.totals = Totals(None if restored is None else restored.totals)
        self.parts = {part: PartState() for part in PARTS} | ({} if restored is None else restored.parts)
        self.revision = 0
        self.alive_waiters: dict[int, trio.Event] = {}
        """Set when the supervisor's Alive arrives, by request; bounded by the number of HTTP connections."""

    def step(self, incoming: Incoming[MetricsInbox], now: Instant) -> Effects:
        """See stepping.StepMachine."""
        match incoming.message:
            case Alive(request=request):
                if (event := self.alive_waiters.get(request)) is not None:
                    event.set()
                return Effects()
            case Observed() as observed:
                self.totals.observe(incoming.sender, incoming.incarnation, observed)
            case Readiness(part=part, ready=ready, detail=detail):
                if incoming.sender in PARTS[part]:
                    self.parts[part] = PartState(ready, detail)
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

    @property
    def ready(self) -> bool:
        """Whether every part is ready."""
        return all(state.ready for state in self.parts.values())

    def _checkpoint(self) -> bytes:
        return msgspec.msgpack.encode(_Checkpoint(self.totals.checkpoint(), self.parts))
