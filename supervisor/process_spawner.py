"""Starts actors as processes, by a fork server, and starts another fork server when that one is lost.

A **spare** is a child that is forked before anyone needs it: imported, in its sandbox, waiting for its
Start. A new session, or one that was killed, takes it at once and does not wait for a fork; the next one is
then made in the background. A child is not told which actor it is until its Start, so any session can take
it.

Heartbeats go to the fork server and to the spares as well, from a loop of this process and counted in its
turns: one that stands still is killed, and another takes its place.

Owns the spares and the intensity of the fork server's restarts. Never talks to the fork server itself
(fork_client.py).
"""

import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import trio

from .child_process import ChildProcess
from .child_specs import ChildSpec
from .fork_client import ForkClient
from .fork_queue import urgency
from .orphans import reap_orphans
from .restart_policy import Cause, ExitHistory, GiveUp, cause_of
from .spawner import (
    HEARTBEAT_INTERVAL_S,
    SPARE_NAME,
    ForkServerLostError,
    Spare,
    SpawnerBrokenError,
    SpawnError,
)
from .waiting_spare import WaitingSpare

_INTENSITY = (20, 60.0)
_BACKOFF_S = (0.010, 2.0)


class ProcessSpawner:
    """Starts children as processes; see spawner.Spawner.

    Open it on a thread that lives as long as the node: the children end with that thread (fork_client.py).
    `preload` is imported by the fork server in addition to what the tree asks for; `environment` is added to
    its own.
    """

    def __init__(
        self,
        *,
        preload: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        heartbeat: float = HEARTBEAT_INTERVAL_S,
    ) -> None:
        self._heartbeat = heartbeat
        self._preload = tuple(preload)
        self._environment = environment or {}
        self._history = ExitHistory(_INTENSITY, _BACKOFF_S, random.random)
        self._fork_server: ForkClient | None = None
        self._starting = trio.Lock()
        self._spares: dict[str, WaitingSpare] = {}
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
            kind: Spare(spare.child.pid, trio.current_time() - spare.child.started)
            for kind, spare in self._spares.items()
            if not spare.child.has_ended
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
            nursery.start_soon(self._run_heartbeat)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()
                fork_server, self._fork_server = self._fork_server, None
                if fork_server is not None:
                    await fork_server.aclose()
                with trio.CancelScope(shield=True):
                    for spare in self._spares.values():
                        await spare.child.aclose()

    async def spawn(self, spec: ChildSpec) -> ChildProcess:
        """Return a child: the spare, or a new one. Raises ForkServerLostError, SpawnError."""
        spare = self._spares.pop(spec.kind, None)
        child = await spare.take() if spare is not None else None
        if child is None:
            child = await self._fork(spec)
        if spec.spare:
            self._want_spare(spec)
        return child

    def _want_spare(self, spec: ChildSpec) -> None:
        """Have a spare made, unless there is one or one is being made."""
        if spec.kind not in self._making_spare and spec.kind not in self._spares:
            self._making_spare.add(spec.kind)
            self._nursery.start_soon(self._make_spare, spec)

    async def _make_spare(self, spec: ChildSpec) -> None:
        """Fork the next child of this kind ahead of need; if that fails, it is forked when it is needed."""
        try:
            with suppress(ForkServerLostError, SpawnError):
                spare = WaitingSpare(spec, await self._fork(spec, spare=True))
                self._spares[spec.kind] = spare
                self._nursery.start_soon(spare.read)
        finally:
            self._making_spare.discard(spec.kind)

    async def _fork(self, spec: ChildSpec, *, spare: bool = False) -> ChildProcess:
        fork_server = await self._running_fork_server()
        try:
            forked, supervisor_end = await fork_server.fork(
                spec, urgency(spec, spare=spare), SPARE_NAME if spare else spec.kind
            )
        except OSError:
            fork_server.process.kill()
            raise ForkServerLostError from None
        child = ChildProcess(*forked, trio.SocketStream(trio.socket.from_stdlib_socket(supervisor_end)))
        if fork_server.adopt(child):
            if fork_server is self._fork_server:
                self._nursery.start_soon(child.watch, fork_server.has_unread_reply)
            else:
                child.set_status(None)  # lost between its reply and this moment
        return child

    async def _run_heartbeat(self) -> None:
        while True:
            await trio.sleep(self._heartbeat)
            if self._fork_server is not None:
                self._fork_server.check_heartbeat(self._heartbeat)
            for spare in list(self._spares.values()):
                await self._check_spare(spare)

    async def _check_spare(self, spare: WaitingSpare) -> None:
        if await spare.check_heartbeat():
            return
        kind = spare.spec.kind
        if self._spares.get(kind) is spare:
            del self._spares[kind]
            await spare.discard()
            self._want_spare(spare.spec)

    async def _running_fork_server(self) -> ForkClient:
        """Return the fork server, started if need be. Raises SpawnError."""
        async with self._starting:
            if self._fork_server is None:
                await trio.sleep(self._restart_delay)
                try:
                    self._fork_server = ForkClient(self._preload, self._environment)
                except OSError as error:
                    raise SpawnError(f"no fork server: {error.strerror}") from None
                self._nursery.start_soon(self._serve, self._fork_server)
            return self._fork_server

    async def _serve(self, fork_server: ForkClient) -> None:
        """Serve a fork server until it ends; then report all its children as lost.

        The children have died with it (PDEATHSIG). The order matters: `on_lost` comes before any child's end,
        so that the tree marks all of them as not ready before it sees the first of them end. The next fork
        server is started by the next `spawn`.
        """
        await fork_server.serve()
        if fork_server is not self._fork_server:
            return  # the node is over, and has closed it
        self._fork_server = None
        now = trio.current_time()
        cause: Cause = "hang" if fork_server.hung else cause_of(fork_server.process.returncode or 0)
        verdict = self._history.record_exit(cause, now, lived=now - fork_server.started)
        if isinstance(verdict, GiveUp):
            raise SpawnerBrokenError(f"the fork server keeps ending: {verdict.why}")
        self._restart_delay = verdict.delay
        self._on_lost(cause)
        fork_server.fail_all()
        self._nursery.start_soon(reap_orphans, [*fork_server.children, *fork_server.abandoned])
