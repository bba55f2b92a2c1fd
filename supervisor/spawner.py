"""The seam between the tree and what its actors run in: processes or trio tasks."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ..messages.child_protocol import FromChild
from ..messages.errors import SpacedriveNodeError
from .channel import Channel
from .child_specs import ChildSpec
from .restart_policy import Cause


class ForkServerLostError(SpacedriveNodeError):
    """What the children run in is gone, and all of them with it."""


class SpawnError(SpacedriveNodeError):
    """The system made no child this time (no process, no descriptor left)."""


class SpawnerBrokenError(SpacedriveNodeError):
    """Children cannot be made at all, now or later: raised out of `opened`. The text is for the user."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of one process in bytes: resident, and private to it."""

    rss: int = 0
    private: int = 0


class Spare(NamedTuple):
    """A child that waits to be needed: its process, and for how many seconds it has run."""

    pid: int
    uptime: float


class Handle(Protocol):
    """One running child."""

    @property
    def pid(self) -> int:
        """Its process id."""
        ...

    @property
    def channel(self) -> Channel[FromChild]:
        """The supervisor's end of its channel."""
        ...

    def kill(self) -> None:
        """End it at once, without another frame. Does nothing if it is over."""
        ...

    async def wait(self) -> int | None:
        """Wait until it is over; return its exit status (negative: a signal), None: it went with its host."""
        ...

    async def aclose(self) -> None:
        """Release what belongs to it. It must be over."""
        ...


class Host(Protocol):
    """Where children run."""

    def opened(
        self, *, preload: Sequence[str], on_lost: Callable[[Cause], None]
    ) -> AbstractAsyncContextManager[None]:
        """Open it; ends every child at exit. `preload`: modules that many children need.

        `on_lost` is called when all children are lost at once, with the reason, before any of their `wait`
        returns.
        """
        ...

    async def spawn(self, spec: ChildSpec) -> Handle:
        """Start a child. Raises ForkServerLostError, SpawnError."""
        ...

    @property
    def spares(self) -> Mapping[str, Spare]:
        """The children that wait to be needed, by kind (ChildSpec.spare)."""
        ...

    @property
    def pid(self) -> int:
        """The process that children run under; 0 if there is none."""
        ...

    @property
    def uptime(self) -> float:
        """Seconds that this process has run; 0 if there is none."""
        ...
