"""What a forked actor gives up: everything but computing, its clock, randomness, and what its Sandbox names.

    namespaces     no network, no memory shared with others     (where allowed; not with the internet)
    rlimits        no core, few descriptors, bounded memory; no files to write, no threads, where none are due
    dumpable       nobody of the same user may attach to it, or read its memory
    no_new_privs   never to be regained
    capabilities   none, not even within the namespaces
    landlock       no file but those that it is given           (where the kernel has it; landlock.py)
    seccomp        an allow-list of system calls                (syscall_allowlist.py, seccomp.py)
    alone          no thread runs already, which would keep all of it

Every step reports whether it took; `severity` says how bad it is if one did not. What is needed later must be
imported before: afterwards no module can be opened. docs/architecture.md, "Privilege separation".
"""

import errno
import os
import resource
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from .child_specs import Sandbox
from .landlock import confine
from .libc import die_with_parent, drop_capabilities, prctl, set_dumpable
from .namespaces import enter_namespaces
from .seccomp import filter_for, install_filter

_PR_SET_NO_NEW_PRIVS = 38


def enter_sandbox(keep: Sandbox, parent: int, namespaces: Sequence[int] = ()) -> dict[str, str]:
    """Give everything up, for good, but `keep` and the end with `parent`; return "ok" or why not, by step.

    `namespaces` are those of namespaces.py, none where they are not possible.
    """
    steps: list[tuple[str, Callable[[], None]]] = [
        ("rlimits", lambda: _limit_resources(keep)),
        ("dumpable", lambda: set_dumpable(False)),
        ("no_new_privs", lambda: prctl(_PR_SET_NO_NEW_PRIVS, 1)),
        ("capabilities", drop_capabilities),
        ("alone", _check_alone),
        ("landlock", lambda: confine(keep)),
        ("seccomp", lambda: install_filter(filter_for(keep))),
    ]
    if keep.reach != "internet":
        steps.insert(0, ("namespaces", lambda: _leave(parent, namespaces)))
    return {name: _attempt(step) for name, step in steps}


def severity(keep: Sandbox, applied: Mapping[str, str]) -> Literal["debug", "info", "warning"]:
    """Say how a result of `enter_sandbox` is to be logged: warning, where a way out is open because of it.

    Without namespaces the system calls for sockets are still refused; without Landlock those for files are,
    to an actor that is given none.
    """
    missing = {name for name, result in applied.items() if result != "ok"}
    tolerable = {"namespaces"} if keep.files or keep.directories else {"namespaces", "landlock"}
    return "warning" if missing - tolerable else "info" if missing else "debug"


def _attempt(step: Callable[[], None]) -> str:
    try:
        step()
    except OSError as error:
        return error.strerror or type(error).__name__
    return "ok"


def _leave(parent: int, namespaces: Sequence[int]) -> None:
    if not namespaces:
        raise OSError(errno.EPERM, "not permitted here")
    enter_namespaces(namespaces)
    die_with_parent(parent)  # new credentials have cleared it


def _limit_resources(keep: Sandbox) -> None:
    memory = int(_read("/proc/self/statm").split()[0]) * resource.getpagesize() + keep.memory
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


def _read(name: str) -> bytes:
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)


def _check_alone() -> None:
    if len(os.listdir("/proc/self/task")) > 1:
        raise OSError(errno.EBUSY, "another thread runs")
