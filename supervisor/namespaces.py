"""Namespaces that lead nowhere: a network without interfaces, no memory shared with others, no host's name.

One set for all actors of a node that have no use for the network: the fork server makes it once, and each
enters it. (One of its own would cost every child a millisecond, and the kernel as much when it ends. What the
actors could do to each other in there, the other steps of the sandbox forbid.)
"""

import os
import signal
import socket
from collections.abc import Sequence

from .libc import check, libc, set_dumpable

_CLONE_NEWUTS = 0x04000000
_CLONE_NEWIPC = 0x08000000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_KINDS = ("net", "ipc", "uts")
_DEADLINE = 10.0
"""Seconds for the child that makes them, on a slow and busy machine."""


def make_namespaces() -> list[int]:
    """Make a set, by a child that ends; return its descriptors, none where it is not allowed."""
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with mine, theirs:
        pid = os.fork()
        if pid == 0:
            try:
                _isolate()
                kinds = _KINDS if os.geteuid() == 0 else ("user", *_KINDS)
                opened = [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY) for kind in kinds]
                socket.send_fds(theirs, [b"n"], opened)
            finally:
                os._exit(0)
        theirs.close()
        mine.settimeout(_DEADLINE)
        try:
            found = list(socket.recv_fds(mine, 1, len(_KINDS) + 1, socket.MSG_CMSG_CLOEXEC)[1])
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            found = []
    os.waitpid(pid, 0)
    return found


def enter_namespaces(namespaces: Sequence[int]) -> None:
    """Move this process, which must have one thread, into them, for good. Raises OSError."""
    for namespace in namespaces:
        check(libc.setns(namespace, 0), "setns")


def _isolate() -> None:
    """Move this process into namespaces of its own. Raises OSError where that is not allowed."""
    flags = _CLONE_NEWNET | _CLONE_NEWIPC | _CLONE_NEWUTS
    if os.geteuid() == 0:
        check(libc.unshare(flags), "unshare")
        return
    uid, gid = os.geteuid(), os.getegid()
    set_dumpable(True)  # or the files below belong to root; it holds nothing yet
    check(libc.unshare(_CLONE_NEWUSER | flags), "unshare")
    # Without a mapping of its own ids a process there could not create a file, and would take every other
    # user for the same one.
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "wb") as file:
            file.write(text.encode())
