"""What the supervisor itself is asked and tells: ListActors, Shutdown, AreYouAlive, and its measurements.

Owns the supervisor's counters. Never starts or stops anything: its answers are effects, like any message.
"""

import os
import time
from collections import Counter

import trio

from ..messages.base import MalformedMessageError
from ..messages.to_gateway import ActorInfo, Actors
from ..messages.to_metrics import Alive, Observed, Sample
from ..messages.to_supervisor import AreYouAlive, ListActors, Shutdown, decode
from ..messages.types import Role
from .child import Member
from .ledger import SUPERVISOR, Ledger
from .ledger_effects import Effect, Warn
from .memory_usage import memory_of
from .restart_policy import Cause
from .spawner import Host, Memory
from .standing_messages import Envelope

_MEMORY_EVERY = 5
"""Reports between two readings of memory, which costs a system call for each page table."""
_MEMORY_GRAIN = 256 * 1024
ZYGOTE = "zygote"
"""The fork server, in `sdnode actors` and as a label."""
SPARE = "spare"
"""The same of a child that waits to be needed."""


class Desk:
    """Answers for the tree."""

    def __init__(self, ledger: Ledger, members: dict[str, Member], host: Host) -> None:
        self._ledger = ledger
        self._members = members
        self._host = host
        self._started = time.monotonic()
        self._restarts: Counter[tuple[str, Cause]] = Counter()
        self._crashed: Counter[Role] = Counter()
        self._memory: dict[str, int] = {}
        self._reports = 0
        self._said: tuple[Sample, ...] = ()
        self._was_ready = False

    def exited(self, member: Member, cause: Cause) -> None:
        """Count an exit that was not asked for."""
        self._restarts[member.spec.kind, cause] += 1

    def zygote_lost(self, cause: Cause) -> None:
        """Count an end of the fork server; another is started."""
        self._restarts[ZYGOTE, cause] += 1

    def crashed(self, member: Member) -> None:
        """Count a session that is given up."""
        role = self._ledger.role(member.name)
        if role is not None:
            self._crashed[role] += 1

    def answer(self, envelope: Envelope, stop: trio.Event) -> list[Effect]:
        """Answer a message to the supervisor."""
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

    def report(self) -> list[Effect]:
        """Tell metrics the present values, if it is there and they have changed."""
        ready = self._ledger.is_ready("metrics")
        repeat = ready and not self._was_ready
        self._was_ready = ready
        if not ready:
            return []
        if self._reports % _MEMORY_EVERY == 0:
            self._read_memory()
        self._reports += 1
        samples = self._samples()
        if samples == self._said and not repeat:
            return []
        self._said = samples
        return self._ledger.post("metrics", Observed(samples=samples))

    def _samples(self) -> tuple[Sample, ...]:
        up = Counter({SUPERVISOR: 1, ZYGOTE: int(self._host.pid != 0)})
        depth: Counter[str] = Counter()
        for member in self._members.values():
            up[member.spec.kind] += member.ready.is_set()
            if member.name != "metrics":  # whose mailbox holds this very message
                depth[member.spec.kind] += self._ledger.mailbox(member.name)
        return (
            *(Sample("actor_up", (kind,), float(n)) for kind, n in up.items()),
            *(Sample("actor_mailbox_depth", (kind,), float(n)) for kind, n in depth.items()),
            *(Sample("actor_memory_bytes", (kind,), float(n)) for kind, n in self._memory.items()),
            *(Sample("actor_restarts_total", key, float(n)) for key, n in self._restarts.items()),
            *(
                Sample("pairing_sessions_total", (role, "crashed"), float(n))
                for role, n in self._crashed.items()
            ),
        )

    def _read_memory(self) -> None:
        total: Counter[str] = Counter({SUPERVISOR: memory_of(os.getpid()).private})
        if self._host.pid:
            total[ZYGOTE] = memory_of(self._host.pid).private
        for spare in self._host.spares.values():
            total[SPARE] += memory_of(spare.pid).private
        for member in self._members.values():
            total[member.spec.kind] += memory_of(member.pid).private if member.pid else 0
        self._memory = {kind: size // _MEMORY_GRAIN * _MEMORY_GRAIN for kind, size in total.items()}

    def _rows(self) -> tuple[ActorInfo, ...]:
        age = time.monotonic() - self._started
        rows = [_row(SUPERVISOR, os.getpid(), "running", 0, age, 0)]
        if self._host.pid:
            restarts = sum(count for (kind, _), count in self._restarts.items() if kind == ZYGOTE)
            rows.append(_row(ZYGOTE, self._host.pid, "running", restarts, self._host.uptime, 0))
        for spare in self._host.spares.values():
            rows.append(_row(SPARE, spare.pid, "waiting", 0, spare.uptime, 0))
        for member in self._members.values():
            depth = self._ledger.mailbox(member.name)
            rows.append(_row(member.name, member.pid, member.state, member.restarts, member.uptime, depth))
        return tuple(rows)


def _row(actor: str, pid: int, state: str, restarts: int, uptime: float, mailbox: int) -> ActorInfo:
    memory = memory_of(pid) if pid else Memory()
    return ActorInfo(actor, pid, state, restarts, uptime, mailbox, memory.rss, memory.private)
