"""The supervisor's connection with one fork server: starts its process, sends requests, dispatches replies.

Owns that process, its control socket, and what is on the way: requests without a reply, children whose exit
has not been reported. Lives as long as that one fork server; process_spawner.py starts the next one.
"""

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import trio

from ..messages.base import MalformedMessageError, encode
from .child_process import ChildProcess
from .child_specs import ChildSpec
from .fork_protocol import MAX_PACKET_BYTES, Exited, Fork, Forked, ForkFailed, Serving, decode_reply
from .memory_usage import forget_memory_file, memory_files
from .spawner import ForkServerLostError, SpawnError

_END_GRACE_S = 0.5
_MODULE = "spacedrive_node.supervisor.fork_server"


@dataclass(slots=True)
class _PendingFork:
    """A request without a reply. With neither `child` nor `errno` when `answered`: the fork server ended."""

    answered: trio.Event = field(default_factory=trio.Event)
    child: tuple[int, int, int | None] | None = None
    """pid, pidfd, descriptor of smaps_rollup"""
    errno: int = 0
    abandoned: bool = False


class ForkClient:
    """One fork server. Start it on a thread that lives as long as the node does.

    `preload` are the modules that it imports before the first fork; `environment` is added to its own.
    """

    def __init__(self, preload: Sequence[str], environment: dict[str, str]) -> None:
        control, server_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        control.setblocking(False)
        arguments = [str(server_end.fileno()), str(os.getpid()), ",".join(preload)]
        with server_end:
            # Popen here, on the supervisor's own thread, and not trio's open_process: that starts processes
            # from a worker thread. The fork server asks the kernel for SIGKILL when its parent dies
            # (PR_SET_PDEATHSIG), and to the kernel the parent is the thread that forked it, not the process.
            # A worker thread ends when it has been idle for some seconds, and would take the fork server and
            # all actors with it.
            process = subprocess.Popen(  # noqa: S603, the arguments are all our own
                [sys.executable, "-m", _MODULE, *arguments],
                pass_fds=[server_end.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, **environment},
            )
        self.process = process
        self.started = trio.current_time()
        self.pending: dict[int, _PendingFork] = {}
        self.children: dict[int, ChildProcess] = {}
        self.early_exits: dict[int, int] = {}
        """Exit statuses by pid that were reported before the child was adopted."""
        self.abandoned: set[int] = set()
        """Children that nobody waits for any more; they are ending, because their channel is closed."""
        self._control = control
        self._last_number = 0

    @property
    def pid(self) -> int:
        """The fork server's process id."""
        return self.process.pid

    async def fork(self, spec: ChildSpec, channel: socket.socket) -> tuple[int, int, int | None]:
        """Have a child forked that has `channel`; return pid, pidfd and its smaps_rollup if there is one.

        Raises SpawnError (the system made no process), ForkServerLostError, OSError (the request was not
        sent).
        """
        self._last_number += 1
        request = Fork(self._last_number, spec.entry, spec.sandbox)
        pending = self.pending[request.number] = _PendingFork()
        try:
            await self._send(encode(request), [channel.fileno(), *spec.fds])
        except BaseException:
            del self.pending[request.number]  # it was not sent, so no reply will come
            raise
        try:
            await pending.answered.wait()
        except trio.Cancelled:
            pending.abandoned = True  # the child is forked all the same, and ends with its channel
            raise
        if pending.errno:
            raise SpawnError(os.strerror(pending.errno))
        if pending.child is None:
            raise ForkServerLostError
        return pending.child

    def adopt(self, child: ChildProcess) -> bool:
        """Report the exit of this child to it from now on; return False if it has been reported already."""
        if child.pid in self.early_exits:
            child.set_status(self.early_exits.pop(child.pid))
            return False
        self.children[child.pid] = child
        return True

    async def serve(self) -> None:
        """Dispatch the replies of the fork server until it ends."""
        try:
            while True:
                await trio.lowlevel.wait_readable(self._control.fileno())
                try:
                    data, fds, _, _ = socket.recv_fds(
                        self._control, MAX_PACKET_BYTES, 2, socket.MSG_CMSG_CLOEXEC
                    )
                except BlockingIOError:
                    continue
                except ConnectionError:
                    break
                if not data:
                    break
                self._handle_reply(data, fds)
        except MalformedMessageError:
            self.process.kill()
        await self.aclose()

    def _handle_reply(self, data: bytes, fds: list[int]) -> None:
        reply = decode_reply(data)
        match reply:
            case Forked():
                pending = self.pending.pop(reply.number)
                if pending.abandoned:
                    for fd in fds:
                        os.close(fd)
                    self.abandoned.add(reply.pid)
                else:
                    pending.child = reply.pid, fds[0], fds[1] if len(fds) > 1 else None
                    pending.answered.set()
            case Serving():
                if fds:
                    memory_files[self.pid] = fds[0]
            case ForkFailed():
                pending = self.pending.pop(reply.number)
                pending.errno = reply.errno
                pending.answered.set()
            case Exited():
                child = self.children.pop(reply.pid, None)
                if child is not None:
                    child.set_status(reply.status)
                elif reply.pid in self.abandoned:
                    self.abandoned.remove(reply.pid)
                else:
                    self.early_exits[reply.pid] = reply.status

    def fail_all(self) -> None:
        """Report to every requester and every child that the fork server has ended."""
        for pending in self.pending.values():
            pending.answered.set()
        for child in self.children.values():
            child.set_status(None)

    async def aclose(self) -> None:
        """End the fork server by closing its control socket, and all its children with it."""
        self._control.close()
        forget_memory_file(self.pid)
        if self.process.poll() is None:
            pidfd = os.pidfd_open(self.pid)
            try:
                with trio.CancelScope(shield=True):
                    with trio.move_on_after(_END_GRACE_S):
                        await trio.lowlevel.wait_readable(pidfd)
                    self.process.kill()
                    with trio.move_on_after(_END_GRACE_S):
                        await trio.lowlevel.wait_readable(pidfd)
            finally:
                os.close(pidfd)
            self.process.poll()

    async def _send(self, data: bytes, fds: Sequence[int]) -> None:
        while True:
            try:
                socket.send_fds(self._control, [data], list(fds))
                return
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._control.fileno())
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                await trio.sleep(0.001)
