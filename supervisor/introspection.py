"""Answers the requests that actors send to the supervisor itself: ListActors, Reload, Shutdown, AreYouAlive.

Owns the rows of `sdnode actors`. Never starts or stops an actor: an answer is an effect, like any message,
and Shutdown only sets the event that stops the node. Never holds up the loop: a list, for which the memory of
every process is read, is made a few rows at a time.
"""

import os
import time
from collections.abc import Callable, Sequence

import msgspec
import trio

from ..messages.base import MalformedMessageError
from ..messages.from_supervisor import Alive, SandboxGap
from ..messages.to_gateway import ActorInfo, Actors
from ..messages.to_supervisor import AreYouAlive, ListActors, Reload, Shutdown, decode
from .child import Child
from .ledger import SUPERVISOR, Ledger
from .ledger_effects import Effect, Warn
from .memory_usage import last_known_memory_of, memory_of
from .metrics import SupervisorMetrics
from .reload_desk import ReloadDesk
from .spawner import FORK_SERVER_NAME, SPARE_NAME, Spawner
from .standing_messages import Envelope

_MAX_WAITING_REQUESTS = 128
"""For lists; as many as the gateway has clients. All that wait get the same list."""
_MAX_SANDBOX_GAPS = 16
_ROWS_AT_A_TIME = 16
_READING_TIME_S = 1.0
"""For a list, on a busy machine. What is not read by then is given as it was last read, by metrics say."""


class SupervisorInfo:
    """Answers from what the ledger, the children and the spawner know at the moment of the request."""

    def __init__(
        self,
        ledger: Ledger,
        children: dict[str, Child],
        spawner: Spawner,
        metrics: SupervisorMetrics,
        reloads: ReloadDesk,
    ) -> None:
        self._ledger = ledger
        self._children = children
        self._spawner = spawner
        self._metrics = metrics
        self._reloads = reloads
        self._started = time.monotonic()
        self._waiting: dict[tuple[str, int], None] = {}
        """Sender and number of each request for a list with memory."""
        self._asked = trio.Event()

    async def make_lists(self, apply_effects: Callable[[Sequence[Effect]], None]) -> None:
        """Answer the requests that wait, again and again until cancelled."""
        while True:
            await self._asked.wait()
            self._asked = trio.Event()
            waiting, self._waiting = self._waiting, {}
            rows = await self._rows_with_memory()
            for sender, request in waiting:
                apply_effects(self._ledger.post(sender, Actors(request, rows)))

    def handle_request(self, envelope: Envelope, stop: trio.Event) -> list[Effect]:
        """Return the answer to a message to the supervisor, if it comes at once; set `stop` at a Shutdown."""
        try:
            message = decode(envelope.body)
        except MalformedMessageError:
            return [Warn(envelope.sender, "malformed message to the supervisor")]
        match message:
            case ListActors(memory=False):
                return self._ledger.post(envelope.sender, Actors(message.request, self._rows()))
            case ListActors():
                if len(self._waiting) < _MAX_WAITING_REQUESTS:
                    self._waiting[envelope.sender, message.request] = None
                    self._asked.set()
            case AreYouAlive():
                return self._ledger.post(envelope.sender, self._alive(message.request))
            case Reload():
                return self._reloads.ask(envelope.sender, message, self._ledger)
            case Shutdown():
                stop.set()
        return []

    def _alive(self, request: int) -> Alive:
        singletons = [child for child in self._children.values() if not child.is_session]
        down = tuple(child.name for child in singletons if not child.ready.is_set())
        channels = [(child.name, child.channel) for child in singletons if child.ready.is_set()]
        silent = tuple(name for name, channel in channels if channel is not None and channel.is_silent)
        return Alive(request, down, silent, self._sandbox_gaps())

    def _sandbox_gaps(self) -> tuple[SandboxGap, ...]:
        actors: dict[tuple[str, str, bool], dict[str, None]] = {}
        for child in self._children.values():
            for gap in child.sandbox_gaps:
                actors.setdefault(gap, {})[child.spec.kind] = None
        gaps = [SandboxGap(step, why, tuple(kinds), good) for (step, why, good), kinds in actors.items()]
        return tuple(gaps[:_MAX_SANDBOX_GAPS])

    async def _rows_with_memory(self) -> tuple[ActorInfo, ...]:
        rows, begun = [], time.monotonic()
        for number, row in enumerate(self._rows()):
            if number % _ROWS_AT_A_TIME == 0:
                await trio.lowlevel.checkpoint()
            late = time.monotonic() - begun > _READING_TIME_S
            memory = last_known_memory_of(row.pid) if late or not row.pid else memory_of(row.pid)
            rows.append(msgspec.structs.replace(row, rss_bytes=memory.rss, private_bytes=memory.private))
        return tuple(rows)

    def _rows(self) -> tuple[ActorInfo, ...]:
        age = time.monotonic() - self._started
        rows = [ActorInfo(SUPERVISOR, os.getpid(), "running", 0, age, 0)]
        spawner = self._spawner
        if spawner.pid:
            restarts = self._metrics.fork_server_restarts
            rows.append(ActorInfo(FORK_SERVER_NAME, spawner.pid, "running", restarts, spawner.uptime, 0))
        for spare in spawner.spares.values():
            rows.append(ActorInfo(SPARE_NAME, spare.pid, "waiting", 0, spare.uptime, 0))
        for child in self._children.values():
            depth = self._ledger.inbox_length(child.name)
            rows.append(ActorInfo(child.name, child.pid, child.state, child.restarts, child.uptime, depth))
        return tuple(rows)
