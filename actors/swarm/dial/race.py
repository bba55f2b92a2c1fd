"""Runs the attempts of a plan: each begins when its time has come, the first connection wins.

Owns who wins, and that nothing stays of the others. Never dials itself, and knows no address: plan.py does.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import trio

from .plan import Start, Target


@dataclass(frozen=True, slots=True)
class Made:
    """A connection, the target that led to it, and how long the dial took."""

    connection: Any
    target: Target
    took_s: float


Dial = Callable[[Target], Awaitable[Made | None]]
"""Makes a connection; None if the target leads to none."""


@dataclass(slots=True)
class _Attempt:
    start: Start
    began: float
    scope: trio.CancelScope
    is_over: bool = False
    """It has failed, or won. What must not be seen to have failed has not."""


class Race:
    """One race. Its attempts run in `nursery`, so that the end of a loser delays nobody.

    `discard` closes a connection that came too late. `limiter` bounds the attempts of all races.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        dial: Dial,
        discard: Callable[[Made], Awaitable[None]],
        limiter: trio.CapacityLimiter | None = None,
    ) -> None:
        self._nursery = nursery
        self._dial = dial
        self._discard = discard
        self._limiter = limiter or trio.CapacityLimiter(1024)
        self._attempts: list[_Attempt] = []
        self._winner: Made | None = None
        self._all_started = False
        self.over = trio.Event()

    async def run(self, starts: Sequence[Start]) -> Made | None:
        """Start the attempts, staggered; return the first connection, or None when all have failed."""
        try:
            for start in starts:
                failed = trio.Event()
                attempt = _Attempt(start, trio.current_time(), trio.CancelScope())
                self._attempts.append(attempt)
                self._nursery.start_soon(self._run_attempt, attempt, failed)
                with trio.move_on_after(start.pause_s):
                    await _either(failed, self.over)
                if self.over.is_set():
                    break
            self._all_started = True
            self._end_if_all_failed()
            await self.over.wait()
            return self._winner
        finally:
            self._all_started = True
            self.over.set()
            for attempt in self._attempts:
                attempt.scope.cancel()

    def failed(self) -> list[Target]:
        """Return the targets that have failed."""
        return [one.start.target for one in self._attempts if one.is_over and not self._has_won(one)]

    def unanswered(self, patience_s: float) -> list[Target]:
        """Return the targets that have neither connected nor failed, though they had `patience_s`."""
        latest = trio.current_time() - patience_s
        return [one.start.target for one in self._attempts if not one.is_over and one.began <= latest]

    def _has_won(self, attempt: _Attempt) -> bool:
        return self._winner is not None and self._winner.target is attempt.start.target

    async def _run_attempt(self, attempt: _Attempt, failed: trio.Event) -> None:
        target = attempt.start.target
        attempt.scope.deadline = attempt.began + attempt.start.timeout_s
        with attempt.scope:
            async with self._limiter:
                made = await self._dial(target)
                if made is None:
                    if target.is_hearsay:
                        # Whoever named it must not see, by what this node does next, that it failed early.
                        await self.over.wait()
                        return
                elif self.over.is_set():
                    await self._discard(made)
                else:
                    self._winner = made
                    self.over.set()
        if not (self.over.is_set() and attempt.scope.cancelled_caught):
            attempt.is_over = True
        failed.set()
        self._end_if_all_failed()

    def _end_if_all_failed(self) -> None:
        if self._all_started and all(one.is_over for one in self._attempts):
            self.over.set()


async def _either(one: trio.Event, other: trio.Event) -> None:
    """Wait until one of two events is set."""
    async with trio.open_nursery() as nursery:

        async def watch(event: trio.Event) -> None:
            await event.wait()
            nursery.cancel_scope.cancel()

        nursery.start_soon(watch, one)
        nursery.start_soon(watch, other)
