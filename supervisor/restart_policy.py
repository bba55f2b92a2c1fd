"""Restart policy, sans-IO: what the exit of a child means, whether to restart it, and when.

Follows OTP (intensity) with backoff and poisonous inputs added. An exit is *self-inflicted* when something in
the child caused it and a restart may meet it again:

    cause    what happened                                         self-inflicted   counts for intensity
    exit     it exited, whatever the status                        yes              yes
    signal   a signal that it caused itself: SIGSEGV, SIGABRT …    yes              yes
    hang     the supervisor killed it: no Pong, or never Ready     yes              yes
    killed   SIGKILL or another signal from outside                no               yes
    zygote   the fork server ended, and all children with it       no               no, but in the history of
                                                                                    the fork server
    reload   it was ended to start with other settings             no               no: no exit at all here

Three self-inflicted exits over the same input make that input poison. An actor that fails at each start is
given up by MAX_QUICK_FAILURES, because backoff keeps it below its intensity.

Owns the history of one child's exits. Never starts or kills anything. docs/architecture.md, "Restarts".
"""

import signal
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Cause = Literal["exit", "signal", "killed", "hang", "zygote", "reload"]

SELF_INFLICTED: frozenset[Cause] = frozenset({"exit", "signal", "hang"})
POISON_EXITS = 3
"""Self-inflicted exits over one input that make it poison."""
MAX_QUICK_FAILURES = 12
"""Consecutive self-inflicted exits, each before SETTLED_S, after which an actor is given up (some 15 s)."""
SETTLED_S = 1.0
"""Seconds after Ready that count as a successful start: backoff begins anew."""

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
    """Return the cause for the exit status (negative: a signal) of a child that was not killed from here."""
    if status >= 0:
        return "exit"
    return "signal" if -status in _OWN_SIGNALS else "killed"


@dataclass(frozen=True, slots=True)
class Restart:
    """Start it again after `delay` seconds. `poison`: without the input at the front of its inbox."""

    delay: float
    poison: bool = False


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Do not start it again; `why` is for the log."""

    why: str


Verdict = Restart | GiveUp


@dataclass(slots=True)
class ExitHistory:
    """The exits of one child (or of the fork server). `intensity` and `backoff` are those of ChildSpec."""

    intensity: tuple[int, float]
    backoff: tuple[float, float]
    jitter: Callable[[], float]
    """Returns a number in [0, 1)."""
    _exits: deque[float] = field(default_factory=deque)
    _quick_failures: int = 0
    _backoff_steps: int = 0
    _suspect: int | None = None
    """The input over which the last self-inflicted exit happened."""
    _suspect_exits: int = 0

    def record_exit(
        self, cause: Cause, now: float, *, lived: float = 0.0, input_number: int | None = None
    ) -> Verdict:
        """Record an exit and return what is to be done.

        `lived` is the seconds since Ready (0: never ready); `input_number` that of the input which a stepping
        actor had not acknowledged when it died, None if there was none.
        """
        if cause == "zygote":
            return Restart(0.0)
        limit, window = self.intensity
        self._exits.append(now)
        while self._exits[0] <= now - window:
            self._exits.popleft()
        poison = self._blame(input_number) if cause in SELF_INFLICTED else False
        self._count_failures(cause, lived)
        if len(self._exits) > limit:
            return GiveUp(f"more than {limit} restarts in {window:g} s")
        if self._quick_failures >= MAX_QUICK_FAILURES:
            return GiveUp(f"failed {self._quick_failures} times in a row at its start")
        return Restart(self._delay(), poison)

    def _blame(self, input_number: int | None) -> bool:
        """Count a self-inflicted exit over an input; return whether the input is poison."""
        self._suspect_exits = self._suspect_exits + 1 if input_number == self._suspect else 1
        self._suspect = input_number
        return input_number is not None and self._suspect_exits >= POISON_EXITS

    def _count_failures(self, cause: Cause, lived: float) -> None:
        if lived >= SETTLED_S:
            self._quick_failures = self._backoff_steps = 0
        self._backoff_steps += 1
        if lived < SETTLED_S and cause in SELF_INFLICTED:
            self._quick_failures += 1

    def _delay(self) -> float:
        shortest, longest = self.backoff
        if self._backoff_steps == 1:
            return 0.0  # it has worked until now, and others wait for it
        full = min(longest, shortest * 2.0 ** min(self._backoff_steps - 2, 30))
        return full * (0.5 + 0.5 * self.jitter())
