"""Child specifications as data: what to run, with what, and how stubbornly.

Owns no behaviour: restart.py reads the numbers, zygote.py the entry and the descriptors, tree.py the order.
See docs/architecture.md, "The tree".
"""

from dataclasses import dataclass
from typing import Literal

import msgspec

RestartKind = Literal["permanent", "transient", "temporary"]
"""permanent: the node fails without it; transient: restarted until it says it is done; temporary: never."""

FIRST_EXTRA_FD = 10
"""The descriptors of `ChildSpec.fds` appear in the child as 10, 11, …, in that order."""

SESSION = "session"
"""The one kind of actor of which there are many, named session-<16 hex>."""

SESSION_INTENSITY = (20, 60.0)
SINGLETON_INTENSITY = (120, 60.0)


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """One kind of actor.

    entry            "package.module:function", an async function of one Channel
    config           encoded into frames.Start
    stepping         acknowledges inputs with Steps and is restarted from its checkpoint
    intensity        more than n restarts within so many seconds: it is given up
    backoff          shortest and longest pause before a restart, in seconds
    fds              descriptors of this process that the child inherits as 10, 11, …
    sandboxed        gives up everything that supervisor/sandbox.py can take away
    network          False: a network namespace of its own, where the system allows that
    start_deadline   seconds from the fork to Ready
    stop_grace       seconds from Stop to SIGKILL
    """

    kind: str
    entry: str
    config: msgspec.Struct
    restart: RestartKind = "permanent"
    stepping: bool = False
    intensity: tuple[int, float] = SINGLETON_INTENSITY
    backoff: tuple[float, float] = (0.010, 2.0)
    fds: tuple[int, ...] = ()
    sandboxed: bool = False
    network: bool = False
    start_deadline: float = 30.0
    stop_grace: float = 2.0

    @property
    def module(self) -> str:
        """The module of `entry`."""
        return self.entry.partition(":")[0]
