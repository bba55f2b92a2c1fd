"""The supervisor's own metrics: which actors are up, their inboxes and memory, restarts, crashed sessions.

Owns the counters. Never decides anything; the samples go to the metrics actor as an ordinary message, which
exports them under the names in docs/operations.md, "Watching".
"""

import os
from collections import Counter, deque

from ..messages.to_metrics import Observed, Sample
from ..messages.types import Role
from .child import Child
from .ledger import SUPERVISOR, Ledger
from .ledger_effects import Effect
from .memory_usage import memory_of
from .process_usage import ProcessorTimes, own_process
from .restart_policy import Cause
from .spawner import FORK_SERVER_NAME, SPARE_NAME, Spawner

_REPORTS_PER_MEMORY_READING = 5
_MEMORY_READINGS_PER_REPORT = 64
"""Reading the memory of a process costs the kernel a walk through its page tables, nearly a millisecond. With
a thousand sessions the supervisor would stand still for a second; the rest follows with the next reports."""
_MEMORY_GRAIN_BYTES = 256 * 1024


class SupervisorMetrics:
    """Counts what happens in the tree and reports it to the metrics actor."""

    def __init__(self, ledger: Ledger, children: dict[str, Child], spawner: Spawner) -> None:
        self._ledger = ledger
        self._children = children
        self._spawner = spawner
        self._restarts: Counter[tuple[str, Cause]] = Counter()
        self._crashed_sessions: Counter[Role] = Counter()
        self._memory: dict[str, int] = {}
        self._unread: deque[tuple[int, str]] = deque()
        """Process and kind, of those whose memory is still to be read in this round."""
        self._memory_so_far: Counter[str] = Counter()
        self._processor_times = ProcessorTimes()
        self._own_process: list[Sample] = []
        self._reports = 0
        self._last_reported: tuple[Sample, ...] = ()
        self._receiver_was_ready = False

    @property
    def fork_server_restarts(self) -> int:
        """How many times the fork server has been lost."""
        return sum(count for (kind, _), count in self._restarts.items() if kind == FORK_SERVER_NAME)

    def record_exit(self, child: Child, cause: Cause) -> None:
        """Count an exit that was not asked for."""
        self._restarts[child.spec.kind, cause] += 1

    def record_fork_server_loss(self, cause: Cause) -> None:
        """Count an end of the fork server; another one is started."""
        self._restarts[FORK_SERVER_NAME, cause] += 1

    def record_crashed_session(self, child: Child) -> None:
        """Count a session that is given up."""
        role = self._ledger.role(child.name)
        if role is not None:
            self._crashed_sessions[role] += 1

    def report(self) -> list[Effect]:
        """Return a message with the present values, if metrics is ready and they have changed.

        A metrics actor that was not ready at the last report gets them in any case: its former incarnation
        may have taken what was sent before with it.
        """
        ready = self._ledger.is_ready("metrics")
        became_ready = ready and not self._receiver_was_ready
        self._receiver_was_ready = ready
        if not ready:
            return []
        if self._reports % _REPORTS_PER_MEMORY_READING == 0:
            self._begin_memory_round()
            self._read_processor_times()
        self._read_memory()
        self._reports += 1
        samples = self._samples()
        if samples == self._last_reported and not became_ready:
            return []
        self._last_reported = samples
        return self._ledger.post("metrics", Observed(samples=samples))

    def _samples(self) -> tuple[Sample, ...]:
        up = Counter({SUPERVISOR: 1, FORK_SERVER_NAME: int(self._spawner.pid != 0)})
        depth: Counter[str] = Counter()
        for child in self._children.values():
            up[child.spec.kind] += child.ready.is_set()
            if child.name != "metrics":  # its inbox would always hold this very message
                depth[child.spec.kind] += self._ledger.inbox_length(child.name)
        return (
            *(Sample("actor_up", (kind,), float(n)) for kind, n in up.items()),
            *(Sample("actor_mailbox_depth", (kind,), float(n)) for kind, n in depth.items()),
            *(Sample("actor_memory_bytes", (kind,), float(n)) for kind, n in self._memory.items()),
            *self._processor_times.samples(),
            *self._own_process,
            Sample("sessions_limit", (), float(self._ledger.max_sessions)),
            *(Sample("actor_restarts_total", key, float(n)) for key, n in self._restarts.items()),
            *(
                Sample("pairing_sessions_total", (role, "crashed"), float(n))
                for role, n in self._crashed_sessions.items()
            ),
        )

    def _begin_memory_round(self) -> None:
        """Begin to read the memory of every process, unless that is still under way."""
        if not self._unread:
            self._unread.extend(self._processes().items())
            self._memory_so_far.clear()

    def _read_memory(self) -> None:
        """Go on with the round; at its end take the sums, rounded so that small changes are not reported."""
        if not self._unread:
            return
        for _ in range(min(len(self._unread), _MEMORY_READINGS_PER_REPORT)):
            pid, kind = self._unread.popleft()
            memory = memory_of(pid)
            self._memory_so_far[kind] += memory.private
            if kind == SUPERVISOR:
                self._own_process = own_process(_rounded(memory.rss))
        if not self._unread:
            self._memory = {kind: _rounded(size) for kind, size in self._memory_so_far.items()}

    def _read_processor_times(self) -> None:
        self._processor_times.read(self._spawner.pid, self._processes())

    def _processes(self) -> dict[int, str]:
        """Return the kinds of all processes that run, by process id."""
        kinds = {os.getpid(): SUPERVISOR, self._spawner.pid: FORK_SERVER_NAME}
        kinds |= {spare.pid: SPARE_NAME for spare in self._spawner.spares.values()}
        kinds |= {child.pid: child.spec.kind for child in self._children.values()}
        kinds.pop(0, None)  # what is not running
        return kinds


def _rounded(size: int) -> int:
    return size // _MEMORY_GRAIN_BYTES * _MEMORY_GRAIN_BYTES
