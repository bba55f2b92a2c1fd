"""Child specifications as data: what to run, its configuration, its restart policy, its sandbox.

The node composes its actors from these (node.py). Owns no behaviour: restart_policy.py reads the numbers,
fork_server.py the entry and the descriptors, sandbox.py what a child keeps, tree.py the order of start.
docs/architecture.md, "The tree".
"""

from dataclasses import dataclass
from typing import Literal

import msgspec

from ..messages.base import Message

RestartKind = Literal["permanent", "transient", "temporary"]
"""As in OTP.

permanent: the node fails without it; transient: restarted until it ends itself; temporary: never
restarted."""

FIRST_EXTRA_FD = 10
"""The descriptors of `ChildSpec.fds` appear in the child as 10, 11, …, in that order."""

SESSION = "session"
"""The only kind of actor of which there are many, named session-<16 hex digits>."""

SESSION_INTENSITY = (20, 60.0)
SINGLETON_INTENSITY = (120, 60.0)
"""Restarts, and the seconds within which they are counted."""


Reach = Literal["nothing", "accept", "datagrams", "internet"]
"""nothing: only its channel; accept: also connections to the listening sockets among its descriptors;
datagrams: IPv4 and IPv6 sockets that it opens itself, of UDP only; internet: such sockets of TCP too."""


class Sandbox(Message):
    """What a child keeps. It gives up everything else for good (sandbox.py).

    directories  may be read and changed, with everything in them; created with mode 0700 if missing
    files        may be read; one that is missing when the child starts stays out of reach
    reach        the sockets that it can use
    threads      may start threads (processes never)
    descriptors  how many it may have open at once
    memory       bytes of address space that it may add to what it has at its start
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

    entry            "package.module:name", a coroutine function of one Channel or a BlockingEntry
    config           encoded into child_protocol.Start
    stepping         acknowledges inputs with Steps and is restarted from its checkpoint
    intensity        n, seconds: it is given up after more than n restarts within that time
    backoff          shortest and longest pause before a restart, in seconds
    fds              descriptors of this process that the child inherits as 10, 11, …
    sandbox          what it keeps once its module is imported; None: everything, for tests
    spare            one is forked ahead of need, and waits in its sandbox for its Start
    preload          its module is imported and warmed up by the fork server, which makes its start faster
    start_deadline   seconds from the fork to Ready
    stop_grace       seconds from Stop to SIGKILL
    takes_back       at its Stop it takes back what others were told: a reload sends it one. Any other actor
                     is killed by a reload, since a Stop means to it that the node ends
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
    takes_back: bool = False

    @property
    def module(self) -> str:
        """The module of `entry`."""
        return self.entry.partition(":")[0]
