"""The supervisor's connection with one fork server: starts its process, sends requests, dispatches replies.

Owns that process, its control socket, and what is on the way: requests without a reply, children whose exit
has not been reported. One task at a time writes to the socket, and fork_queue.py bounds how many requests are
on the way. Lives as long as that one fork server; process_spawner.py starts the next one.
"""

import errno
import os
import select
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import trio

from ..messages.base import MalformedMessageError, encode
from ..messages.child_protocol import Ping
from .child_channel import MAX_MISSED_HEARTBEATS
from .child_process import ChildProcess
from .child_specs import ChildSpec
from .fork_protocol import MAX_PACKET_BYTES, Exited, Fork, Forked, ForkFailed, Serving, decode_reply
from .fork_queue import ForkQueue
from .memory_usage import forget_memory_file, memory_files
from .process_usage import forget_stat_file, stat_files
from .spawner import ForkServerLostError, SpawnError

ForkedChild = tuple[int, int, int | None]
"""pid, pidfd, and a descriptor of its smaps_rollup if there is one."""

_START_TIMEOUT_S = 30.0
"""For the fork server's own start, imports included, on a slow and busy machine."""
_END_GRACE_S = 0.5
_MODULE = "spacedrive_node.supervisor.fork_server"


@dataclass(slots=True)
class _PendingFork:
    """A request without a reply. With neither `child` nor `errno` when `answered`: the fork server ended."""

    answered: trio.Event = field(default_factory=trio.Event)
    child: ForkedChild | None = None
    errno: int = 0
    abandoned: bool = False


class ForkClient:
    """One fork server. Start it on a thread that lives as long as the node does.

    `preload` are the modules that it imports before the first fork; `environment` is added to its own. Raises
    OSError if the system makes no process.
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
            try:
                process = subprocess.Popen(  # noqa: S603, the arguments are all our own
                    [sys.executable, "-P", "-m", _MODULE, *arguments],
                    pass_fds=[server_end.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    env={**os.environ, **environment},
                )
            except OSError:
                control.close()
                raise
        self.process = process
        self.started = trio.current_time()
        self.pending: dict[int, _PendingFork] = {}
        self.children: dict[int, ChildProcess] = {}
        self.early_exits: dict[int, int] = {}
        """Exit statuses by pid that were reported before the child was adopted."""
        self.abandoned: set[int] = set()
        """Children that nobody waits for any more; they are ending, because their channel is closed."""
        self._control = control
        self._sending = trio.Lock()
        self._queue = ForkQueue()
        self._last_number = 0
        self._serves = False
        self._turns_of_start = 0
        self._missed_heartbeats = 0
        self.hung = False
        """It did not answer, and was killed for it."""

    @property
    def pid(self) -> int:
        """The fork server's process id."""
        return self.process.pid

    async def fork(self, spec: ChildSpec, urgency: int, title: str) -> tuple[ForkedChild, socket.socket]:
        """Have a child forked when it is its turn; return it with this side's end of its channel.

        Until its Start it is shown as `title`.
        Raises SpawnError (the system made no process, or no socket), ForkServerLostError, OSError (the
        request was not sent).
        """
        await self._queue.wait_for_turn(urgency)
        try:
            supervisor_end, child_end = socket.socketpair()
        except OSError as error:
            self._queue.end_turn()
            raise SpawnError(error.strerror) from None
        supervisor_end.setblocking(False)
        child_end.setblocking(False)
        try:
            with child_end:
                pending = await self._request(spec, title, child_end)
            return await self._reply(pending), supervisor_end
        except BaseException:
            supervisor_end.close()
            raise

    async def _request(self, spec: ChildSpec, title: str, channel: socket.socket) -> _PendingFork:
        """Send a request, whose turn ends with its reply; or at once, if it was not sent."""
        self._last_number += 1
        request = Fork(self._last_number, spec.kind, title, spec.entry, spec.sandbox)
        pending = self.pending[request.number] = _PendingFork()
        try:
            await self._send(encode(request), [channel.fileno(), *spec.fds])
        except BaseException:
            del self.pending[request.number]  # it was not sent, so no reply will come
            self._queue.end_turn()
            raise
        return pending

    async def _reply(self, pending: _PendingFork) -> ForkedChild:
        try:
            await pending.answered.wait()
        except trio.Cancelled:
            pending.abandoned = True  # the child is forked all the same, and ends with its channel
            if pending.child is not None:
                self._abandon(pending.child)
            raise
        if pending.errno:
            raise SpawnError(os.strerror(pending.errno))
        if pending.child is None:
            raise ForkServerLostError
        return pending.child

    def _abandon(self, child: ForkedChild) -> None:
        pid, pidfd, memory_file = child
        os.close(pidfd)
        if memory_file is not None:
            os.close(memory_file)
        self._expect_end(pid)

    def _expect_end(self, pid: int) -> None:
        """Wait for the end of a child that nobody has: its channel is closed, or about to be."""
        if self.early_exits.pop(pid, None) is None:
            self.abandoned.add(pid)

    def check_heartbeat(self, interval: float) -> None:
        """Send a Ping if the last one was answered; kill the fork server if it has missed too many.

        Called once in each turn of the supervisor's own loop, `interval` seconds after the last. What counts
        is turns, so that a suspended machine or a stopped supervisor kills nobody. Before it serves, it has
        the time of its start.
        """
        if not self._serves:
            self._turns_of_start += 1
            late = (self._turns_of_start - 1) * interval > _START_TIMEOUT_S
        else:
            late = self._missed_heartbeats >= MAX_MISSED_HEARTBEATS
            if self._missed_heartbeats == 0:
                with suppress(OSError):  # its socket is full, or it is ending
                    self._control.send(encode(Ping()))
            self._missed_heartbeats += 1
        if late:
            self.hung = True
            self.process.kill()

    def adopt(self, child: ChildProcess) -> bool:
        """Report the exit of this child to it from now on; return False if it has been reported already."""
        if child.pid in self.early_exits:
            child.set_status(self.early_exits.pop(child.pid))
            return False
        self.children[child.pid] = child
        return True

    def has_unread_reply(self) -> bool:
        """Return whether it has said something that is not handled yet, or has ended without `fail_all`."""
        if self._control.fileno() < 0 or self.process.poll() is not None:
            return True
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        return bool(poll.poll(0))

    async def serve(self) -> None:
        """Dispatch the replies of the fork server until it ends."""
        try:
            while True:
                await trio.lowlevel.wait_readable(self._control)
                try:
                    data, fds, _, _ = socket.recv_fds(
                        self._control, MAX_PACKET_BYTES, 2, socket.MSG_CMSG_CLOEXEC
                    )
                except BlockingIOError:
                    continue
                except OSError:  # it has ended, or aclose was called
                    break
                if not data:
                    break
                self._handle_reply(data, fds)
        except MalformedMessageError:
            self.process.kill()
        except trio.ClosedResourceError:
            pass
        await self.aclose()

    def _handle_reply(self, data: bytes, fds: list[int]) -> None:
        reply = decode_reply(data)
        self._missed_heartbeats = 0  # whatever it says, it goes on; a Pong says nothing else
        match reply:
            case Forked():
                pending = self._take_pending(reply.number)
                if not fds:  # this process may open no more, and the kernel has closed them (unix(7))
                    self._expect_end(reply.pid)
                    pending.errno = errno.EMFILE
                    pending.answered.set()
                    return
                forked = reply.pid, fds[0], fds[1] if len(fds) > 1 else None
                if pending.abandoned:
                    self._abandon(forked)
                else:
                    pending.child = forked
                    pending.answered.set()
            case Serving():
                self._serves = True
                if fds:
                    stat_files[self.pid] = fds[0]
                if fds[1:]:
                    memory_files[self.pid] = fds[1]
            case ForkFailed():
                pending = self._take_pending(reply.number)
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

    def _take_pending(self, number: int) -> _PendingFork:
        self._queue.end_turn()
        return self.pending.pop(number)

    def fail_all(self) -> None:
        """Report to every requester and every child that the fork server has ended."""
        self._queue.close()
        for pending in self.pending.values():
            pending.answered.set()
        for child in self.children.values():
            child.set_status(None)

    async def aclose(self) -> None:
        """End the fork server by closing its control socket, and all its children with it."""
        trio.lowlevel.notify_closing(self._control)
        self._control.close()
        forget_memory_file(self.pid)
        forget_stat_file(self.pid)
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
        """Send one packet, after those of other tasks. Raises ForkServerLostError, OSError."""
        async with self._sending:
            while True:
                try:
                    socket.send_fds(self._control, [data], list(fds))
                    return
                except BlockingIOError:
                    await self._wait_until_writable()
                except OSError as error:
                    if self._control.fileno() < 0:
                        raise ForkServerLostError from None
                    if error.errno != errno.ENOBUFS:
                        raise
                    await trio.sleep(0.001)

    async def _wait_until_writable(self) -> None:
        try:
            await trio.lowlevel.wait_writable(self._control)
        except trio.ClosedResourceError:
            raise ForkServerLostError from None
