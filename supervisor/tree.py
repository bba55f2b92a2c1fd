"""The supervisor itself: starts the actors in order, applies the ledger's effects, stops in reverse order.

Owns the running children and nothing else: what is due to whom is ledger.py's, whether to try again is
restart_policy.py's, what others may ask is introspection.py's. See docs/architecture.md, "The tree".
"""

import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import trio

from ..messages.base import encode
from ..messages.child_protocol import Fatal, FromChild, Log, Ready, Step, Stop
from ..messages.errors import SpacedriveNodeError
from ..messages.to_gateway import SessionLimit
from ..messages.to_session import CancelPairing
from ..messages.types import LogField
from .child import Member
from .child_channel import Link
from .child_specs import ChildSpec
from .introspection import Desk
from .ledger import SUPERVISOR, Ledger
from .ledger_effects import Discard, Effect, Forward, Kill, Request, Retire, Spawn, Warn
from .restart_policy import Cause, GiveUp
from .spawner import ForkServerLostError, Host, SpawnerBrokenError, SpawnError

OnLog = Callable[[str, str, str, Mapping[str, LogField]], None]
"""Called with actor, level, event and fields."""

HEARTBEAT = 2.0
STOP_SESSIONS = 1.0
STOP_ALL = 4.0
"""Seconds that an orderly stop may take before everything left is killed."""


class NodeFailedError(SpacedriveNodeError):
    """The node cannot go on; the text is for the user."""


async def run_tree(
    specs: Sequence[ChildSpec],
    session_spec: ChildSpec,
    *,
    host: Host,
    max_sessions: int,
    on_log: OnLog,
    on_ready: Callable[[], None] | None = None,
    stop: trio.Event,
    heartbeat: float = HEARTBEAT,
) -> None:
    """Run a node until `stop` is set (by the caller, or by a Shutdown). Raises NodeFailedError.

    `specs` are the singletons in the order of their start. `on_ready` is called once, when all are ready.
    `heartbeat` is in seconds; a child is deaf after three of them.
    """
    tree = _Tree(specs, session_spec, host, max_sessions, on_log, stop, heartbeat)
    try:
        await tree.run(on_ready)
    except* SpawnerBrokenError as broken:
        tree.failure = tree.failure or str(broken.exceptions[0])
    if tree.failure is not None:
        raise NodeFailedError(tree.failure)


@dataclass(slots=True)
class _Tree:
    specs: Sequence[ChildSpec]
    session_spec: ChildSpec
    host: Host
    max_sessions: int
    on_log: OnLog
    stop: trio.Event
    heartbeat: float
    failure: str | None = None
    members: dict[str, Member] = field(default_factory=dict)
    ledger: Ledger = field(init=False)
    desk: Desk = field(init=False)
    nursery: trio.Nursery = field(init=False)

    async def run(self, on_ready: Callable[[], None] | None) -> None:
        self.ledger = Ledger(max_sessions=self.max_sessions, new_id=lambda: os.urandom(16))
        self.desk = Desk(self.ledger, self.members, self.host)
        for spec in self.specs:
            self.ledger.add(spec.kind, stepping=spec.stepping)
            self.members[spec.kind] = Member(spec.kind, spec, random.random)
        self._apply(self.ledger.post("gateway", SessionLimit(limit=self.max_sessions), standing=True))
        preload = [spec.module for spec in (*self.specs, self.session_spec) if spec.preload]
        async with (
            self.host.opened(preload=preload, on_lost=self._on_lost),
            trio.open_nursery() as self.nursery,
        ):
            for member in list(self.members.values()):
                self.nursery.start_soon(self._supervise, member)
            self.nursery.start_soon(self._beat)
            self.nursery.start_soon(self._announce, on_ready)
            await self.stop.wait()
            await self._stop_all()
            self.nursery.cancel_scope.cancel()

    # one child

    async def _supervise(self, member: Member) -> None:
        """Keep one child running until it is retired, given up, or the node stops."""
        with member.scope:
            await self._turn(member)
            while not member.retired:
                cause = await self._live(member)
                head = self.ledger.head(member.name)
                self.ledger.died(member.name)
                if member.retired or self.stop.is_set():
                    break
                await self._after(member, cause, head)
        self.ledger.died(member.name)
        member.gone.set()
        if member.is_session:
            self.members.pop(member.name, None)

    async def _turn(self, member: Member) -> None:
        """Wait until every singleton that starts before this child is ready."""
        for spec in self.specs:
            if spec.kind == member.name:
                return
            await self.members[spec.kind].ready.wait()

    async def _live(self, member: Member) -> Cause:
        """Run one incarnation, from the fork until all that it had sent is taken; return what it died of."""
        try:
            handle = await self.host.spawn(member.spec)
        except ForkServerLostError:
            return "zygote"
        except SpawnError as error:
            self.on_log(member.name, "error", "not started", {"why": str(error)})
            return "exit"
        link = Link(
            handle,
            lambda frame: self._on_frame(member, link, frame),
            lambda number: self.ledger.written(member.name, number),
        )
        start = self.ledger.begin(member.name, msgspec.Raw(encode(member.spec.config)))
        member.begin(link)
        link.put(start)
        if member.retired or self.stop.is_set():
            link.put(Stop())
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._limit_start, member, link)
                cause = await link.run()
                nursery.cancel_scope.cancel()
        finally:
            member.end()
            with trio.CancelScope(shield=True):
                await link.aclose()
        if link.malformed:
            self.on_log(member.name, "error", "malformed frame", {})
        return cause

    async def _limit_start(self, member: Member, link: Link) -> None:
        with trio.move_on_after(member.spec.start_deadline):
            await member.ready.wait()
            return
        self.on_log(member.name, "error", "not ready in time", {"seconds": member.spec.start_deadline})
        link.kill("hang")

    async def _after(self, member: Member, cause: Cause, head: int | None) -> None:
        """Do what the restart policy says about an exit, while it was at the input `head`."""
        verdict = member.judge(cause, head)
        self.desk.exited(member, cause)
        if isinstance(verdict, GiveUp):
            await self._give_up(member, verdict.why)
            return
        fields: dict[str, LogField] = {"cause": cause, "restarts": member.restarts}
        self.on_log(member.name, "info" if cause in ("killed", "zygote") else "warning", "restarting", fields)
        if verdict.poison and member.is_session:
            await self._give_up(member, "one input killed it again and again", poison=True)
            return
        if verdict.poison:
            self._apply(self.ledger.drop_head(member.name))
        if cause == "zygote":
            await self._turn(member)
        else:
            await trio.sleep(verdict.delay)

    async def _give_up(self, member: Member, why: str, *, poison: bool = False) -> None:
        self.on_log(member.name, "error", "given up", {"why": why})
        if member.is_session:
            self.desk.crashed(member)
            self._apply(self.ledger.end_session(member.name, "crashed", poison=poison))
        elif member.spec.restart == "permanent":
            self._fail(f"{member.name}: {why}")
        member.retired = True
        member.ready.set()  # whoever starts after it need not wait

    # frames and effects

    def _on_frame(self, member: Member, link: Link, frame: FromChild) -> None:
        match frame:
            case Ready():
                member.is_ready()
                self._apply(self.ledger.ready(member.name))
            case Step():
                self._apply(self.ledger.apply(member.name, frame))
            case Log():
                if member.may_log():
                    self.on_log(member.name, frame.level, frame.event, frame.fields)
            case Fatal() if not member.is_session:
                self._fail(frame.message)

    def _apply(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Forward():
                    self.members[effect.to].put(effect.frame)
                case Spawn():
                    member = Member(effect.name, self.session_spec, random.random)
                    self.members[effect.name] = member
                    self.nursery.start_soon(self._supervise, member)
                case Retire():
                    self._retire(self.members[effect.name])
                case Kill():
                    self.members[effect.name].kill(effect.cause)
                case Discard():
                    self.members[effect.name].discard()
                case Warn():
                    self.on_log(effect.name, "error", effect.event, effect.fields)
                case Request():
                    self._apply(self.desk.answer(effect.envelope, self.stop))

    def _retire(self, member: Member) -> None:
        member.retired = True
        if member.link is not None:
            member.link.put(Stop())
            self.nursery.start_soon(self._kill_late, member, member.spec.stop_grace)

    async def _kill_late(self, member: Member, grace: float) -> None:
        """SIGKILL a child that has been told to stop, `grace` seconds later; return when it is gone."""
        with trio.move_on_after(grace):
            await member.gone.wait()
            return
        if member.link is None:
            member.scope.cancel()
        member.kill("hang")
        with trio.move_on_after(1):
            await member.gone.wait()

    # the whole

    async def _announce(self, on_ready: Callable[[], None] | None) -> None:
        for spec in self.specs:
            await self.members[spec.kind].ready.wait()
        if on_ready is not None:
            on_ready()

    async def _beat(self) -> None:
        """The supervisor's one clock: heartbeats, and what metrics is told."""
        while True:
            await trio.sleep(self.heartbeat)
            for member in list(self.members.values()):
                if member.link is not None and member.ready.is_set():
                    member.link.beat()
            self._apply(self.desk.report())

    def _on_lost(self, cause: Cause) -> None:
        """All children are gone at once: until it is ready again, nobody starts before the one before it."""
        self.desk.zygote_lost(cause)
        self.on_log(SUPERVISOR, "warning", "fork server lost", {})
        for member in self.members.values():
            member.end_ready()

    def _fail(self, message: str) -> None:
        self.failure = self.failure or message
        self.stop.set()

    async def _stop_all(self) -> None:
        """End sessions, all at once; then the singletons, last started first; then kill what is left."""
        self.ledger.stopping = True
        with trio.move_on_after(STOP_ALL):
            sessions = [member for member in self.members.values() if member.is_session]
            await self._dismiss(sessions)
            async with trio.open_nursery() as nursery:
                for member in sessions:
                    nursery.start_soon(self._stop_one, member, STOP_SESSIONS)
            for spec in reversed(self.specs):
                await self._stop_one(self.members[spec.kind], spec.stop_grace)

    async def _dismiss(self, sessions: Sequence[Member]) -> None:
        """Have sessions give up, with a word to the other device and to the user, while all others still run.

        One that has accepted goes on for this moment, and is left to settle at the next contact.
        """
        for member in sessions:
            self._apply(self.ledger.post(member.name, CancelPairing()))
        with trio.move_on_after(STOP_SESSIONS):
            for member in sessions:
                await member.gone.wait()

    async def _stop_one(self, member: Member, grace: float) -> None:
        if member.link is not None:
            member.link.put(Stop())
            await self._kill_late(member, grace)
        elif not member.gone.is_set():
            member.scope.cancel()
