"""One pair of devices, and one of them vanishing at chosen messages of their pairings."""

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import trio

from spacedrive_node.client.node_client import ControlError, NodeGoneError, Pairing, PairingFailedError
from spacedrive_node.messages.actor_configs import SessionConfig
from spacedrive_node.tests.harness.faults.cable_network import Network
from spacedrive_node.tests.harness.faults.device_pair import SHORT, SHORT_CODE, Pair, pair_of_seats
from spacedrive_node.tests.harness.faults.device_under_test import NotStartedError, Seat
from spacedrive_node.tests.harness.faults.end_state_checks import End, disagreement, judge
from spacedrive_node.tests.harness.faults.failure_points import SIDES, Case, Moment, Side
from spacedrive_node.tests.harness.faults.waiting import until
from spacedrive_node.tests.harness.secret_sweep import collector

TEN = 10.0
AGAIN = 45.0
"""Seconds in which a pairing must be complete once the other side is back."""
SEARCH = 60.0
_HELD = 40.0
_OVER = 150.0
_CONTACT = 60.0
_AGREE = 30.0
_WHOLE = 400.0
_POLL = 0.05
_TOO_LATE = ("already_decided", "not_deciding", "no_such_session", "internal")
"""What the gateway of a node that stood still may say to an acceptance; the states say how it goes on."""


class NotHeldError(Exception):
    """A pairing did not come to its moment, or not in time: this is the test's own failure."""


@dataclass
class Attempt:
    """One pairing: where it is held, and how it ends on both sides."""

    moment: Moment
    ends: dict[Side, End]


@dataclass
class Figures:
    cases: int = 0
    pairings: int = 0
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    """By victim, manner and length: outcome of the initiator / outcome of the joiner."""
    slowest_back: float = 0.0
    slowest_agreement: float = 0.0
    longest_hold: float = 0.0
    failures: list[str] = field(default_factory=list)


async def run_case(
    case: Case, folder: Path, network: Network, nursery: trio.Nursery, figures: Figures
) -> str:
    """Run one case on a fresh pair of devices; return what is wrong, and how it came to be."""
    # Sessions that would lose their other side for good are to reach their deadlines soon.
    short = case.long == "ever" or case.how == "kill"
    wrong, story = [], []
    try:
        with trio.fail_after(_WHOLE):
            async with pair_of_seats(folder, network, nursery, wrong, short=short) as pair:
                vanishing = Vanishing(pair, case, figures)
                try:
                    wrong += await vanishing.run()
                finally:
                    story = sorted(line for seat in pair.seats for line in seat.story)
    except* (NotHeldError, NotStartedError, NodeGoneError, ControlError, trio.TooSlowError) as group:
        wrong += [repr(error) for error in group.exceptions]
    figures.cases += 1
    if not wrong:
        return ""
    figures.failures.append(str(case))
    return "\n".join([str(case), *wrong, *(f"{at:10.3f} {what}" for at, what in story)])


@dataclass
class Vanishing:
    """One case on one pair of devices."""

    pair: Pair
    case: Case
    figures: Figures
    attempts: list[Attempt] = field(default_factory=list)
    struck: trio.Event = field(default_factory=trio.Event)

    def __post_init__(self) -> None:
        first, second = self.pair.seats if self.case.first_shows else self.pair.seats[::-1]
        self.seats: dict[Side, Seat] = {"initiator": first, "joiner": second}
        self.victim = self.seats[self.case.victim]

    async def run(self) -> list[str]:
        """Return what is wrong."""
        async with trio.open_nursery() as users:
            await self._begin_all(users)
            await self._strike()
            back = await self._undo()
            await self._over(back)
            if self.case.long == "ever":
                back = await self._come_back()
                await self._over(back)
            users.cancel_scope.cancel()
        wrong = [
            text
            for attempt in self.attempts
            for text in judge(self.case, attempt.moment, attempt.ends, self._latest(attempt, back))
        ]
        self._count(back)
        return wrong + await self._agreement()

    # the pairings

    async def _begin_all(self, users: trio.Nursery) -> None:
        begin = trio.current_time()
        for number, moment in enumerate(self.case.moments):
            if moment.actor != "session":
                await self._held(number)  # it holds up all that comes after it
            self.attempts.append(await self._begin(number, moment, users))
        await self._held(len(self.case.moments))
        self.figures.longest_hold = max(self.figures.longest_hold, trio.current_time() - begin)
        for attempt in self.attempts:
            if early := [end for end in attempt.ends.values() if end.outcome not in ("running", "paired")]:
                raise NotHeldError(f"over before the failure: {early} at {attempt.moment}")

    async def _begin(self, number: int, moment: Moment, users: trio.Nursery) -> Attempt:
        """Start one pairing that will be held at its moment; both users are there."""
        attempt = Attempt(moment, {side: End(began=trio.current_time()) for side in SIDES})
        at = [moment.event, moment.name, moment.number]
        if moment.actor == "session":
            await self.seats[moment.side].order(arm=at, actor=None)
        else:
            await self.seats[moment.side].order(arm=[*at[:2], 1], actor=moment.actor)
        initiator, joiner = (self.seats[side].client for side in SIDES)
        showing = await initiator.start_pairing()
        collector.add_code(" ".join(showing.code.words))
        users.start_soon(self._user, "initiator", showing, attempt)
        if moment.name == "add_provider":
            await self._held(number + 1)  # or the code is found, and claimed, before it has been announced
        search = SHORT_CODE if self.pair.short else SEARCH
        joining = await joiner.join_pairing(" ".join(showing.code.words), search)
        users.start_soon(self._user, "joiner", joining, attempt)
        return attempt

    async def _user(self, side: Side, pairing: Pairing, attempt: Attempt) -> None:
        """Follow one side to its end, as long as its node is there."""
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
        self.seats[side].note(f"{pairing.id} {attempt.moment}: {end}")
        self.pair.changed.unpark_all()

    async def _decide(self, side: Side, pairing: Pairing, attempt: Attempt) -> None:
        """Accept in the order that the moment asks for, or once the failure has struck."""
        order = attempt.moment.accepting
        await pairing.confirmation()
        attempt.ends[side].shown = trio.current_time()
        if side not in order:
            await self.struck.wait()
        elif order[0] != side:
            await self.seats[side].until_seen(f"session-{pairing.id}", "sends", "DecisionReceived")
        try:
            await pairing.accept()
        except ControlError as error:
            if error.code not in _TOO_LATE:
                raise

    async def _held(self, number: int) -> None:
        def all_of_them() -> bool:
            return sum(len(seat.held) for seat in self.pair.seats) >= number

        if not await until(self.pair.changed, all_of_them, _HELD):
            raise NotHeldError(f"{number} moments: {[seat.held for seat in self.pair.seats]}")

    # the failure

    async def _strike(self) -> None:
        self.victim.note(f"STRIKES: {self.case.how}, {self.case.long}")
        match self.case.how:
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
        for seat in self.pair.seats:
            if self.case.how != "kill" or seat is not self.victim:
                await seat.release()
        self.struck.set()

    async def _undo(self) -> float:
        """After ten seconds all is as before; returns when."""
        if self.case.long == "ever":
            return math.inf
        await trio.sleep(TEN)  # this is the failure, not a wait for anything
        return await self._come_back()

    async def _come_back(self) -> float:
        self.victim.note("COMES BACK")
        match self.case.how:
            case "kill":
                await self.victim.start()
            case "stop":
                self.victim.resume()
            case "cable":
                await self.victim.host.plug()
        return trio.current_time()

    async def _over(self, back: float) -> None:
        """Wait until every pairing is over on each side that can know: one that stands still cannot."""
        absent = self.case.victim if self.case.how == "stop" and back == math.inf else None

        def over() -> bool:
            return all(
                end.outcome != "running" or side == absent
                for attempt in self.attempts
                for side, end in attempt.ends.items()
            )

        await until(self.pair.changed, over, _OVER)  # what still runs then is judged like every other end

    def _latest(self, attempt: Attempt, back: float) -> dict[Side, float]:
        """When each side has to have ended (docs/protocol.md, "Limits"), or is back and can say so."""
        if not self.pair.short:
            return dict.fromkeys(SIDES, back + AGAIN)
        limits, latest = SessionConfig(**SHORT), {}
        for side, end in attempt.ends.items():
            search = SHORT_CODE + (limits.proof if side == "initiator" else 3 * limits.exchange)
            times = [end.began + search] if end.shown is None else [end.shown + limits.delivery]
            if self.case.how == "stop" and side == self.case.victim:
                times.append(back)
            latest[side] = max(times)
        return latest

    def _count(self, back: float) -> None:
        counts = self.figures.outcomes.setdefault(
            f"{self.case.victim}, {self.case.how}, {self.case.long}", Counter()
        )
        for attempt in self.attempts:
            self.figures.pairings += 1
            counts["/".join(attempt.ends[side].outcome for side in SIDES)] += 1
            if not self.pair.short:
                late = max(end.ended for end in attempt.ends.values()) - back
                self.figures.slowest_back = max(self.figures.slowest_back, late)

    # what has to hold afterwards

    async def _agreement(self) -> list[str]:
        """Have the two devices meet, see that they agree, and that they can still pair."""
        sessions = [
            (attempt.ends["initiator"].session, attempt.ends["joiner"].session) for attempt in self.attempts
        ]
        initiator, joiner = (self.seats[side] for side in SIDES)
        try:
            with trio.fail_after(_CONTACT):
                showing = await initiator.client.start_pairing()
                collector.add_code(" ".join(showing.code.words))
                joining = await joiner.client.join_pairing(" ".join(showing.code.words), _CONTACT)
                await showing.confirmation()
                await joining.confirmation()
        except (trio.TooSlowError, PairingFailedError, ControlError, NodeGoneError) as error:
            return [f"no contact afterwards: {error!r}"]
        met = trio.current_time()
        why: str | None = "unknown"
        with trio.move_on_after(_AGREE):
            while True:
                why = disagreement(initiator.data, joiner.data, sessions)
                if why is None:
                    break
                await trio.sleep(_POLL)  # a database tells nobody that it has changed
        self.figures.slowest_agreement = max(self.figures.slowest_agreement, trio.current_time() - met)
        wrong = [] if why is None else [f"no agreement: {why}"]
        try:
            with trio.fail_after(_CONTACT):
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
