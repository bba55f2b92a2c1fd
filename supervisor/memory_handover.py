"""How the fork server gets the smaps_rollup of each child, without waiting for any of them.

Of a process that cannot be dumped nobody but root may open that file, or the process itself (proc(5)). So
each child opens its own, as its very first act, and sends the descriptor; the reply to the request takes it
along. Meanwhile the fork server forks the next one.

Owns the children whose file has not come. Never forks: fork_server.py does.
"""

import os
import socket
import time
from collections.abc import Callable, Collection
from contextlib import suppress

_TIMEOUT_S = 1.0
"""For the very first thing that a child does."""


def send_fds(sock: socket.socket, data: bytes, fds: list[int]) -> None:
    """Send descriptors and close them here."""
    socket.send_fds(sock, [data], fds)
    for fd in fds:
        os.close(fd)


def open_memory_file() -> list[int]:
    """Open smaps_rollup of this process; nothing before Linux 4.14."""
    try:
        return [os.open("/proc/self/smaps_rollup", os.O_RDONLY | os.O_CLOEXEC)]
    except OSError:
        return []


def hand_over_memory_file(sender: socket.socket) -> None:
    """Send this process's file to the fork server, which may have stopped waiting for it."""
    with sender, suppress(OSError):
        send_fds(sender, b"m", open_memory_file())


class MemoryHandover:
    """The children whose file has not come; `reply` is called once for each, with the file if it came."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[socket.socket, float, Callable[[list[int]], None]]] = {}
        """By descriptor of the socket: when the wait is over, and whom to tell."""

    @property
    def descriptors(self) -> Collection[int]:
        """What to wait for until it is readable."""
        return self._waiting.keys()

    def timeout(self) -> float | None:
        """Return in how many seconds a wait is over; None: there is none."""
        if not self._waiting:
            return None
        return max(min(until for _, until, _ in self._waiting.values()) - time.monotonic(), 0.0)

    def expect(self, receiver: socket.socket, reply: Callable[[list[int]], None]) -> None:
        """Wait for the file of a child that has been forked; takes over `receiver`."""
        receiver.setblocking(False)
        self._waiting[receiver.fileno()] = receiver, time.monotonic() + _TIMEOUT_S, reply

    def receive(self) -> None:
        """Reply for all children whose file has come, that have ended, or that take too long."""
        now = time.monotonic()
        for fd, (receiver, until, reply) in list(self._waiting.items()):
            try:
                files = list(socket.recv_fds(receiver, 1, 1, socket.MSG_CMSG_CLOEXEC)[1])
            except BlockingIOError:
                if now < until:
                    continue
                files = []
            except OSError:
                files = []
            del self._waiting[fd]
            receiver.close()
            reply(files)
