"""The supervisor itself: starts the actors in order, applies the ledger's effects, stops in reverse order.

It is the only module here that joins the decisions of the others to running children. One message from
actor A to actor B passes these modules, and each does one thing:

    child_channel (A)   reads a frame of A; tree._on_frame gets the Step
    ledger > routes     checks every envelope against the routing table, then applies the Step as one
    ledger_effects      what follows from it, as data: Forward to B, perhaps Spawn, Kill, Retire
    tree > child        _apply_effects finds the present incarnation of B
    child_channel (B)   queues the frame and returns; a task of its own writes it

Owns the running children and the order in which they start and stop. Never decides what is delivered
(ledger.py), whether to restart (restart_policy.py) or what others may ask (introspection.py).
docs/architecture.md, "The tree".
"""

import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec
import trio

from ..messages.base import encode
from ..messages.child_protocol import Fatal, FromChild, Log, Ready, Step, Stop
from ..messages.errors import ReportedError
from ..messages.types import LogField
from .child import Child, Trial
from .child_channel import ChildChannel, OutboxBatch
from .child_specs import ChildSpec
from .introspection import SupervisorInfo
from .ledger import SUPERVISOR, Ledger
from .ledger_effects import Discard, Effect, Forward, HandleRequest, Kill, Retire, Spawn, Warn
from .log_budget import LogBudget
from .metrics import SupervisorMetrics
from .reconfiguration import Reconfiguration
from .reload_desk import ReloadDesk
from .restart_policy import Cause, GiveUp
from .session_log import OnLog, SessionLog
from .spawner import HEARTBEAT_INTERVAL_S, ForkServerLostError, Spawner, SpawnerBrokenError, SpawnError
from .stopping import stop_all

MAX_STARTING_SESSIONS = 16
"""Sessions that start at once, from the request for a process to Ready. A thousand of them, which start again
after the loss of the fork server, must not starve the singletons that they need."""


class NodeFailedError(ReportedError):
    """The node cannot go on."""


async def run_tree(
    specs: Sequence[ChildSpec],
    session_spec: ChildSpec,
    *,
    spawner: Spawner,
    max_sessions: int,
    on_log: OnLog,
    on_ready: Callable[[], None] | None = None,
    stop: trio.Event,
    heartbeat: float = HEARTBEAT_INTERVAL_S,
    debug: bool = False,
    reloads: ReloadDesk | None = None,
) -> None:
    """Run a node until `stop` is set (by the caller, or by a Shutdown). Raises NodeFailedError.

    `specs` are the singletons in the order of their start. `on_ready` is called once, when all are ready.
    `heartbeat` is the interval of the heartbeat in seconds; a child that misses three is killed as hanging.
    `debug` has the messages of each session logged.
    `reloads` carries out reloads, and takes those that are asked for by other ways than the gateway.
    """
    reloads = reloads or ReloadDesk()
    tree = _Tree(list(specs), session_spec, spawner, max_sessions, on_log, stop, heartbeat, debug, reloads)
    try:
        await tree.run(on_ready)
    except* SpawnerBrokenError as broken:
        tree.failure = tree.failure or NodeFailedError(str(broken.exceptions[0]), is_temporary=True)
    if tree.failure is not None:
        raise tree.failure


@dataclass(slots=True)
class _Tree:
    specs: list[ChildSpec]
    session_spec: ChildSpec
    spawner: Spawner
    max_sessions: int
    on_log: OnLog
    stop: trio.Event
    heartbeat: float
    debug: bool
    reloads: ReloadDesk
    failure: NodeFailedError | None = None
    children: dict[str, Child] = field(default_factory=dict)
    outboxes: OutboxBatch = field(default_factory=OutboxBatch)
    starting_sessions: trio.Semaphore = field(
        default_factory=lambda: trio.Semaphore(MAX_STARTING_SESSIONS, max_value=MAX_STARTING_SESSIONS)
    )
    ledger: Ledger = field(init=False)
    metrics: SupervisorMetrics = field(init=False)
    info: SupervisorInfo = field(init=False)
    sessions: SessionLog = field(init=False)
    nursery: trio.Nursery = field(init=False)

    async def run(self, on_ready: Callable[[], None] | None) -> None:
        self.ledger = Ledger(max_sessions=self.max_sessions, new_id=lambda: os.urandom(16), debug=self.debug)
        self.metrics = SupervisorMetrics(self.ledger, self.children, self.spawner)
        self.info = SupervisorInfo(self.ledger, self.children, self.spawner, self.metrics, self.reloads)
        self.sessions = SessionLog(self.on_log, self._log_for, is_debug=self.debug)
        for spec in self.specs:
            self._add_child(spec)
        self._apply_effects(self.ledger.limit_sessions(self.max_sessions))
        preload = [spec.module for spec in (*self.specs, self.session_spec) if spec.preload]
        async with (
            self.spawner.opened(preload=preload, on_lost=self._on_fork_server_lost),
            trio.open_nursery() as self.nursery,
        ):
            for child in list(self.children.values()):
                self.nursery.start_soon(self._supervise, child)
            self.nursery.start_soon(self._run_heartbeat)
            self.nursery.start_soon(self.info.make_lists, self._apply_effects)
            self.nursery.start_soon(self._report_ready, on_ready)
            await self.stop.wait()
            await stop_all(
                self.specs, self.children, self.ledger, self._apply_effects, self._kill_after_grace
            )
            self.nursery.cancel_scope.cancel()

    def _add_child(self, spec: ChildSpec) -> Child:
        self.ledger.add_actor(spec.kind, stepping=spec.stepping)
        child = self.children[spec.kind] = Child(spec.kind, spec, random.random)
        return child

    def _reconfiguration(self) -> Reconfiguration:
        def start(spec: ChildSpec) -> Child:
            child = self._add_child(spec)
            child.trial = Trial(former=None)
            self.nursery.start_soon(self._supervise, child)
            return child

        return Reconfiguration(
            self.specs, self.children, self.ledger, self.sessions, start, self._retire, self._apply_effects
        )

    # one child

    async def _supervise(self, child: Child) -> None:
        """Keep one child running until it is retired or given up, or the node stops."""
        with child.scope:
            await self._wait_for_predecessors(child)
            while not child.retired:
                child.adopt_next_spec()
                cause = await self._run_incarnation(child)
                input_number = self.ledger.unacknowledged_input(child.name)
                self._apply_effects(self.ledger.mark_down(child.name))
                if child.is_tried and cause != "zygote":
                    child.fail_trial(f"it ended at its start ({cause})")
                if child.retired or self.stop.is_set():
                    break
                if child.next_spec is not None and cause != "zygote":
                    self.metrics.record_exit(child, "reload")
                    self.on_log(
                        child.name, "info", "restarting", {"cause": "reload", "restarts": child.restarts}
                    )
                    continue
                await self._apply_restart_policy(child, cause, input_number)
        self._apply_effects(self.ledger.mark_down(child.name))
        child.gone.set()
        if child.is_session:
            self.sessions.gone(child.name)
            self.children.pop(child.name, None)

    async def _wait_for_predecessors(self, child: Child) -> None:
        """Wait until every singleton that starts before this child is ready."""
        for spec in tuple(self.specs):
            if spec.kind == child.name:
                return
            if spec.kind in self.children:
                await self.children[spec.kind].ready.wait()

    async def _run_incarnation(self, child: Child) -> Cause:
        """Run one incarnation, from its fork until its last frame is handled; return what it died of."""
        await child.start_turn.begin()
        try:
            return await self._spawn_and_run(child)
        finally:
            child.start_turn.end()

    async def _spawn_and_run(self, child: Child) -> Cause:
        try:
            running = await self.spawner.spawn(child.spec)
        except ForkServerLostError:
            return "zygote"
        except SpawnError as error:
            if child.note_start_refusal(str(error)):
                self.on_log(child.name, "error", "not started", {"why": str(error)})
            return "exit"
        channel = ChildChannel(
            running,
            lambda frame: self._on_frame(child, frame),
            lambda number: self.ledger.mark_written(child.name, number),
            self.outboxes,
        )
        start = self.ledger.begin_incarnation(child.name, msgspec.Raw(encode(child.spec.config)))
        child.begin_incarnation(channel)
        channel.enqueue(start)
        if child.retired or self.stop.is_set():
            channel.enqueue(Stop())
        if child.next_spec is not None:
            channel.kill("reload")
        try:
            cause = await channel.run()
        finally:
            child.end_incarnation()
            with trio.CancelScope(shield=True):
                await channel.aclose()
        if channel.sent_malformed_frame:
            self.on_log(child.name, "error", "malformed frame", {})
        return cause

    async def _apply_restart_policy(self, child: Child, cause: Cause, input_number: int | None) -> None:
        """Log an exit, then wait as long as the policy demands or give the child up.

        `input_number` is the input that the child had not acknowledged when it died.
        """
        verdict = child.record_exit(cause, input_number)
        self.metrics.record_exit(child, cause)
        if isinstance(verdict, GiveUp):
            await self._give_up(child, verdict.why)
            return
        if not child.start_refusal:  # otherwise "not started" has said so
            level = "info" if cause in ("killed", "zygote") else "warning"
            self.on_log(child.name, level, "restarting", {"cause": cause, "restarts": child.restarts})
        if verdict.poison and child.is_session:
            await self._give_up(child, "one input killed it again and again", poison=True)
            return
        if verdict.poison:
            self._apply_effects(self.ledger.drop_unacknowledged_input(child.name))
        if cause == "zygote":
            await self._wait_for_predecessors(child)
        else:
            await trio.sleep(verdict.delay)

    async def _give_up(self, child: Child, why: str, *, poison: bool = False) -> None:
        why += f": {child.start_refusal}" if child.start_refusal else ""
        self.on_log(child.name, "error", "given up", {"why": why})
        if child.is_session:
            self.metrics.record_crashed_session(child)
            self._apply_effects(self.ledger.end_session(child.name, "crashed", poison=poison))
        elif child.spec.restart == "permanent":
            self._fail_node(NodeFailedError(f"{child.name}: {why}", is_temporary=True))
        child.retired = True
        child.ready.set()  # so that those that start after it do not wait for ever

    # frames and effects

    def _on_frame(self, child: Child, frame: FromChild) -> None:
        """Handle one frame of a child. Synchronous, as all of this section: the router waits for no child."""
        match frame:
            case Ready():
                child.mark_ready()
                self._apply_effects(self.ledger.mark_ready(child.name))
            case Step():
                if not child.has_sent_step:
                    child.mark_step()
                self.sessions.sends(child, frame)
                self._apply_effects(self.ledger.apply_step(child.name, frame))
            case Log():
                child.note_sandbox(frame)
                self._log_for(child, child.log_budget, frame.level, frame.event, frame.fields)
            case Fatal() if child.is_session or child.has_sent_step:
                # It may have been taken over, and must not end the node: a crash like any other.
                self._log_for(child, child.log_budget, "error", "cannot go on", {"why": frame.message})
                if child.channel is not None:
                    child.channel.kill("exit")
            case Fatal() if child.is_tried and child.channel is not None:
                child.fail_trial(frame.message)
                child.channel.kill("reload")
            case Fatal():
                self._fail_node(NodeFailedError(frame.message, is_temporary=frame.is_temporary))

    def _log_for(
        self, child: Child, budget: LogBudget, level: str, event: str, fields: Mapping[str, LogField]
    ) -> None:
        """Write a line of a child, or about what it has done, from a budget. Whatever fails, fails here."""
        if not budget.allow(event, fields, time.monotonic()):
            return
        with suppress(Exception):
            dropped = budget.take_dropped()
            if dropped:
                self.on_log(child.name, "warning", "log lines dropped, it wrote too many", {"lines": dropped})
            self.on_log(child.name, level, event, fields)

    def _apply_effects(self, effects: Sequence[Effect]) -> None:
        """Do what the ledger has decided, in its order.

        A child has no channel between two incarnations. What the ledger forwarded is then still in the inbox,
        and the next incarnation gets it from there; there is nothing to kill or to discard.
        """
        for effect in effects:
            match effect:
                case Forward():
                    channel = self.children[effect.to].channel
                    if channel is not None:
                        channel.enqueue(effect.frame)
                case Spawn():
                    child = Child(effect.name, self.session_spec, random.random, self.starting_sessions)
                    self.children[effect.name] = child
                    self.sessions.started(effect)
                    self.nursery.start_soon(self._supervise, child)
                case Retire():
                    self.sessions.ended(effect)
                    self._retire(self.children[effect.name])
                case Kill():
                    channel = self.children[effect.name].channel
                    if channel is not None:
                        channel.kill(effect.cause)
                case Discard():
                    channel = self.children[effect.name].channel
                    if channel is not None:
                        channel.discard_deliveries()
                case Warn():
                    child = self.children[effect.name]
                    self._log_for(child, child.warn_budget, "error", effect.event, effect.fields)
                case HandleRequest():
                    self._apply_effects(self.info.handle_request(effect.envelope, self.stop))

    def _retire(self, child: Child) -> None:
        child.retired = True
        if child.channel is not None:
            child.channel.enqueue(Stop())
            self.nursery.start_soon(self._kill_after_grace, child, child.spec.stop_grace)

    async def _kill_after_grace(self, child: Child, grace: float) -> None:
        """Wait `grace` seconds for a child that was sent Stop, then SIGKILL it; return when it is gone."""
        with trio.move_on_after(grace):
            await child.gone.wait()
            return
        if child.channel is None:
            child.scope.cancel()
        else:
            child.channel.kill("hang")
        with trio.move_on_after(1):
            await child.gone.wait()

    # the node

    async def _report_ready(self, on_ready: Callable[[], None] | None) -> None:
        for spec in self.specs:
            await self.children[spec.kind].ready.wait()
        if on_ready is not None:
            on_ready()
        await self.reloads.run(self._reconfiguration(), self.ledger, self._apply_effects)

    async def _run_heartbeat(self) -> None:
        """The supervisor's one clock: check every child, then report to metrics."""
        while True:
            await trio.sleep(self.heartbeat)
            for child in list(self.children.values()):
                self._check_child(child)
            self._apply_effects(self.metrics.report())

    def _check_child(self, child: Child) -> None:
        """Kill a child that does not answer, or does not get ready in time, by turns of the heartbeat.

        What was a spare has nothing to import, so it answers from the beginning.
        """
        if child.channel is None:
            return
        if child.ready.is_set() or child.channel.was_spare:
            child.channel.check_heartbeat()
        limit = child.spec.start_deadline
        if not child.ready.is_set() and child.count_turn_of_start() * self.heartbeat > limit:
            self.on_log(child.name, "error", "not ready in time", {"seconds": limit})
            child.channel.kill("hang")

    def _on_fork_server_lost(self, cause: Cause) -> None:
        """All children died. Restart them in order; each waits for its predecessor to be ready.

        The spawner calls this before it reports the children's ends. All are marked as not ready here, so
        when `_supervise` sees the end of each one (cause "zygote"), `_wait_for_predecessors` holds it back
        until the singletons before it have come up again, as at the start of the node. The loss counts
        once, for the fork server: no child's intensity and no input is blamed for it.
        """
        self.metrics.record_fork_server_loss(cause)
        self.on_log(SUPERVISOR, "warning", "fork server lost", {"cause": cause})
        for child in self.children.values():
            child.mark_not_ready()
            if child.channel is not None:
                child.channel.mark_lost()

    def _fail_node(self, failure: NodeFailedError) -> None:
        self.failure = self.failure or failure
        self.stop.set()
