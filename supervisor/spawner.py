"""What the tree needs from that in which its actors run: processes (process_spawner.py) or trio tasks.

Defines the two protocols Spawner and RunningChild, and the exceptions of starting a child. Tests put their
own spawners here, which wrap a real one and kill, hold or watch its children.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ..messages.child_protocol import FromChild
from ..messages.errors import SpacedriveNodeError
from .channel import Channel
from .child_specs import ChildSpec
from .restart_policy import Cause

HEARTBEAT_INTERVAL_S = 2.0
FORK_SERVER_NAME = "zygote"
"""The fork server in `sdnode actors` and in labels of metrics."""
SPARE_NAME = "spare"
"""A spare in `sdnode actors` and in labels of metrics."""


class ForkServerLostError(SpacedriveNodeError):
    """The process that children are forked from has ended, and all of them with it."""


class SpawnError(SpacedriveNodeError):
    """The system could not start this child now (no process or no descriptor left)."""


class SpawnerBrokenError(SpacedriveNodeError):
    """No child can be started, now or later. Raised out of `opened`; the text is for the user."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of one process in bytes: resident, and private to it."""

    rss: int = 0
    private: int = 0


class Spare(NamedTuple):
    """A child that has been started ahead of need: its process id, and the seconds that it has run."""

    pid: int
    uptime: float


class RunningChild(Protocol):
    """One incarnation of an actor: a process or a task."""

    @property
    def pid(self) -> int:
        """Its process id."""
        ...

    @property
    def channel(self) -> Channel[FromChild]:
        """The supervisor's end of its channel."""
        ...

    @property
    def was_spare(self) -> bool:
        """Whether it was started ahead of need: it has its imports, and answers heartbeats already."""
        ...

    def kill(self) -> None:
        """End it at once, without another frame. Does nothing if it has ended."""
        ...

    async def wait(self) -> int | None:
        """Wait until it has ended; return its exit status (negative: a signal).

        None if it ended with the fork server.
        """
        ...

    async def aclose(self) -> None:
        """Release its descriptors. It must have ended, or have been killed."""
        ...


class Spawner(Protocol):
    """Starts children."""

    def opened(
        self, *, preload: Sequence[str], on_lost: Callable[[Cause], None]
    ) -> AbstractAsyncContextManager[None]:
        """Return a context in which children can be started; its exit ends all of them.

        `preload`: modules to import once, before the first child. `on_lost` is called when all children have
        been lost at once, with the reason, before `wait` returns for any of them. Raises SpawnerBrokenError
        from within.
        """
        ...

    async def spawn(self, spec: ChildSpec) -> RunningChild:
        """Start a child. Raises ForkServerLostError, SpawnError."""
        ...

    @property
    def spares(self) -> Mapping[str, Spare]:
        """The children that have been started ahead of need, by kind (ChildSpec.spare)."""
        ...

    @property
    def pid(self) -> int:
        """The fork server's process id; 0 if there is none."""
        ...

    @property
    def uptime(self) -> float:
        """Seconds that the fork server has run; 0 if there is none."""
        ...
