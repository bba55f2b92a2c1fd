"""One child of the tree over all its incarnations: its specification, its present channel, its history.

An incarnation is one process (or task) of an actor, from its start to its end. The child outlives it: tree.py
keeps one for each singleton and one for each session. Never does I/O.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from ..messages.child_protocol import Log
from .child_channel import ChildChannel
from .child_specs import SESSION, ChildSpec
from .log_budget import LogBudget
from .restart_policy import Cause, ExitHistory, GiveUp, Verdict

_STEP_CHARS, _WHY_CHARS = 32, 64


class StartTurn:
    """The turn of one child to start. Without `turns` it needs none."""

    def __init__(self, turns: trio.Semaphore | None) -> None:
        self._turns = turns
        self._has_turn = False

    async def begin(self) -> None:
        """Wait for the turn."""
        if self._turns is not None:
            await self._turns.acquire()
            self._has_turn = True

    def end(self) -> None:
        """End the turn, if it has not ended."""
        if self._turns is not None and self._has_turn:
            self._has_turn = False
            self._turns.release()


@dataclass(slots=True, eq=False)
class Trial:
    """A start with another specification, until the child works, or has failed to.

    `former`: what it goes back to; None: it has not been there before. `why`: why it failed, else empty.
    `is_return`: it goes back now, and a failure is one of the node as at any other restart.
    """

    former: ChildSpec | None
    is_return: bool = False
    over: trio.Event = field(default_factory=trio.Event)
    why: str = ""


class Child:
    """One singleton, or one session."""

    def __init__(
        self,
        name: str,
        spec: ChildSpec,
        jitter: Callable[[], float],
        start_turns: trio.Semaphore | None = None,
    ) -> None:
        self.name = name
        self.spec = spec
        self.channel: ChildChannel | None = None
        """The channel of the present incarnation; None between two of them."""
        self.ready = trio.Event()
        """Set while the present incarnation takes messages; replaced by a new event when it ends."""
        self.gone = trio.Event()
        """Set when it has ended and is not started again."""
        self.start_turn = StartTurn(start_turns)
        """Ends when the present incarnation is ready."""
        self.retired = False
        """Not to be started again."""
        self.restarts = 0
        self.scope = trio.CancelScope()
        self._history = ExitHistory(spec.intensity, spec.backoff, jitter)
        self._started = time.monotonic()
        self._lived = 0.0
        self._turns_of_start = 0
        self.log_budget = LogBudget()
        """For its own lines."""
        self.warn_budget = LogBudget()
        """For lines about it, which its own must not push out."""
        self.message_budget = LogBudget()
        """For lines about each message that it sends."""
        self.sandbox_gaps: tuple[tuple[str, str, bool], ...] = ()
        """Steps of its sandbox that the present incarnation lacks: name, why, whether others make it good."""
        self.has_sent_step = False
        """The present incarnation works: a Fatal from it does not end the node any more."""
        self.next_spec: ChildSpec | None = None
        """The specification of the next incarnation, for which the present one is ended."""
        self.trial: Trial | None = None
        """Of the next incarnation, or of the present one."""
        self.start_refusal = ""
        """Why no process could be made when it was last to start; empty: one was made."""

    @property
    def is_session(self) -> bool:
        """Whether it is a session, of which there are many, and not a singleton."""
        return self.spec.kind == SESSION

    @property
    def state(self) -> str:
        """The state that `sdnode actors` shows."""
        if self.retired:
            return "stopping"
        if self.ready.is_set():
            return "running"
        return "restarting" if self.restarts else "starting"

    @property
    def pid(self) -> int:
        """The process of the present incarnation; 0 between two of them."""
        return self.channel.pid if self.channel is not None else 0

    @property
    def uptime(self) -> float:
        """Seconds that the present incarnation has run; 0 between two of them."""
        return time.monotonic() - self._started if self.channel is not None else 0.0

    def begin_incarnation(self, channel: ChildChannel) -> None:
        """Record that a process has been started."""
        self.channel = channel
        self._started = time.monotonic()
        self._lived = 0.0
        self._turns_of_start = 0
        self.has_sent_step = False
        self.sandbox_gaps = ()
        self.start_refusal = ""

    def note_start_refusal(self, why: str) -> bool:
        """Record that no process could be made; return whether that is news, or was so at the last try."""
        is_news, self.start_refusal = why != self.start_refusal, why
        return is_news

    def note_sandbox(self, line: Log) -> None:
        """Record the line in which an incarnation says what came of its sandbox, before it is ready."""
        if line.event == "sandbox" and not self.ready.is_set():
            missing = {
                name: str(why).removeprefix(f"{name}: ") for name, why in line.fields.items() if why != "ok"
            }
            # As sandbox.severity has it: info, all is made good; otherwise what seccomp alone makes good is.
            made_good = missing if line.level == "info" else set() if "seccomp" in missing else {"namespaces"}
            self.sandbox_gaps = tuple(
                (name[:_STEP_CHARS], why[:_WHY_CHARS], name in made_good) for name, why in missing.items()
            )

    def mark_step(self) -> None:
        """Record that the present incarnation has sent a step."""
        self.has_sent_step = True
        self._end_trial()

    # other settings

    def begin_trial(self, spec: ChildSpec) -> Trial:
        """Have the next incarnation start with another specification; the caller ends the present one."""
        self.next_spec = spec
        self.trial = Trial(self.spec)
        return self.trial

    @property
    def is_tried(self) -> bool:
        """Whether the present incarnation is a trial that is not over."""
        return self.trial is not None and not self.trial.is_return and self.next_spec is None

    def fail_trial(self, why: str) -> None:
        """Go back to the former specification, or come to an end if there was none; `why` is for people."""
        trial, self.trial = self.trial, None
        assert trial is not None
        if trial.former is None:
            self.retired = True
        else:
            self.go_back(trial.former)
        trial.why = why
        trial.over.set()

    def go_back(self, former: ChildSpec) -> None:
        """Have the next incarnation start as before a trial; the caller ends the present one."""
        self.next_spec = former
        self.trial = Trial(former, is_return=True)

    def adopt_next_spec(self) -> None:
        """Be about to start, with the next specification if there is one."""
        if self.next_spec is not None:
            self.spec, self.next_spec = self.next_spec, None

    def _end_trial(self) -> None:
        if (
            self.trial is not None and self.next_spec is None
        ):  # otherwise it is the former incarnation that works
            self.trial.over.set()
            self.trial = None

    def count_turn_of_start(self) -> int:
        """Count one turn of the heartbeat in which it was not ready; return how many complete ones it was.

        Turns and not seconds, so that a suspended machine or a stopped supervisor kills nobody.
        """
        self._turns_of_start += 1
        return self._turns_of_start - 1

    def mark_ready(self) -> None:
        """Record that the present incarnation takes messages, and wake the tasks that wait for it."""
        self._started = time.monotonic()
        self.ready.set()
        self.start_turn.end()
        if self.spec.stepping:
            self._end_trial()

    def mark_not_ready(self) -> None:
        """Have tasks that wait for it to be ready wait for the next incarnation."""
        if self.ready.is_set():
            self._lived = time.monotonic() - self._started
            self.ready = trio.Event()

    def end_incarnation(self) -> None:
        """Record that the process has ended."""
        self.mark_not_ready()
        self.channel = None

    def record_exit(self, cause: Cause, input_number: int | None) -> Verdict:
        """Record an exit that was not asked for; return the verdict of the restart policy.

        `input_number` is the input that it had not acknowledged when it died; None: there was none.
        """
        self.restarts += 1
        if self.spec.restart == "temporary":
            return GiveUp(f"it died ({cause}) and is not to be restarted")
        lived, self._lived = self._lived, 0.0  # a start for which no process can be made has no life
        return self._history.record_exit(cause, time.monotonic(), lived=lived, input_number=input_number)
