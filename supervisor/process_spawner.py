"""Actors as processes: the supervisor's side of the fork server.

Owns the fork server's process and control socket, the descriptors of its children, and their exit statuses.
Starts another fork server when one is lost, within an intensity of its own.
"""

import errno
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import trio

from ..messages.base import MalformedMessageError, encode
from ..messages.child_protocol import FromChild, decode_from_child
from .channel import Channel
from .child_specs import ChildSpec
from .fork_protocol import LARGEST, Exited, Fork, Forked, ForkFailed, Serving, decode_reply
from .memory_usage import accounts, forget_account
from .restart_policy import Cause, GiveUp, History, cause_of
from .spawner import ForkServerLostError, Spare, SpawnerBrokenError, SpawnError

_FORK_DEADLINE = 30.0
"""Covers the fork server's own start, imports included, on a slow and busy machine."""
_END_GRACE = 0.5
_STATUS_GRACE = 0.5
"""Below the second that a link waits for the exit status after the end of the channel."""
_INTENSITY = (20, 60.0)
_BACKOFF = (0.010, 2.0)
_MODULE = "spacedrive_node.supervisor.fork_server"


class ProcessHandle:
    """One forked child."""

    def __init__(self, pid: int, pidfd: int, account: int | None, stream: trio.SocketStream) -> None:
        self._pid = pid
        self._pidfd = pidfd
        self.since = trio.current_time()
        if account is not None:
            accounts[pid] = account
        self._stream = stream
        self._channel: Channel[FromChild] = Channel(stream, decode_from_child)
        self._status: int | None = None
        self._over = trio.Event()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._pid

    @property
    def channel(self) -> Channel[FromChild]:
        """The supervisor's end of its channel."""
        return self._channel

    def kill(self) -> None:
        """SIGKILL it, by its pidfd: never another process that has got its number."""
        if self._pidfd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def wait(self) -> int | None:
        """Wait until it is over; return its exit status, None: the fork server went first."""
        await self._over.wait()
        return self._status

    async def aclose(self) -> None:
        """Release its descriptors."""
        if self._pidfd >= 0:
            trio.lowlevel.notify_closing(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
            forget_account(self._pid)
        await self._stream.aclose()

    async def watch(self) -> None:
        """See the process end, by its pidfd; the fork server, which knows how, has a moment to say so."""
        with suppress(trio.ClosedResourceError):
            await trio.lowlevel.wait_readable(self._pidfd)
            with trio.move_on_after(_STATUS_GRACE):
                await self._over.wait()
            self.ended(-signal.SIGKILL)  # nobody can tell; nothing is blamed on it

    @property
    def is_over(self) -> bool:
        """Whether it is known to have ended."""
        return self._over.is_set()

    def ended(self, status: int | None) -> None:
        """Note the exit status that the fork server reported; None: the fork server is gone."""
        if not self._over.is_set():
            self._status = status
            self._over.set()


@dataclass(slots=True)
class _Request:
    """One fork asked for. Neither `child` nor `failed` (errno) once answered: no answer came."""

    event: trio.Event = field(default_factory=trio.Event)
    child: tuple[int, int, int | None] | None = None
    """pid, pidfd, account of memory"""
    failed: int = 0
    abandoned: bool = False


class _Zygote:
    """One fork server: its process, its socket, and the requests and children that depend on it."""

    def __init__(self, process: "subprocess.Popen[bytes]", control: socket.socket) -> None:
        self.process = process
        self.control = control
        self.started = trio.current_time()
        self.requests: dict[int, _Request] = {}
        self.children: dict[int, ProcessHandle] = {}
        self.early: dict[int, int] = {}
        """Exits of children that nobody has taken yet."""
        self.abandoned: set[int] = set()
        """Children that were asked for by somebody who has stopped waiting; they are ending."""


class ProcessHost:
    """Runs children as processes. Open it on a thread that lives as long as the node: they end with it.

    `preload` is imported by the fork server beside what the tree asks for; `environment` is added to its own.
    """

    def __init__(self, *, preload: Sequence[str] = (), environment: dict[str, str] | None = None) -> None:
        self._preload = tuple(preload)
        self._environment = environment or {}
        self._history = History(_INTENSITY, _BACKOFF, random.random)
        self._zygote: _Zygote | None = None
        self._starting = trio.Lock()
        self._spares: dict[str, ProcessHandle] = {}
        self._making: set[str] = set()
        self._number = 0
        self._delay = 0.0

    @property
    def pid(self) -> int:
        """The fork server's process id; 0 while there is none."""
        return self._zygote.process.pid if self._zygote is not None else 0

    @property
    def uptime(self) -> float:
        """Seconds since the fork server was started; 0 while there is none."""
        return trio.current_time() - self._zygote.started if self._zygote is not None else 0.0

    @property
    def spares(self) -> Mapping[str, Spare]:
        """The children that wait to be needed, by kind."""
        return {
            kind: Spare(handle.pid, trio.current_time() - handle.since)
            for kind, handle in self._spares.items()
            if not handle.is_over
        }

    @asynccontextmanager
    async def opened(
        self, *, preload: Sequence[str], on_lost: Callable[[Cause], None]
    ) -> AsyncIterator[None]:
        """Open it; at exit the fork server ends, and with it every child."""
        self._preload = tuple(dict.fromkeys((*self._preload, *preload)))
        self._on_lost = on_lost
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()
                zygote, self._zygote = self._zygote, None
                if zygote is not None:
                    await _end_zygote(zygote)
                with trio.CancelScope(shield=True):
                    for spare in self._spares.values():
                        await spare.aclose()

    async def spawn(self, spec: ChildSpec) -> ProcessHandle:
        """Return a child: the one that waits, or a new one. Raises ForkServerLostError, SpawnError."""
        handle = self._spares.pop(spec.kind, None)
        if handle is not None and handle.is_over:
            await handle.aclose()
            handle = None
        if handle is None:
            handle = await self._make(spec)
        if spec.spare and spec.kind not in self._making and spec.kind not in self._spares:
            self._making.add(spec.kind)
            self._nursery.start_soon(self._make_spare, spec)
        return handle

    async def _make_spare(self, spec: ChildSpec) -> None:
        """Fork the next child of this kind before it is needed; if that fails, it is forked when it is."""
        try:
            with suppress(ForkServerLostError, SpawnError):
                self._spares[spec.kind] = await self._make(spec)
        finally:
            self._making.discard(spec.kind)

    async def _make(self, spec: ChildSpec) -> ProcessHandle:
        zygote = await self._running()
        try:
            mine, theirs = socket.socketpair()
        except OSError as error:
            raise SpawnError(error.strerror) from None
        mine.setblocking(False)
        theirs.setblocking(False)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(mine))
        try:
            with theirs, trio.fail_after(_FORK_DEADLINE):
                child = await self._fork(zygote, spec, theirs)
        except BaseException as error:
            mine.close()
            if isinstance(error, trio.TooSlowError | OSError):
                zygote.process.kill()
                raise ForkServerLostError from None
            raise
        handle = ProcessHandle(*child, stream)
        self._adopt(zygote, handle)
        return handle

    async def _fork(
        self, zygote: _Zygote, spec: ChildSpec, channel: socket.socket
    ) -> tuple[int, int, int | None]:
        self._number += 1
        request = Fork(self._number, spec.entry, spec.sandbox)
        answered = zygote.requests[request.number] = _Request()
        try:
            await _send(zygote.control, encode(request), [channel.fileno(), *spec.fds])
        except BaseException:
            del zygote.requests[request.number]  # it has not left, so no answer will come
            raise
        try:
            await answered.event.wait()
        except trio.Cancelled:
            answered.abandoned = True  # the child is made all the same, and ends with its channel
            raise
        if answered.failed:
            raise SpawnError(os.strerror(answered.failed))
        if answered.child is None:
            raise ForkServerLostError
        return answered.child

    def _adopt(self, zygote: _Zygote, handle: ProcessHandle) -> None:
        if handle.pid in zygote.early:
            handle.ended(zygote.early.pop(handle.pid))
        elif zygote is not self._zygote:
            handle.ended(None)
        else:
            zygote.children[handle.pid] = handle
            self._nursery.start_soon(handle.watch)

    async def _running(self) -> _Zygote:
        async with self._starting:
            if self._zygote is None:
                await trio.sleep(self._delay)
                self._zygote = _start_zygote(self._preload, self._environment)
                self._nursery.start_soon(self._serve, self._zygote)
            return self._zygote

    async def _serve(self, zygote: _Zygote) -> None:
        """Take the fork server's replies until it is gone; then all its children are."""
        try:
            while True:
                await trio.lowlevel.wait_readable(zygote.control.fileno())
                try:
                    data, fds, _, _ = socket.recv_fds(zygote.control, LARGEST, 2, socket.MSG_CMSG_CLOEXEC)
                except BlockingIOError:
                    continue
                except ConnectionError:
                    break
                if not data:
                    break
                self._take(zygote, data, fds)
        except MalformedMessageError:
            zygote.process.kill()
        await _end_zygote(zygote)
        self._lost(zygote)

    def _take(self, zygote: _Zygote, data: bytes, fds: list[int]) -> None:
        reply = decode_reply(data)
        match reply:
            case Forked():
                request = zygote.requests.pop(reply.number)
                if request.abandoned:
                    for fd in fds:
                        os.close(fd)
                    zygote.abandoned.add(reply.pid)
                else:
                    request.child = reply.pid, fds[0], fds[1] if len(fds) > 1 else None
                    request.event.set()
            case Serving():
                if fds:
                    accounts[zygote.process.pid] = fds[0]
            case ForkFailed():
                request = zygote.requests.pop(reply.number)
                request.failed = reply.errno
                request.event.set()
            case Exited():
                handle = zygote.children.pop(reply.pid, None)
                if handle is not None:
                    handle.ended(reply.status)
                elif reply.pid in zygote.abandoned:
                    zygote.abandoned.remove(reply.pid)
                else:
                    zygote.early[reply.pid] = reply.status

    def _lost(self, zygote: _Zygote) -> None:
        self._zygote = None
        now = trio.current_time()
        cause = cause_of(zygote.process.returncode or 0)
        verdict = self._history.exited(cause, now, lived=now - zygote.started)
        if isinstance(verdict, GiveUp):
            raise SpawnerBrokenError(f"the fork server keeps ending: {verdict.why}")
        self._delay = verdict.delay
        self._on_lost(cause)
        for request in zygote.requests.values():
            request.event.set()
        for handle in zygote.children.values():
            handle.ended(None)


def _start_zygote(preload: Sequence[str], environment: dict[str, str]) -> _Zygote:
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    mine.setblocking(False)
    arguments = [sys.executable, "-m", _MODULE, str(theirs.fileno()), str(os.getpid()), ",".join(preload)]
    with theirs:
        # Popen here and now, not trio's own, which starts processes from a thread that soon ends.
        process = subprocess.Popen(  # noqa: S603, the arguments are all our own
            arguments,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, **environment},
        )
    return _Zygote(process, mine)


async def _end_zygote(zygote: _Zygote) -> None:
    """See the fork server off: it ends with its control socket, its children with it."""
    zygote.control.close()
    forget_account(zygote.process.pid)
    if zygote.process.poll() is None:
        pidfd = os.pidfd_open(zygote.process.pid)
        try:
            with trio.CancelScope(shield=True):
                with trio.move_on_after(_END_GRACE):
                    await trio.lowlevel.wait_readable(pidfd)
                zygote.process.kill()
                with trio.move_on_after(_END_GRACE):
                    await trio.lowlevel.wait_readable(pidfd)
        finally:
            os.close(pidfd)
        zygote.process.poll()


async def _send(control: socket.socket, data: bytes, fds: Sequence[int]) -> None:
    while True:
        try:
            socket.send_fds(control, [data], list(fds))
            return
        except BlockingIOError:
            await trio.lowlevel.wait_writable(control.fileno())
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            await trio.sleep(0.001)
