"""What a forked actor gives up: everything but computing, its clock, randomness, and what its Sandbox names.

    namespaces     no network, no shared memory of others       (where allowed; not if it has the internet)
    rlimits        no core, few descriptors, bounded memory; no files to write, no threads, where none are due
    dumpable       nobody of the same user may attach to it, or read its memory
    no_new_privs   never to be regained
    capabilities   none, not even within the namespaces
    landlock       no file but those that it is given           (where the kernel has it; landlock.py)
    seccomp        an allow-list of system calls                (allowed.py, seccomp.py)
    alone          no thread runs already, which would keep all of it

Every step reports whether it took; `gravity` says how bad it is if one did not. What is needed later must be
imported before: afterwards no module can be opened. docs/architecture.md, "Privilege separation".
"""

import errno
import os
import resource
from collections.abc import Callable, Mapping
from typing import Literal

from .allowed import allowed
from .landlock import confine
from .seccomp import install_filter
from .specs import Sandbox
from .syscalls import check, die_with_parent, drop_capabilities, libc, prctl, set_dumpable

_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWUTS = 0x04000000
_CLONE_NEWIPC = 0x08000000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000


def enter_sandbox(keep: Sandbox, parent: int, *, can_isolate: bool = True) -> dict[str, str]:
    """Give everything up, for good, but `keep` and the end with `parent`; return "ok" or why not, by step.

    `can_isolate` False: namespaces are not possible here, and are not tried.
    """
    steps: list[tuple[str, Callable[[], None]]] = [
        ("rlimits", lambda: _limit_resources(keep)),
        ("dumpable", lambda: set_dumpable(False)),
        ("no_new_privs", lambda: prctl(_PR_SET_NO_NEW_PRIVS, 1)),
        ("capabilities", drop_capabilities),
        ("alone", _check_alone),
        ("landlock", lambda: confine(keep)),
        ("seccomp", lambda: install_filter(allowed(keep))),
    ]
    if keep.reach != "internet":
        steps.insert(0, ("namespaces", lambda: _leave(parent, can_isolate)))
    return {name: _attempt(step) for name, step in steps}


def gravity(keep: Sandbox, applied: Mapping[str, str]) -> Literal["debug", "info", "warning"]:
    """Say how a result of `enter_sandbox` is to be logged: warning, where a way out is open because of it.

    Without namespaces the system calls for sockets are still refused; without Landlock those for files are,
    to an actor that is given none.
    """
    missing = {name for name, result in applied.items() if result != "ok"}
    tolerable = {"namespaces"} if keep.files or keep.directories else {"namespaces", "landlock"}
    return "warning" if missing - tolerable else "info" if missing else "debug"


def isolate() -> None:
    """Move this process into namespaces of its own. Raises OSError where that is not allowed."""
    flags = _CLONE_NEWNET | _CLONE_NEWIPC | _CLONE_NEWUTS
    if os.geteuid() == 0:
        check(libc.unshare(flags), "unshare")
        return
    uid, gid = os.geteuid(), os.getegid()
    set_dumpable(True)  # or the files below belong to root; it holds nothing yet
    check(libc.unshare(_CLONE_NEWUSER | flags), "unshare")
    # Without a mapping of its own ids the process could not create a file any more, and would take every
    # other user for the same one.
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "wb") as file:
            file.write(text.encode())


def _attempt(step: Callable[[], None]) -> str:
    try:
        step()
    except OSError as error:
        return error.strerror or type(error).__name__
    return "ok"


def _leave(parent: int, can_isolate: bool) -> None:
    if not can_isolate:
        raise OSError(errno.EPERM, "not permitted here")
    isolate()
    die_with_parent(parent)  # new credentials have cleared it


def _limit_resources(keep: Sandbox) -> None:
    with open("/proc/self/statm", "rb") as file:
        memory = int(file.read().split()[0]) * resource.getpagesize() + keep.memory
    limits = [
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, keep.descriptors),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_AS, memory),
    ]
    if not keep.directories:
        limits.append((resource.RLIMIT_FSIZE, 0))
    if not keep.threads:
        limits.append((resource.RLIMIT_NPROC, 0))
    for kind, limit in limits:
        _, hard = resource.getrlimit(kind)
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (limit, limit))


def _check_alone() -> None:
    if len(os.listdir("/proc/self/task")) > 1:
        raise OSError(errno.EBUSY, "another thread runs")
