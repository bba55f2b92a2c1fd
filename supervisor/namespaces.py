"""Empty network, IPC and UTS namespaces, created once and joined by every actor without network access.

A network without interfaces, no memory shared with other programs, no name of the host (namespaces(7)). The
fork server creates the set, and each child enters it. A set for each child would cost the child a
millisecond at its start and the kernel as much at its end. Actors share the set, but the other steps of the
sandbox keep them from reaching each other in it.
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
_FLAGS = (_CLONE_NEWUSER, _CLONE_NEWNET, _CLONE_NEWIPC, _CLONE_NEWUTS)
"""Of the set in its order; a set that root has made begins with the second."""
_TIMEOUT_S = 10.0
"""For the child that makes them, on a slow and busy machine."""


def make_namespaces() -> list[int]:
    """Make a set; return its descriptors, an empty list where that is not allowed.

    A child makes it, hands over the descriptors and exits, because this process must stay where it is.
    """
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
        mine.settimeout(_TIMEOUT_S)
        try:
            found = list(socket.recv_fds(mine, 1, len(_KINDS) + 1, socket.MSG_CMSG_CLOEXEC)[1])
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            found = []
    os.waitpid(pid, 0)
    return found


def enter_namespaces(namespaces: Sequence[int]) -> None:
    """Move this process, which must have a single thread, into them for good. Raises OSError.

    Each by its kind: systemd's RestrictNamespaces refuses a call that leaves the kind open.
    """
    for namespace, flag in zip(namespaces, _FLAGS[len(_FLAGS) - len(namespaces) :], strict=True):
        check(libc.setns(namespace, flag), "setns")


def _isolate() -> None:
    """Move this process into new namespaces. Raises OSError where that is not allowed."""
    flags = _CLONE_NEWNET | _CLONE_NEWIPC | _CLONE_NEWUTS
    if os.geteuid() == 0:
        check(libc.unshare(flags), "unshare")
        return
    uid, gid = os.geteuid(), os.getegid()
    set_dumpable(True)  # or the files below belong to root; this process holds no secret
    check(libc.unshare(_CLONE_NEWUSER | flags), "unshare")
    # Without a mapping of its ids a process in there could not create files, and every other user would look
    # like the same one to it.
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "wb") as file:
            file.write(text.encode())
