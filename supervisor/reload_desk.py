"""Reloads, one at a time: who has asked for one, how far it is, and who is still to be told.

They are asked for by the gateway, with a number that a repeat has too, and by a signal. What is done then is
up to a function that the node gives (node_reload.py); here it is only called. A signal that comes while a
reload is under way has one more follow.

Owns the queue and what has come of the last ones. Never reads a setting.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import trio

from ..messages.to_gateway import Reloaded, ReloadReport
from ..messages.to_supervisor import Reload
from .ledger import Ledger
from .ledger_effects import Effect
from .reconfiguration import Reconfiguration

Progress = Callable[[str], None]
"""Called with the actor whose turn it is; empty: all go back to what they were."""
CarryOut = Callable[[Reconfiguration, bool, Progress], Awaitable[ReloadReport]]
"""Reads the settings and changes the tree; with True it only says what it would do."""
MAX_WAITING_JOBS = 16
MAX_KEPT_REPORTS = 64
_MAX_WAITING_REQUESTS = 256
_ANSWER_AFTER_S = 1.0
"""A request is answered after so long at the latest; its sender asks again while the reload is running."""


@dataclass(slots=True, eq=False)
class _Job:
    """One reload. `number` is None if a signal has asked for it."""

    number: int | None
    check: bool
    actor: str = ""
    report: ReloadReport | None = None
    done: trio.Event = field(default_factory=trio.Event)


class ReloadDesk:
    """Takes requests for reloads at any time, and carries them out while `run` runs.

    `carry_out` is set before that; without it every reload is refused. `on_change` is called with True when
    one begins that may change something, and with False when it is over.
    """

    def __init__(self) -> None:
        self.carry_out: CarryOut | None = None
        self.on_change: Callable[[bool], None] = lambda _begins: None
        self._waiting: list[_Job] = []
        self._running: _Job | None = None
        self._reports: OrderedDict[int, ReloadReport] = OrderedDict()
        self._asked = trio.Event()
        self._open: list[tuple[str, int, _Job]] = []
        """Sender and number of the requests that are still to be answered."""
        self._answering = 0
        self._opened = trio.Event()

    def ask_by_signal(self) -> None:
        """Have a reload follow, unless one that has not begun does anyway."""
        if all(job.number is not None for job in self._waiting):
            self._add(_Job(None, check=False))

    def ask(self, sender: str, request: Reload, ledger: Ledger) -> list[Effect]:
        """Take a request; return the answer if there is one already."""
        report = self._reports.get(request.request)
        if report is not None:
            return ledger.post(sender, Reloaded(request.request, report))
        jobs = [*self._waiting, *([] if self._running is None else [self._running])]
        job = next((one for one in jobs if one.number == request.request), None)
        if job is None:
            job = _Job(request.request, request.check)
            if len(self._waiting) >= MAX_WAITING_JOBS:
                full = ReloadReport("refused", reasons=("too many reloads wait: try again later",))
                return ledger.post(sender, Reloaded(request.request, full))
            self._add(job)
        if len(self._open) + self._answering < _MAX_WAITING_REQUESTS:
            self._open.append((sender, request.request, job))
            self._opened.set()
        return []

    def _add(self, job: _Job) -> None:
        self._waiting.append(job)
        self._asked.set()

    async def run(
        self, tree: Reconfiguration, ledger: Ledger, apply_effects: Callable[[Sequence[Effect]], None]
    ) -> None:
        """Carry out what is asked for, one after the other, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._answer, ledger, apply_effects)
            while True:
                await self._asked.wait()
                self._asked = trio.Event()
                while self._waiting:
                    job = self._running = self._waiting.pop(0)
                    job.report = await self._carry_out(tree, job)
                    self._running = None
                    self._keep(job)
                    job.done.set()

    async def _carry_out(self, tree: Reconfiguration, job: _Job) -> ReloadReport:
        if self.carry_out is None:
            return ReloadReport("refused", reasons=("this node cannot read its settings again: restart it",))

        def progress(actor: str) -> None:
            job.actor = actor

        if not job.check:
            self.on_change(True)
        try:
            return await self.carry_out(tree, job.check, progress)
        finally:
            if not job.check:
                self.on_change(False)

    def _keep(self, job: _Job) -> None:
        if job.number is not None and job.report is not None:
            self._reports[job.number] = job.report
            while len(self._reports) > MAX_KEPT_REPORTS:
                self._reports.popitem(last=False)

    async def _answer(self, ledger: Ledger, apply_effects: Callable[[Sequence[Effect]], None]) -> None:
        """Answer each request when its reload is over, or a second after it came."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._opened.wait()
                self._opened = trio.Event()
                while self._open:
                    self._answering += 1
                    nursery.start_soon(self._answer_one, *self._open.pop(0), ledger, apply_effects)

    async def _answer_one(
        self,
        sender: str,
        request: int,
        job: _Job,
        ledger: Ledger,
        apply_effects: Callable[[Sequence[Effect]], None],
    ) -> None:
        with trio.move_on_after(_ANSWER_AFTER_S):
            await job.done.wait()
        self._answering -= 1
        report = job.report
        if report is None:
            report = ReloadReport("running", actors=(job.actor,) if job.actor else ())
        apply_effects(ledger.post(sender, Reloaded(request, report)))
