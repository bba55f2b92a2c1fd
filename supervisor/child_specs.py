"""Child specifications as data: what to run, with what, how stubbornly, and what it is left with.

Owns no behaviour: restart_policy.py reads the numbers, fork_server.py the entry and the descriptors,
sandbox.py what a child keeps, tree.py the order. See docs/architecture.md, "The tree".
"""

from dataclasses import dataclass
from typing import Literal

import msgspec

from ..messages.base import Message

RestartKind = Literal["permanent", "transient", "temporary"]
"""permanent: the node fails without it; transient: restarted until it says it is done; temporary: never."""

FIRST_EXTRA_FD = 10
"""The descriptors of `ChildSpec.fds` appear in the child as 10, 11, …, in that order."""

SESSION = "session"
"""The one kind of actor of which there are many, named session-<16 hex>."""

SESSION_INTENSITY = (20, 60.0)
SINGLETON_INTENSITY = (120, 60.0)


Reach = Literal["nothing", "accept", "internet"]
"""nothing: its channel; accept: connections to the listening sockets among its descriptors, too; internet:
sockets of its own, IPv4 and IPv6."""


class Sandbox(Message):
    """What a child keeps. Everything that is not named here it gives up for good (sandbox.py).

    directories  may be read and changed, with all that lies in them; made, mode 0700, where missing
    files        may be read; those that are not there when it starts stay out of reach
    reach        whom it can talk to
    threads      may start threads (processes never)
    descriptors  how many it may have open at once
    memory       bytes of address space that it may have more than at its start
    """

    directories: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    reach: Reach = "nothing"
    threads: bool = False
    descriptors: int = 64
    memory: int = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """One kind of actor.

    entry            "package.module:function", an async function of one Channel
    config           encoded into frames.Start
    stepping         acknowledges inputs with Steps and is restarted from its checkpoint
    intensity        more than n restarts within so many seconds: it is given up
    backoff          shortest and longest pause before a restart, in seconds
    fds              descriptors of this process that the child inherits as 10, 11, …
    sandbox          what it keeps once its module is imported; None: everything, for tests
    spare            one is kept ready: forked, in its sandbox, waiting to be told who it is
    preload          its module is imported, and warmed up, by the fork server: it starts the faster for it
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
    sandbox: Sandbox | None = None
    preload: bool = False
    spare: bool = False
    start_deadline: float = 30.0
    stop_grace: float = 2.0

    @property
    def module(self) -> str:
        """The module of `entry`."""
        return self.entry.partition(":")[0]
