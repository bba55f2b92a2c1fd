"""Starts actors as processes, by a fork server, and starts another fork server when that one is lost.

A **spare** is a child that is forked before anyone needs it: imported, in its sandbox, waiting for its
Start. A new session, or one that was killed, takes it at once and does not wait for a fork; the next one is
then made in the background. A child is not told which actor it is until its Start, so any session can take
it.

Owns the spares and the intensity of the fork server's restarts. Never talks to the fork server itself
(fork_client.py).
"""

import random
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import trio

from .child_process import ChildProcess
from .child_specs import ChildSpec
from .fork_client import ForkClient
from .restart_policy import Cause, ExitHistory, GiveUp, cause_of
from .spawner import ForkServerLostError, Spare, SpawnerBrokenError, SpawnError

_FORK_TIMEOUT_S = 30.0
"""Covers the fork server's own start, imports included, on a slow and busy machine."""
_INTENSITY = (20, 60.0)
_BACKOFF_S = (0.010, 2.0)


class ProcessSpawner:
    """Starts children as processes; see spawner.Spawner.

    Open it on a thread that lives as long as the node: the children end with that thread (fork_client.py).
    `preload` is imported by the fork server in addition to what the tree asks for; `environment` is added to
    its own.
    """

    def __init__(self, *, preload: Sequence[str] = (), environment: dict[str, str] | None = None) -> None:
        self._preload = tuple(preload)
        self._environment = environment or {}
        self._history = ExitHistory(_INTENSITY, _BACKOFF_S, random.random)
        self._fork_server: ForkClient | None = None
        self._starting = trio.Lock()
        self._spares: dict[str, ChildProcess] = {}
        self._making_spare: set[str] = set()
        self._restart_delay = 0.0

    @property
    def pid(self) -> int:
        """The fork server's process id; 0 while there is none."""
        return self._fork_server.pid if self._fork_server is not None else 0

    @property
    def uptime(self) -> float:
        """Seconds since the fork server was started; 0 while there is none."""
        return trio.current_time() - self._fork_server.started if self._fork_server is not None else 0.0

    @property
    def spares(self) -> Mapping[str, Spare]:
        """The children that have been forked ahead of need, by kind."""
        return {
            kind: Spare(child.pid, trio.current_time() - child.started)
            for kind, child in self._spares.items()
            if not child.has_ended
        }

    @asynccontextmanager
    async def opened(
        self, *, preload: Sequence[str], on_lost: Callable[[Cause], None]
    ) -> AsyncIterator[None]:
        """Return a context in which children can be started. See spawner.Spawner.

        At its exit the fork server ends, and with it every child.
        """
        self._preload = tuple(dict.fromkeys((*self._preload, *preload)))
        self._on_lost = on_lost
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()
                fork_server, self._fork_server = self._fork_server, None
                if fork_server is not None:
                    await fork_server.aclose()
                with trio.CancelScope(shield=True):
                    for spare in self._spares.values():
                        await spare.aclose()

    async def spawn(self, spec: ChildSpec) -> ChildProcess:
        """Return a child: the spare, or a new one. Raises ForkServerLostError, SpawnError."""
        child = self._spares.pop(spec.kind, None)
        if child is not None and child.has_ended:
            await child.aclose()
            child = None
        if child is None:
            child = await self._fork(spec)
        if spec.spare and spec.kind not in self._making_spare and spec.kind not in self._spares:
            self._making_spare.add(spec.kind)
            self._nursery.start_soon(self._make_spare, spec)
        return child

    async def _make_spare(self, spec: ChildSpec) -> None:
        """Fork the next child of this kind ahead of need; if that fails, it is forked when it is needed."""
        try:
            with suppress(ForkServerLostError, SpawnError):
                self._spares[spec.kind] = await self._fork(spec)
        finally:
            self._making_spare.discard(spec.kind)

    async def _fork(self, spec: ChildSpec) -> ChildProcess:
        fork_server = await self._running_fork_server()
        try:
            supervisor_end, child_end = socket.socketpair()
        except OSError as error:
            raise SpawnError(error.strerror) from None
        supervisor_end.setblocking(False)
        child_end.setblocking(False)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(supervisor_end))
        try:
            with child_end, trio.fail_after(_FORK_TIMEOUT_S):
                forked = await fork_server.fork(spec, child_end)
        except BaseException as error:
            supervisor_end.close()
            if isinstance(error, trio.TooSlowError | OSError):
                fork_server.process.kill()
                raise ForkServerLostError from None
            raise
        child = ChildProcess(*forked, stream)
        if fork_server.adopt(child):
            if fork_server is self._fork_server:
                self._nursery.start_soon(child.watch)
            else:
                child.set_status(None)  # lost between its reply and this moment
        return child

    async def _running_fork_server(self) -> ForkClient:
        async with self._starting:
            if self._fork_server is None:
                await trio.sleep(self._restart_delay)
                self._fork_server = ForkClient(self._preload, self._environment)
                self._nursery.start_soon(self._serve, self._fork_server)
            return self._fork_server

    async def _serve(self, fork_server: ForkClient) -> None:
        """Serve a fork server until it ends; then report all its children as lost.

        The children have died with it (PDEATHSIG). The order matters: `on_lost` comes before any child's end,
        so that the tree marks all of them as not ready before it sees the first of them end. The next fork
        server is started by the next `spawn`.
        """
        await fork_server.serve()
        self._fork_server = None
        now = trio.current_time()
        cause = cause_of(fork_server.process.returncode or 0)
        verdict = self._history.record_exit(cause, now, lived=now - fork_server.started)
        if isinstance(verdict, GiveUp):
            raise SpawnerBrokenError(f"the fork server keeps ending: {verdict.why}")
        self._restart_delay = verdict.delay
        self._on_lost(cause)
        fork_server.fail_all()
