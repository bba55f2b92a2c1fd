"""Pairings between real nodes while their actors are killed at random, and what must hold afterwards.

Everything random comes from the seed: each pairing's plan from (seed, number), the steady kills from the seed
alone. Where a kill falls still depends on the machine, so a run repeats the schedule, not the fault.
"""

import random
import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import trio

from spacedrive_node.client.node_client import ControlError, Pairing, PairingFailedError
from spacedrive_node.messages.control_protocol import SessionState
from spacedrive_node.tests.harness.faults.process_killer import ProcessKiller, Timeline, choose_kind
from spacedrive_node.tests.harness.nodes import Node
from spacedrive_node.tests.harness.secret_sweep import collector

SEARCH_TIMEOUT_S = 60.0
DEADLINE_S = 180.0
"""Seconds in which a session that has something to decide must end (docs/protocol.md, "Limits")."""
_SLACK = 5.0
_PAIRING_TIMEOUT_S = SEARCH_TIMEOUT_S + DEADLINE_S + 20.0
_SETTLE_TIMEOUT_S = 40.0
_QUIET_TIMEOUT_S = 30.0
_POLL_S = 0.1
_REJECT_PROBABILITY = 0.06
MAY_SETTLE = frozenset({"lost_contact"})
"""Outcomes that the other side of a `paired` one may have. Its entry becomes paired at the next contact."""
MODES = ("bursts", "steady", "frames", "all", "none")


@dataclass(frozen=True)
class Kill:
    """The kill of one actor on one side, `seconds` after the pairing began or the device was shown."""

    side: int
    kind: str
    after: str
    seconds: float
    pick: float


@dataclass(frozen=True)
class Plan:
    """What one pairing does, drawn before it begins."""

    number: int
    nodes: tuple[int, int]
    accepts: tuple[bool, bool]
    thinking: tuple[float, float]
    kills: tuple[Kill, ...]


def plan_of(seed: int, number: int, nodes: int, bursts: bool) -> Plan:
    draw = random.Random(f"{seed}/{number}")
    initiator, joiner = draw.sample(range(nodes), 2)
    accepts = (draw.random() >= _REJECT_PROBABILITY, draw.random() >= _REJECT_PROBABILITY)
    thinking = tuple(draw.choice((0.0, draw.uniform(0, 0.4))) for _ in range(2))
    kills = [
        Kill(
            draw.randrange(2),
            choose_kind(draw),
            draw.choice(("begin", "shown")),
            min(draw.expovariate(5.0), 2.0),
            draw.random(),
        )
        for _ in range(draw.choice((0, 1, 2, 3, 4, 5, 6, 8)))
    ]
    return Plan(number, (initiator, joiner), accepts, thinking, tuple(kills) if bursts else ())  # type: ignore[arg-type]


@dataclass
class Side:
    """How a pairing ended for one side: an outcome, or the error that its client got."""

    outcome: str = ""
    fingerprint: str | None = None
    seconds: float = 0.0
    """Seconds from the confirmation to the end."""


@dataclass
class Report:
    pairings: int = 0
    complete: int = 0
    rejections: int = 0
    settled_later: int = 0
    incomplete: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    slowest: float = 0.0


@dataclass
class ChaosRun:
    seed: int
    nodes: Sequence[Node]
    killers: Sequence[ProcessKiller]
    folders: Sequence[Path]
    timeline: Timeline
    mode: str = "all"
    every: float = 1.0
    frames: float = 0.03
    patience: float = 20.0
    """Seconds in which both sides should agree without help. Then they are brought into contact."""
    pause: trio.Event | None = None
    report: Report = field(default_factory=Report)

    # The pairings

    async def run(self, pairings: int, concurrency: int) -> None:
        """Run waves of 1 to `concurrency` pairings at once.

        After each wave both sides of each pair must agree.
        """
        sizes = random.Random(f"{self.seed}/waves")
        self._frames(self.mode in ("frames", "all"))
        async with trio.open_nursery() as nursery:
            if self.mode in ("steady", "all"):
                nursery.start_soon(self._steady)
            number = 0
            while number < pairings:
                wave = range(number, min(number + sizes.randint(1, concurrency), pairings))
                async with trio.open_nursery() as running:
                    for one in wave:
                        running.start_soon(self._one, one)
                await self._check_agreement(f"after pairing {wave[-1]}")
                number = wave[-1] + 1
            nursery.cancel_scope.cancel()
        self._frames(False)

    def _frames(self, on: bool) -> None:
        for killer in self.killers:
            killer.frames = self.frames if on else 0.0

    async def _steady(self) -> None:
        draw = random.Random(f"{self.seed}/steady")
        while True:
            await trio.sleep(draw.uniform(0.5, 1.5) * self.every)
            node, kind, pick = draw.randrange(len(self.nodes)), choose_kind(draw), draw.random()
            if self.pause is not None:
                await self.pause.wait()
            self.killers[node].kill(kind, pick)

    async def _one(self, number: int) -> None:
        plan = plan_of(self.seed, number, len(self.nodes), self.mode in ("bursts", "all"))
        begin = self.timeline.now()
        self.timeline.record(f"#{number} begins: {plan}")
        sides = (Side(), Side())
        with trio.move_on_after(_PAIRING_TIMEOUT_S) as limit:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._kills, plan, "begin")
                await self._pair(plan, sides)
                nursery.cancel_scope.cancel()
        self.timeline.record(f"#{number} ends: {sides}")
        self._check(plan, sides, begin, limit.cancelled_caught)

    async def _kills(self, plan: Plan, after: str) -> None:
        begin = trio.current_time()
        for kill in sorted((k for k in plan.kills if k.after == after), key=lambda k: k.seconds):
            await trio.sleep_until(begin + kill.seconds)
            self.killers[plan.nodes[kill.side]].kill(kill.kind, kill.pick)

    async def _pair(self, plan: Plan, sides: tuple[Side, Side]) -> None:
        initiator, joiner = (self.nodes[index].client for index in plan.nodes)
        try:
            showing = await initiator.start_pairing()
        except (ControlError, ConnectionError) as error:
            sides[0].outcome = f"start: {error!r}"
            return
        words = " ".join(showing.code.words)
        collector.add_code(words)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._finish, plan, 0, showing, sides)
            try:
                joining = await joiner.join_pairing(words, timeout=SEARCH_TIMEOUT_S)
            except (ControlError, ConnectionError) as error:
                sides[1].outcome = f"join: {error!r}"
                nursery.cancel_scope.cancel()
                return
            nursery.start_soon(self._finish, plan, 1, joining, sides)

    async def _finish(self, plan: Plan, side: int, pairing: Pairing, sides: tuple[Side, Side]) -> None:
        end = sides[side]
        self.timeline.record(f"#{plan.number} side {side} is session {pairing.id} of {plan.nodes[side]}")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow, plan, side, pairing)
            try:
                await pairing.confirmation()
                shown = trio.current_time()
                if side == 0:
                    nursery.start_soon(self._kills, plan, "shown")
                await trio.sleep(plan.thinking[side])
                await self._decide(plan, side, pairing)
                state = await pairing.paired()
                end.outcome, end.fingerprint = "paired", state.fingerprint
                end.seconds = trio.current_time() - shown
            except PairingFailedError as failed:
                end.outcome = failed.outcome
                shown_at = locals().get("shown")
                end.seconds = 0.0 if shown_at is None else trio.current_time() - shown_at
            except (ControlError, ConnectionError) as error:
                end.outcome = repr(error)
            nursery.cancel_scope.cancel()

    async def _decide(self, plan: Plan, side: int, pairing: Pairing) -> None:
        try:
            await (pairing.accept if plan.accepts[side] else pairing.reject)()
        except ControlError as error:
            # The other side has rejected it first, so it is over, as the states show.
            if error.code != "not_deciding" or plan.accepts[1 - side]:
                raise

    async def _follow(self, plan: Plan, side: int, pairing: Pairing) -> None:
        def line(state: SessionState) -> str:
            return f"{state.stage} accepted={state.accepted} outcome={state.outcome} {state.message}"

        try:
            async for state in pairing.states(history=True):
                self.timeline.record(f"#{plan.number} side {side}: {line(state)}")
        except (ControlError, ConnectionError) as error:
            self.timeline.record(f"#{plan.number} side {side}: {error!r}")

    def _check(self, plan: Plan, sides: tuple[Side, Side], begin: float, stuck: bool) -> None:
        report, outcomes = self.report, (sides[0].outcome, sides[1].outcome)
        report.pairings += 1
        report.outcomes[outcomes] += 1
        seconds = max(side.seconds for side in sides)
        report.slowest = max(report.slowest, seconds)
        if stuck:
            self._fail(f"#{plan.number} is not over after {_PAIRING_TIMEOUT_S:.0f} s: {outcomes}", begin)
        if seconds > DEADLINE_S + _SLACK:
            self._fail(f"#{plan.number} took {seconds:.1f} s after the device was shown: {outcomes}", begin)
        both = all(plan.accepts)
        if both and outcomes == ("paired", "paired"):
            report.complete += 1
            if sides[0].fingerprint is None or sides[0].fingerprint != sides[1].fingerprint:
                self._fail(f"#{plan.number} both paired, with different fingerprints: {sides}", begin)
        elif not both and outcomes == ("rejected", "rejected"):
            report.complete += 1
            report.rejections += 1
        else:
            story = self.timeline.between(begin, self.timeline.now())
            report.incomplete.append("\n".join([f"#{plan.number} {plan.accepts} {outcomes}", *story]))
            if "paired" in outcomes and (not both or not MAY_SETTLE & set(outcomes)):
                self._fail(f"#{plan.number} {plan.accepts} is paired on one side only: {outcomes}", begin)

    def _fail(self, text: str, since: float) -> None:
        story = self.timeline.between(since, self.timeline.now())
        self.report.failures.append("\n".join([text, *story]))

    # What must hold

    async def _check_agreement(self, when: str) -> None:
        """Check that each two nodes list each other once, with the same secret, or not at all."""
        begin = self.timeline.now()
        if await self._wait_for_agreement(self.patience) is None:
            return
        # An unconfirmed entry settles at the next contact: make the nodes connect again, without kills.
        self.pause = trio.Event()
        self._frames(False)
        self.timeline.record("contact")
        self.report.settled_later += 1
        for killer in self.killers:
            killer.kill("swarm", 0.0)
        why = await self._wait_for_agreement(_SETTLE_TIMEOUT_S)
        if why is not None:
            self._fail(f"no agreement {when}: {why}", begin)
        self.pause.set()
        self.pause = None
        self._frames(self.mode in ("frames", "all"))

    async def _wait_for_agreement(self, seconds: float) -> str | None:
        why = "nobody answered"
        with trio.move_on_after(seconds):
            while True:
                found = await self._difference()
                if found is None:
                    return None
                why = found
                await trio.sleep(_POLL_S)
        return why

    async def _difference(self) -> str | None:
        try:
            lists = [await node.client.devices() for node in self.nodes]
        except (ControlError, ConnectionError) as error:
            return repr(error)
        peers = [node.ready.peer for node in self.nodes]
        for one in range(len(peers)):
            for other in range(one + 1, len(peers)):
                views = [
                    [(d.state, d.fingerprint) for d in lists[x] if d.peer == peers[y]]
                    for x, y in ((one, other), (other, one))
                ]
                if views[0] != views[1] or len(views[0]) > 1 or any(s != "paired" for s, _ in views[0]):
                    return f"{one} and {other} see {views}"
        for folder in self.folders:
            if open_ends := unsettled(folder):
                return f"{folder.name} has not settled {open_ends}"
        return None

    async def wait_until_quiet(self) -> None:
        """Wait until no session is left, neither in the gateway's view nor as a process."""
        why = "nobody answered"
        with trio.move_on_after(_QUIET_TIMEOUT_S):
            while True:
                why = await self._remaining_sessions()
                if not why:
                    return
                await trio.sleep(_POLL_S)
        self._fail(f"not quiet: {why}", self.timeline.now() - _QUIET_TIMEOUT_S)

    async def _remaining_sessions(self) -> str:
        for node in self.nodes:
            try:
                active = (await node.client.status()).sessions_active
                actors = [row.actor for row in await node.client.actors()]
            except (ControlError, ConnectionError) as error:
                return repr(error)
            if active or any(name.startswith("session") for name in actors):
                return f"{active} sessions active, actors {actors}"
        return ""


def unsettled(folder: Path) -> list[tuple[str, str]]:
    """Return (fingerprint, session) of unconfirmed entries without a paired entry of a greater order."""
    database = sqlite3.connect(f"file:{folder / 'devices.db'}?mode=ro", uri=True, timeout=5.0)
    try:
        return database.execute(
            "SELECT u.fingerprint, u.session FROM devices AS u WHERE u.state = 'unconfirmed' AND NOT EXISTS"
            " (SELECT 1 FROM devices AS p WHERE p.device_id = u.device_id AND p.state = 'paired'"
            ' AND (p."order", p.th3) > (u."order", u.th3))'
        ).fetchall()
    finally:
        database.close()
