"""How many files the supervisor's process may have open: as many as its sessions need, if it is let.

Its actors have limits of their own (sandbox_profiles.py).
"""

import resource

from .logs import WriteLog
from .supervisor.tree import NodeFailedError

_OWN_DESCRIPTORS, _DESCRIPTORS_PER_SESSION = 128, 3
"""Open in the supervisor's process: without any session, with room to spare, and for each session."""
_MIN_DESCRIPTORS = 256
"""With fewer the fork server, which keeps some above 200, cannot start."""


def raise_descriptor_limit(max_sessions: int, log: WriteLog) -> int:
    """Raise this process's soft limit of open files to what so many sessions need.

    Return how many there is room for. More would leave nothing to start an actor again with that all need.
    Raises NodeFailedError where so few files are allowed that no node can run.
    """
    needed = max(_OWN_DESCRIPTORS + _DESCRIPTORS_PER_SESSION * max_sessions, _MIN_DESCRIPTORS)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return max_sessions
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if allowed < _MIN_DESCRIPTORS:
        raise NodeFailedError(
            f"a process may open {allowed} files here, and a node needs {_MIN_DESCRIPTORS} at least: "
            "raise the limit (ulimit -n; LimitNOFILE= of a systemd unit)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed == needed:
        return max_sessions
    sessions = (allowed - _OWN_DESCRIPTORS) // _DESCRIPTORS_PER_SESSION
    log("supervisor", "warning", "open files are limited: fewer sessions", {"sessions": sessions})
    return sessions
