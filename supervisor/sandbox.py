"""What a forked session gives up: everything but computing, its clock, randomness and one open socket.

    rlimits         no core, no files to write, few descriptors, 256 MiB more memory than now
    namespaces      no network, no shared memory of others        (where the system allows it)
    dumpable        nobody of the same user may attach to it
    no_new_privs    never to be regained
    capabilities    none, not even within the namespaces
    landlock        no file, whatever its permissions             (where the kernel has it)
    seccomp         an allow-list of system calls                 (seccomp.py)

Every step reports whether it took; REQUIRED ones that did not are a warning in the log. What is needed
later must be imported before: afterwards no file can be opened. docs/architecture.md, "Privilege separation".
"""

import ctypes
import os
import resource
import struct
from collections.abc import Callable

from .seccomp import install_filter
from .syscalls import check, die_with_parent, drop_capabilities, libc, prctl

REQUIRED = ("rlimits", "no_new_privs", "seccomp")

_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWNS = 0x00020000
_CLONE_NEWUTS = 0x04000000
_CLONE_NEWIPC = 0x08000000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_SYS_LANDLOCK_CREATE_RULESET = 444
_SYS_LANDLOCK_RESTRICT_SELF = 446
_MEMORY = 256 * 1024 * 1024
_DESCRIPTORS = 64


def enter_sandbox(parent: int) -> dict[str, str]:
    """Give everything up, for good, but the end with `parent`; return "ok" or the reason for each step."""
    steps: tuple[tuple[str, Callable[[], None]], ...] = (
        ("namespaces", lambda: _namespaces(parent)),
        ("rlimits", _rlimits),
        ("dumpable", lambda: prctl(_PR_SET_DUMPABLE, 0)),
        ("no_new_privs", lambda: prctl(_PR_SET_NO_NEW_PRIVS, 1)),
        ("capabilities", drop_capabilities),
        ("landlock", _landlock),
        ("seccomp", install_filter),
    )
    return {name: _attempt(step) for name, step in steps}


def isolate_network() -> None:
    """Move this process into a network namespace of its own. Raises OSError where that is not allowed."""
    if os.geteuid() == 0:
        check(libc.unshare(_CLONE_NEWNET), "unshare")
        return
    uid, gid = os.geteuid(), os.getegid()
    check(libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET), "unshare")
    # Without a mapping of its own ids the process could not create a file any more.
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "wb") as file:
            file.write(text.encode())
    # Whoever makes a user namespace has every capability in it, and modes of files would mean nothing.
    drop_capabilities()


def _attempt(step: Callable[[], None]) -> str:
    try:
        step()
    except OSError as error:
        return error.strerror or type(error).__name__
    return "ok"


def _namespaces(parent: int) -> None:
    flags = _CLONE_NEWNET | _CLONE_NEWIPC | _CLONE_NEWUTS
    flags |= _CLONE_NEWNS if os.geteuid() == 0 else _CLONE_NEWUSER
    check(libc.unshare(flags), "unshare")
    die_with_parent(parent)  # new credentials have cleared it


def _rlimits() -> None:
    with open("/proc/self/statm", "rb") as file:
        memory = int(file.read().split()[0]) * resource.getpagesize() + _MEMORY
    for kind, limit in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, _DESCRIPTORS),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_AS, memory),
    ):
        _, hard = resource.getrlimit(kind)
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (limit, limit))


def _landlock() -> None:
    """Handle every right that the kernel knows, and grant none (Documentation/userspace-api/landlock.rst)."""
    abi = libc.syscall(_SYS_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    check(abi, "landlock")
    rights = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(abi, 16)) - 1
    network = 3 if abi >= 4 else 0
    scoped = 3 if abi >= 6 else 0
    attributes = struct.pack("QQQ", rights, network, scoped)[: 24 if abi >= 6 else 16 if abi >= 4 else 8]
    size = ctypes.c_size_t(len(attributes))
    ruleset = check(libc.syscall(_SYS_LANDLOCK_CREATE_RULESET, attributes, size, 0), "landlock")
    try:
        check(libc.syscall(_SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0), "landlock")
    finally:
        os.close(ruleset)
