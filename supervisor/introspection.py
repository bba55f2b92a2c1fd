"""Answers the requests that actors send to the supervisor itself: ListActors, Shutdown, AreYouAlive.

Owns the rows of `sdnode actors`. Never starts or stops an actor: an answer is an effect, like any message,
and Shutdown only sets the event that stops the node.
"""

import os
import time

import trio

from ..messages.base import MalformedMessageError
from ..messages.to_gateway import ActorInfo, Actors
from ..messages.to_metrics import Alive
from ..messages.to_supervisor import AreYouAlive, ListActors, Shutdown, decode
from .child import Child
from .ledger import SUPERVISOR, Ledger
from .ledger_effects import Effect, Warn
from .memory_usage import memory_of
from .metrics import SupervisorMetrics
from .spawner import FORK_SERVER_NAME, SPARE_NAME, Memory, Spawner
from .standing_messages import Envelope


class SupervisorInfo:
    """Answers from what the ledger, the children and the spawner know at the moment of the request."""

    def __init__(
        self, ledger: Ledger, children: dict[str, Child], spawner: Spawner, metrics: SupervisorMetrics
    ) -> None:
        self._ledger = ledger
        self._children = children
        self._spawner = spawner
        self._metrics = metrics
        self._started = time.monotonic()

    def handle_request(self, envelope: Envelope, stop: trio.Event) -> list[Effect]:
        """Return the answer to a message to the supervisor; set `stop` at a Shutdown."""
        try:
            message = decode(envelope.body)
        except MalformedMessageError:
            return [Warn(envelope.sender, "malformed message to the supervisor")]
        match message:
            case ListActors():
                return self._ledger.post(envelope.sender, Actors(message.request, self._rows()))
            case AreYouAlive():
                return self._ledger.post(envelope.sender, Alive(message.request))
            case Shutdown():
                stop.set()
        return []

    def _rows(self) -> tuple[ActorInfo, ...]:
        age = time.monotonic() - self._started
        rows = [_row(SUPERVISOR, os.getpid(), "running", 0, age, 0)]
        spawner = self._spawner
        if spawner.pid:
            restarts = self._metrics.fork_server_restarts
            rows.append(_row(FORK_SERVER_NAME, spawner.pid, "running", restarts, spawner.uptime, 0))
        for spare in spawner.spares.values():
            rows.append(_row(SPARE_NAME, spare.pid, "waiting", 0, spare.uptime, 0))
        for child in self._children.values():
            depth = self._ledger.inbox_length(child.name)
            rows.append(_row(child.name, child.pid, child.state, child.restarts, child.uptime, depth))
        return tuple(rows)


def _row(actor: str, pid: int, state: str, restarts: int, uptime: float, mailbox: int) -> ActorInfo:
    memory = memory_of(pid) if pid else Memory()
    return ActorInfo(actor, pid, state, restarts, uptime, mailbox, memory.rss, memory.private)
