"""One child of the tree: its specification, its present incarnation, its history. Never does I/O."""

import time
from collections.abc import Callable

import trio

from ..messages.child_protocol import Deliver
from .child_channel import Link
from .child_specs import SESSION, ChildSpec
from .restart_policy import Cause, GiveUp, History, Verdict

_LOG_LINES = 200
_LOG_WINDOW = 10.0
"""So many log lines in so many seconds: a child that has been taken over must not fill a disk."""


class Member:
    """A singleton, or one session."""

    def __init__(self, name: str, spec: ChildSpec, jitter: Callable[[], float]) -> None:
        self.name = name
        self.spec = spec
        self.link: Link | None = None
        self.ready = trio.Event()
        self.gone = trio.Event()
        """Set when it is not started again."""
        self.retired = False
        self.restarts = 0
        self.scope = trio.CancelScope()
        self._history = History(spec.intensity, spec.backoff, jitter)
        self._started = time.monotonic()
        self._lived = 0.0
        self._lines = 0
        self._window = 0.0

    @property
    def is_session(self) -> bool:
        """Whether it is one of many."""
        return self.spec.kind == SESSION

    @property
    def state(self) -> str:
        """What people are shown."""
        if self.retired:
            return "stopping"
        if self.ready.is_set():
            return "running"
        return "restarting" if self.restarts else "starting"

    @property
    def pid(self) -> int:
        """The process of the present incarnation; 0 between two of them."""
        return self.link.pid if self.link is not None else 0

    @property
    def uptime(self) -> float:
        """Seconds that the present incarnation has run."""
        return time.monotonic() - self._started if self.link is not None else 0.0

    def begin(self, link: Link) -> None:
        """A new incarnation begins."""
        self.link = link
        self._started = time.monotonic()
        self._lived = 0.0

    def is_ready(self) -> None:
        """It takes messages now."""
        self._started = time.monotonic()
        self.ready.set()

    def end_ready(self) -> None:
        """Whoever waits for it to be ready waits for the next incarnation."""
        if self.ready.is_set():
            self._lived = time.monotonic() - self._started
            self.ready = trio.Event()

    def end(self) -> None:
        """The incarnation is over."""
        self.end_ready()
        self.link = None

    def judge(self, cause: Cause, head: int | None) -> Verdict:
        """Say what the restart policy makes of its end."""
        self.restarts += 1
        if self.spec.restart == "temporary":
            return GiveUp(f"it died ({cause}) and is not to be restarted")
        return self._history.exited(cause, time.monotonic(), lived=self._lived, head=head)

    def put(self, frame: Deliver) -> None:
        """Queue a delivery."""
        if self.link is not None:
            self.link.put(frame)

    def discard(self) -> None:
        """Forget deliveries not yet written."""
        if self.link is not None:
            self.link.discard()

    def kill(self, cause: Cause) -> None:
        """End the present incarnation at once."""
        if self.link is not None:
            self.link.kill(cause)

    def may_log(self) -> bool:
        """Count one log line; False when there have been too many."""
        now = time.monotonic()
        if now - self._window > _LOG_WINDOW:
            self._window, self._lines = now, 0
        self._lines += 1
        return self._lines <= _LOG_LINES
