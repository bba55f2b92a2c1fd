"""Two devices, one of which vanishes at chosen messages of their pairings, and what must hold afterwards."""

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import trio

from spacedrive_node.client.node_client import ControlError, NodeGoneError, Pairing, PairingFailedError
from spacedrive_node.messages.actor_configs import SessionConfig
from spacedrive_node.tests.harness.faults.cable_network import CableNetwork
from spacedrive_node.tests.harness.faults.device_pair import (
    SHORT_CODE_LIFETIME_S,
    SHORT_DEADLINES,
    DevicePair,
    open_device_pair,
)
from spacedrive_node.tests.harness.faults.device_under_test import DeviceUnderTest, NotStartedError
from spacedrive_node.tests.harness.faults.end_state_checks import SideEnd, disagreement, wrong_ends
from spacedrive_node.tests.harness.faults.failure_points import SIDES, FailureCase, FailurePoint, Side
from spacedrive_node.tests.harness.faults.waiting import wait_until
from spacedrive_node.tests.harness.secret_sweep import collector

SHORT_ABSENCE_S = 10.0
RECOVERY_S = 45.0
"""Seconds in which a pairing must complete after the other device is back."""
SEARCH_TIMEOUT_S = 60.0
_HOLD_TIMEOUT_S = 40.0
_END_TIMEOUT_S = 150.0
_CONTACT_TIMEOUT_S = 60.0
_AGREEMENT_TIMEOUT_S = 30.0
_CASE_TIMEOUT_S = 400.0
_POLL_S = 0.05
_LATE_ERRORS = ("already_decided", "not_deciding", "no_such_session", "internal")
"""Error codes with which the gateway of a stopped node may answer an acceptance.

The states tell the outcome.
"""


class NotHeldError(Exception):
    """A pairing did not reach its failure point in time, so nothing could be tested."""


@dataclass
class Attempt:
    """One pairing: its failure point, and how it ended on both sides."""

    point: FailurePoint
    ends: dict[Side, SideEnd]


@dataclass
class Figures:
    cases: int = 0
    pairings: int = 0
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    """By transport, victim, manner and duration: counts of outcome of initiator / outcome of joiner."""
    slowest_back: float = 0.0
    slowest_agreement: float = 0.0
    longest_hold: float = 0.0
    failures: list[str] = field(default_factory=list)


async def run_case(
    case: FailureCase, folder: Path, network: CableNetwork, nursery: trio.Nursery, figures: Figures
) -> str:
    """Run one case on two new devices.

    Return what is wrong with the events that led to it, "" if nothing is.
    """
    # Sessions that lose their other side for good should reach their deadlines soon.
    short = case.duration == "ever" or case.manner == "kill"
    wrong, story = [], []
    try:
        with trio.fail_after(_CASE_TIMEOUT_S):
            async with open_device_pair(
                folder, network, nursery, wrong, short=short, transport=case.transport
            ) as pair:
                vanishing = VanishingCase(pair, case, figures)
                try:
                    wrong += await vanishing.run()
                finally:
                    story = sorted(line for device in pair.devices for line in device.story)
    except* (NotHeldError, NotStartedError, NodeGoneError, ControlError, trio.TooSlowError) as group:
        wrong += [repr(error) for error in group.exceptions]
    figures.cases += 1
    if not wrong:
        return ""
    figures.failures.append(str(case))
    return "\n".join([str(case), *wrong, *(f"{at:10.3f} {what}" for at, what in story)])


@dataclass
class VanishingCase:
    """One case on one pair of devices."""

    pair: DevicePair
    case: FailureCase
    figures: Figures
    attempts: list[Attempt] = field(default_factory=list)
    injected: trio.Event = field(default_factory=trio.Event)

    def __post_init__(self) -> None:
        first, second = self.pair.devices if self.case.first_shows else self.pair.devices[::-1]
        self.devices: dict[Side, DeviceUnderTest] = {"initiator": first, "joiner": second}
        self.victim = self.devices[self.case.victim]

    async def run(self) -> list[str]:
        """Run the case. Return what is wrong."""
        async with trio.open_nursery() as users:
            await self._begin_all(users)
            await self._inject_failure()
            back = await self._end_failure()
            await self._wait_until_over(back)
            if self.case.duration == "ever":
                back = await self._bring_back()
                await self._wait_until_over(back)
            users.cancel_scope.cancel()
        wrong = [
            text
            for attempt in self.attempts
            for text in wrong_ends(self.case, attempt.point, attempt.ends, self._latest(attempt, back))
        ]
        self._count(back)
        return wrong + await self._check_agreement()

    # The pairings

    async def _begin_all(self, users: trio.Nursery) -> None:
        begin = trio.current_time()
        for number, point in enumerate(self.case.points):
            if point.actor != "session":
                await self._wait_until_held(number)  # it holds up everything after it
            self.attempts.append(await self._begin(number, point, users))
        await self._wait_until_held(len(self.case.points))
        self.figures.longest_hold = max(self.figures.longest_hold, trio.current_time() - begin)
        for attempt in self.attempts:
            if early := [end for end in attempt.ends.values() if end.outcome not in ("running", "paired")]:
                raise NotHeldError(f"over before the failure: {early} at {attempt.point}")

    async def _begin(self, number: int, point: FailurePoint, users: trio.Nursery) -> Attempt:
        """Start one pairing that will be held at its failure point, with both its users."""
        attempt = Attempt(point, {side: SideEnd(began=trio.current_time()) for side in SIDES})
        at = [point.event, point.name, point.number]
        if point.actor == "session":
            await self.devices[point.side].send_order(arm=at, actor=None)
        else:
            await self.devices[point.side].send_order(arm=[*at[:2], 1], actor=point.actor)
        initiator, joiner = (self.devices[side].client for side in SIDES)
        showing = await initiator.start_pairing()
        collector.add_code(" ".join(showing.code.words))
        users.start_soon(self._follow_user, "initiator", showing, attempt)
        if point.name == "add_provider":
            await self._wait_until_held(
                number + 1
            )  # otherwise the code would be found before it is announced
        search = SHORT_CODE_LIFETIME_S if self.pair.short else SEARCH_TIMEOUT_S
        joining = await joiner.join_pairing(" ".join(showing.code.words), search)
        users.start_soon(self._follow_user, "joiner", joining, attempt)
        return attempt

    async def _follow_user(self, side: Side, pairing: Pairing, attempt: Attempt) -> None:
        """Follow one side to its end, or until its node is killed."""
        end = attempt.ends[side]
        end.session = pairing.id
        with end.scope:
            try:
                await self._decide(side, pairing, attempt)
                state = await pairing.paired()
                end.outcome, end.fingerprint = "paired", state.fingerprint
            except PairingFailedError as failed:
                end.outcome = failed.outcome
            except (ControlError, NodeGoneError) as error:
                end.outcome = f"client: {error!r}"
            end.ended = trio.current_time()
        self.devices[side].record(f"{pairing.id} {attempt.point}: {end}")
        self.pair.changed.unpark_all()

    async def _decide(self, side: Side, pairing: Pairing, attempt: Attempt) -> None:
        """Accept in the order of the failure point, or after the failure."""
        order = attempt.point.accepting
        await pairing.confirmation()
        attempt.ends[side].shown = trio.current_time()
        if side not in order:
            await self.injected.wait()
        elif order[0] != side:
            await self.devices[side].wait_until_seen(f"session-{pairing.id}", "sends", "DecisionReceived")
        try:
            await pairing.accept()
        except ControlError as error:
            if error.code not in _LATE_ERRORS:
                raise

    async def _wait_until_held(self, number: int) -> None:
        def all_of_them() -> bool:
            return sum(len(device.held) for device in self.pair.devices) >= number

        if not await wait_until(self.pair.changed, all_of_them, _HOLD_TIMEOUT_S):
            raise NotHeldError(f"{number} moments: {[device.held for device in self.pair.devices]}")

    # The failure

    async def _inject_failure(self) -> None:
        self.victim.record(f"STRIKES: {self.case.manner}, {self.case.duration}")
        match self.case.manner:
            case "kill":
                for attempt in self.attempts:
                    end = attempt.ends[self.case.victim]
                    end.outcome, end.ended = "gone", trio.current_time()
                    end.scope.cancel()
                await self.victim.kill()
            case "stop":
                self.victim.stop()
            case "cable":
                await self.victim.host.pull()
        for device in self.pair.devices:
            if self.case.manner != "kill" or device is not self.victim:
                await device.release()
        self.injected.set()

    async def _end_failure(self) -> float:
        """Bring the victim back after ten seconds. Return when it was back."""
        if self.case.duration == "ever":
            return math.inf
        await trio.sleep(SHORT_ABSENCE_S)  # this is the failure, not a wait for anything
        return await self._bring_back()

    async def _bring_back(self) -> float:
        self.victim.record("COMES BACK")
        match self.case.manner:
            case "kill":
                await self.victim.start()
            case "stop":
                self.victim.resume()
            case "cable":
                await self.victim.host.plug()
        return trio.current_time()

    async def _wait_until_over(self, back: float) -> None:
        """Wait until every pairing is over on each side that can report it. A stopped device cannot."""
        absent = self.case.victim if self.case.manner == "stop" and back == math.inf else None

        def over() -> bool:
            return all(
                end.outcome != "running" or side == absent
                for attempt in self.attempts
                for side, end in attempt.ends.items()
            )

        await wait_until(
            self.pair.changed, over, _END_TIMEOUT_S
        )  # a pairing that still runs is checked like all others

    def _latest(self, attempt: Attempt, back: float) -> dict[Side, float]:
        """Return when each side must have ended (docs/protocol.md, "Limits"), or be back to report it."""
        if not self.pair.short:
            return dict.fromkeys(SIDES, back + RECOVERY_S)
        limits, latest = SessionConfig(**SHORT_DEADLINES), {}
        for side, end in attempt.ends.items():
            search = SHORT_CODE_LIFETIME_S + (limits.proof if side == "initiator" else 3 * limits.exchange)
            times = [end.began + search] if end.shown is None else [end.shown + limits.delivery]
            if self.case.manner == "stop" and side == self.case.victim:
                times.append(back)
            latest[side] = max(times)
        return latest

    def _count(self, back: float) -> None:
        counts = self.figures.outcomes.setdefault(
            f"{self.case.transport}, {self.case.victim}, {self.case.manner}, {self.case.duration}", Counter()
        )
        for attempt in self.attempts:
            self.figures.pairings += 1
            counts["/".join(attempt.ends[side].outcome for side in SIDES)] += 1
            if not self.pair.short:
                late = max(end.ended for end in attempt.ends.values()) - back
                self.figures.slowest_back = max(self.figures.slowest_back, late)

    # Afterwards

    async def _check_agreement(self) -> list[str]:
        """Bring both devices into contact. Check that their stores agree and that they can still pair."""
        sessions = [
            (attempt.ends["initiator"].session, attempt.ends["joiner"].session) for attempt in self.attempts
        ]
        initiator, joiner = (self.devices[side] for side in SIDES)
        try:
            with trio.fail_after(_CONTACT_TIMEOUT_S):
                showing = await initiator.client.start_pairing()
                collector.add_code(" ".join(showing.code.words))
                joining = await joiner.client.join_pairing(" ".join(showing.code.words), _CONTACT_TIMEOUT_S)
                await showing.confirmation()
                await joining.confirmation()
        except (trio.TooSlowError, PairingFailedError, ControlError, NodeGoneError) as error:
            return [f"no contact afterwards: {error!r}"]
        met = trio.current_time()
        why: str | None = "unknown"
        with trio.move_on_after(_AGREEMENT_TIMEOUT_S):
            while True:
                why = disagreement(initiator.data, joiner.data, sessions)
                if why is None:
                    break
                await trio.sleep(_POLL_S)  # a database does not report changes
        self.figures.slowest_agreement = max(self.figures.slowest_agreement, trio.current_time() - met)
        wrong = [] if why is None else [f"no agreement: {why}"]
        try:
            with trio.fail_after(_CONTACT_TIMEOUT_S):
                await showing.accept()
                await joining.accept()
                states = [await showing.paired(), await joining.paired()]
        except (trio.TooSlowError, PairingFailedError, ControlError, NodeGoneError) as error:
            return [*wrong, f"no pairing afterwards: {error!r}"]
        if states[0].fingerprint != states[1].fingerprint:
            wrong.append("different fingerprints afterwards")
        if not wrong and (why := disagreement(initiator.data, joiner.data, [(showing.id, joining.id)])):
            wrong.append(f"no agreement after another pairing: {why}")
        return wrong
