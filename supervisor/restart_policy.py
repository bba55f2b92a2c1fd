"""Restart policy, sans-IO: what an exit means, whether to try again, and when.

Owns the history of one child's exits; never starts or kills anything. docs/architecture.md, "Restarts".

    an exit                                         by itself   counts for intensity
    exit     its own exit, whatever the status      yes         yes
    signal   its own signal: SIGSEGV, SIGABRT …     yes         yes
    hang     we killed it: deaf, or never ready     yes         yes
    killed   SIGKILL or the like from outside       no          yes
    zygote   the fork server went, all went         no          no (the fork server's own history counts it)

Three exits by itself over the same input make the input poison. An actor that only ever dies young by
itself is hopeless long before its intensity is reached, because backoff slows it down: QUICK_FAILURES.
"""

import signal
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Cause = Literal["exit", "signal", "killed", "hang", "zygote"]

BY_ITSELF: frozenset[Cause] = frozenset({"exit", "signal", "hang"})
POISON_AFTER = 3
QUICK_FAILURES = 12
"""Consecutive exits by itself, each within SETTLED of its start, before an actor is given up (some 15 s)."""
SETTLED = 1.0
"""Seconds of life after Ready that count as a successful start: backoff begins anew."""

_OWN_SIGNALS = frozenset(
    {
        signal.SIGSEGV,
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGILL,
        signal.SIGFPE,
        signal.SIGSYS,
        signal.SIGTRAP,
        signal.SIGXCPU,
        signal.SIGXFSZ,
    }
)


def cause_of(status: int) -> Cause:
    """Say what an exit status (negative: a signal) means when it was not this process that killed."""
    if status >= 0:
        return "exit"
    return "signal" if -status in _OWN_SIGNALS else "killed"


@dataclass(frozen=True, slots=True)
class Restart:
    """Start it again after `delay` seconds. `poison`: without the input at the head of its inbox."""

    delay: float
    poison: bool = False


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Do not start it again; `why` is for the log."""

    why: str


Verdict = Restart | GiveUp


@dataclass(slots=True)
class History:
    """The exits of one child (or of the fork server), and the verdict on each."""

    intensity: tuple[int, float]
    backoff: tuple[float, float]
    jitter: Callable[[], float]
    """Returns a number in [0, 1)."""
    _exits: deque[float] = field(default_factory=deque)
    _quick: int = 0
    _backing_off: int = 0
    _suspect: int | None = None
    _blamed: int = 0

    def exited(self, cause: Cause, now: float, *, lived: float = 0.0, head: int | None = None) -> Verdict:
        """Judge an exit.

        `lived` is the seconds since Ready (0: never ready); `head` the number of the input that a stepping
        actor had not acknowledged when it died.
        """
        if cause == "zygote":
            return Restart(0.0)
        limit, window = self.intensity
        self._exits.append(now)
        while self._exits[0] <= now - window:
            self._exits.popleft()
        poison = self._blame(head) if cause in BY_ITSELF else False
        self._age(cause, lived)
        if len(self._exits) > limit:
            return GiveUp(f"more than {limit} restarts in {window:g} s")
        if self._quick >= QUICK_FAILURES:
            return GiveUp(f"failed {self._quick} times in a row at its start")
        return Restart(self._delay(), poison)

    def _blame(self, head: int | None) -> bool:
        self._blamed = self._blamed + 1 if head == self._suspect else 1
        self._suspect = head
        return head is not None and self._blamed >= POISON_AFTER

    def _age(self, cause: Cause, lived: float) -> None:
        if lived >= SETTLED:
            self._quick = self._backing_off = 0
        self._backing_off += 1
        if lived < SETTLED and cause in BY_ITSELF:
            self._quick += 1

    def _delay(self) -> float:
        shortest, longest = self.backoff
        if self._backing_off == 1:
            return 0.0  # it has worked until now: who waits for it should not wait longer
        full = min(longest, shortest * 2.0 ** min(self._backing_off - 2, 30))
        return full * (0.5 + 0.5 * self.jitter())
