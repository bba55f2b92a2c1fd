"""Puts a forked actor into its sandbox: it keeps its clock, randomness, and what its Sandbox names.

    namespaces     no network, no memory shared with others     (where allowed; not for swarm and lan)
    rlimits        no core dump, few descriptors, bounded memory; no file may grow and no thread may start
                   unless the Sandbox allows it
    dumpable       no process of the same user may attach to it or read its memory
    no_new_privs   no later exec or setuid can give anything back
    capabilities   none, not even within the namespaces
    alone          a check that no other thread runs, because most steps bind only the thread that takes them
    landlock       no file except those that it is given        (where the kernel has it; landlock.py)
    seccomp        an allow-list of system calls                (syscall_allowlist.py, seccomp.py)

Owns the order of these steps. Each reports whether it took effect; `severity` rates a step that did not.
What is needed later must be imported before, because afterwards no module can be opened.
docs/architecture.md, "Sandboxes".
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
    """Give up everything except `keep`, for good; return for each step "ok" or why it did not take effect.

    `parent` is the fork server, with which this process still has to end. `namespaces` are the descriptors of
    namespaces.py, none where the system does not allow them.
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
    if keep.reach not in ("datagrams", "internet"):
        steps.insert(0, ("namespaces", lambda: _enter_namespaces(parent, namespaces)))
    return {name: _attempt(step) for name, step in steps}


def severity(keep: Sandbox, applied: Mapping[str, str]) -> Literal["debug", "info", "warning"]:
    """Return the level at which to log a result of `enter_sandbox`.

    debug if nothing is missing; info if another step forbids the same; warning otherwise. Without namespaces
    seccomp still refuses the calls for sockets; without Landlock it refuses those for files, to an actor that
    is given none.
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


def _enter_namespaces(parent: int, namespaces: Sequence[int]) -> None:
    if not namespaces:
        raise OSError(errno.EPERM, "not permitted here")
    enter_namespaces(namespaces)
    die_with_parent(parent)  # the new credentials have cleared it


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
