"""Kills actors of a node at random, and remembers every process that the node has had.

ProcessKiller is an InterceptingSpawner: it sees every process start and end.
"""

import os
import random
import signal
import time
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from spacedrive_node.supervisor.child_specs import ChildSpec
from spacedrive_node.supervisor.spawner import RunningChild
from spacedrive_node.tests.harness.nodes import InterceptingSpawner

WEIGHTS = {
    "session": 30,
    "vault": 20,
    "swarm": 14,
    "discovery": 12,
    "gateway": 12,
    "metrics": 6,
    "zygote": 6,
}
# A gateway gets hundreds of standing messages at its start: with a greater weight it would die at each start.
FRAME_WEIGHTS = {
    "session": 1.0,
    "vault": 1.0,
    "metrics": 0.2,
    "discovery": 0.15,
    "swarm": 0.1,
    "gateway": 0.01,
}
# Kills of one kind in a minute, well below the restart intensity at which a node gives up.
_WINDOW = 60.0
_ALLOWED = {"zygote": 12, "session": 10_000}
_ALLOWED_OTHERS = 80


@dataclass
class Timeline:
    """Everything that happened, in order, for the report of a failure."""

    start: float = field(default_factory=time.monotonic)
    lines: list[tuple[float, str]] = field(default_factory=list)

    def now(self) -> float:
        return time.monotonic() - self.start

    def record(self, text: str) -> None:
        self.lines.append((self.now(), text))

    def between(self, begin: float, end: float) -> list[str]:
        return [f"{at:8.3f} {text}" for at, text in self.lines if begin <= at <= end]


def start_time_of(pid: int) -> str:
    """Return the start time of a process as the kernel writes it, "" if it has ended.

    With the pid it is unique.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


@dataclass
class ProcessKiller(InterceptingSpawner):
    name: str = ""
    timeline: Timeline = field(default_factory=Timeline)
    live: dict[int, "_TrackedHandle"] = field(default_factory=dict)
    ever: set[tuple[int, str]] = field(default_factory=set)
    killed: Counter[str] = field(default_factory=Counter)
    frames: float = 0.0
    """Probability of a kill at each frame of a session or the vault; FRAME_WEIGHTS scales it for others."""
    draw: random.Random = field(default_factory=random.Random)
    _recent: dict[str, deque[float]] = field(default_factory=dict)

    async def spawn(self, spec: ChildSpec) -> RunningChild:
        handle = await super().spawn(spec)
        self._remember(handle.pid)
        self._remember(self.inner.pid)
        return _TrackedHandle(handle, spec.kind, self.live)

    def _remember(self, pid: int) -> None:
        if start := start_time_of(pid):
            self.ever.add((pid, start))

    def on_log(self, actor: str, level: str, event: str, fields: Mapping[str, object]) -> None:
        if level != "debug":
            self.timeline.record(f"{self.name} {level} {actor}: {event} {dict(fields)}")

    def should_kill(self, kind: str, event: str) -> bool:
        """Decide at each frame, at random, whether to kill its actor."""
        if self.draw.random() >= self.frames * FRAME_WEIGHTS.get(kind, 0.0) or not self._may(kind):
            return False
        self._killed(kind, f"at its {event}")
        return True

    def _may(self, kind: str) -> bool:
        recent = self._recent.setdefault(kind, deque())
        while recent and recent[0] < time.monotonic() - _WINDOW:
            recent.popleft()
        return len(recent) < _ALLOWED.get(kind, _ALLOWED_OTHERS)

    def _killed(self, kind: str, what: object) -> None:
        self._recent[kind].append(time.monotonic())
        self.killed[kind] += 1
        self.timeline.record(f"{self.name} SIGKILL {kind} {what}")

    def kill(self, kind: str, pick: float) -> None:
        """SIGKILL one process of a kind. `pick`, in [0, 1), selects one of several."""
        if not self._may(kind):
            return
        if kind == "zygote":
            pid = self.inner.pid
            if not pid:
                return
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        else:
            there = [watched for watched in self.live.values() if watched.kind == kind]
            if not there:
                return
            victim = there[int(pick * len(there))]
            pid = victim.pid
            victim.kill()
        self._killed(kind, pid)

    def left(self) -> list[int]:
        """Return the processes that the node has ever had and that still run."""
        return [pid for pid, start in self.ever if start_time_of(pid) == start]


class _TrackedHandle:
    """A child that is in `live` until its supervisor closes it."""

    def __init__(self, inner: RunningChild, kind: str, live: dict[int, "_TrackedHandle"]) -> None:
        self.inner, self.kind, self._live = inner, kind, live
        live[inner.pid] = self

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    async def aclose(self) -> None:
        if self._live.get(self.inner.pid) is self:
            del self._live[self.inner.pid]
        await self.inner.aclose()


def choose_kind(random: random.Random) -> str:
    return random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
