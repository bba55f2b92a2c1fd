"""Singletons get other specifications while the supervisor runs: all of them, or none; exactly once."""

import os
import signal
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from spacedrive_node.messages import to_gateway, to_session, to_supervisor
from spacedrive_node.messages.to_gateway import Reloaded, ReloadReport
from spacedrive_node.supervisor import reconfiguration
from spacedrive_node.supervisor.reconfiguration import SwitchFailedError, changes_between
from spacedrive_node.supervisor.reload_desk import MAX_WAITING_JOBS, ReloadDesk
from spacedrive_node.tests.harness.tiny_actors import TinyConfig
from spacedrive_node.tests.harness.tiny_node import DEADLINE, node, session_name, spec

WORKING = spec("swarm", "late_fatal", TinyConfig("other"))
"""As a second process it works, and says so."""
TRIAL_S = 2.0
"""What works gets ready in it; what is never ready costs it."""


class Plans:
    """What the next reload changes: the specifications of these kinds; a kind that is "-" goes."""

    def __init__(self):
        self.desk = ReloadDesk()
        self.desk.carry_out = self.carry_out
        self.next = {}
        self.begun = 0
        self.tree = None

    async def carry_out(self, tree, check, progress):
        self.begun, self.tree = self.begun + 1, tree
        former = {one.kind: one for one in tree.specs}
        wanted = [one for one in (former | self.next).values() if one != "-"]
        changes = changes_between(tree.specs, wanted)
        try:
            await tree.switch(wanted, changes, progress)
        except SwitchFailedError as error:
            return ReloadReport("undone", actors=changes.actors, reasons=(str(error),))
        return ReloadReport("applied", actors=changes.actors)


@asynccontextmanager
async def reloadable():
    plans = Plans()
    async with node(reloads=plans.desk) as gateway:

        async def reload(number=1, **specs):
            plans.next = specs
            while True:
                await gateway.send(to_supervisor.Reload(number), to="supervisor")
                report = (await gateway.next(Reloaded)).report
                if report.state != "running":
                    return report

        yield gateway, plans, reload


async def test_another_entry_takes_the_place_of_one():
    async with reloadable() as (gateway, _, reload):
        before = await gateway.actors()
        assert await reload(swarm=WORKING) == ReloadReport("applied", actors=("swarm",))
        after = await gateway.actors()
        assert [name for name in before if after[name].pid != before[name].pid] == ["swarm"]
        assert after["swarm"].restarts == 0
        assert [line[3]["cause"] for line in gateway.logs if line[2] == "restarting"] == ["reload"]
        assert await reload(2) == ReloadReport("applied")


async def test_a_stepping_actor_that_changes_loses_no_input():
    """Its checkpoint and its inbox are those of the actor, whatever runs it."""
    async with reloadable() as (gateway, _, reload):
        await gateway.open_session()
        for number in range(1, 6):
            await gateway.send(to_session.Decide(True))
            other = spec("vault", "signer", TinyConfig(f"{number}"), stepping=True)
            assert (await reload(number, vault=other)).state == "applied"
        await gateway.send(to_session.Decide(True))
        view = await gateway.view(message="signed 6")
        assert view.started == 6


@pytest.mark.parametrize("failure", ["fatal", "crash", "never ready", "no step"])
async def test_one_that_does_not_get_to_work_brings_all_back(monkeypatch, failure):
    """What was replaced before it, what has come; and it is no failure of the node."""
    monkeypatch.setattr(reconfiguration, "TRIAL_TIMEOUT_S", TRIAL_S)
    broken = {
        "fatal": spec("swarm", "quiet_swarm", TinyConfig(fail="fatal")),
        "crash": spec("swarm", "nowhere"),
        "never ready": spec("swarm", "sleeper"),
        "no step": spec("swarm", "quiet_swarm", TinyConfig("/dev/null")),
    }[failure]
    async with reloadable() as (gateway, plans, reload):
        await reload()
        former = list(plans.tree.specs)
        report = await reload(
            2,
            swarm=broken,
            lan=spec("lan", "meter", stepping=True),
            vault=spec("vault", "signer", TinyConfig("/dev/null"), stepping=True),
        )
        assert report.state == "undone"
        assert report.reasons[0].startswith("swarm: ")
        if failure == "fatal":
            assert report.reasons == ("swarm: port 1 is not yours",)
        assert plans.tree.specs == former
        assert {name: child.spec for name, child in plans.tree.children.items()} == {
            one.kind: one for one in former
        }
        await gateway.open_session()
        await gateway.send(to_session.Decide(True))
        await gateway.view(message="signed 1")
        assert gateway.failure is None


async def test_those_that_work_already_go_back_too(monkeypatch):
    monkeypatch.setattr(reconfiguration, "TRIAL_TIMEOUT_S", TRIAL_S)
    async with reloadable() as (gateway, plans, reload):
        before = await gateway.pid("swarm")
        report = await reload(swarm=WORKING, vault=spec("vault", "nowhere", stepping=True))
        assert report.actors == ("swarm", "vault")
        assert report.reasons == ("vault: it ended at its start (exit)",)
        assert plans.tree.children["swarm"].spec.entry.endswith(":quiet_swarm")
        assert await gateway.pid("swarm") != before
        await gateway.open_session()


async def test_one_that_goes_leaves_no_message_behind():
    """What others had been told by it, and what was kept for it."""
    readiness = to_gateway.Readiness("swarm", ready=True)
    async with reloadable() as (gateway, plans, reload):
        await reload(swarm=WORKING)
        assert readiness in [message for _, message in gateway.seen]
        await gateway.open_session()  # it has the session's Serve
        assert (await reload(2, swarm="-")).actors == ("swarm",)
        assert [one.kind for one in plans.tree.specs] == ["vault", "gateway"]
        os.kill(await gateway.pid("gateway"), signal.SIGKILL)
        while await gateway.next() is not None:
            pass
        gateway.seen.clear()
        assert "swarm" not in await gateway.actors()
        assert readiness not in [message for _, message in gateway.seen]
        await gateway.send(to_session.Decide(True), to=session_name())
        await gateway.view(message="signed 1")


async def test_the_fork_server_is_lost_during_a_trial(monkeypatch):
    """That is no fault of the new settings: they are tried on."""
    async with reloadable() as (gateway, plans, _):
        victim = await gateway.pid("zygote")
        async with trio.open_nursery() as nursery:
            killed = trio.Event()

            async def kill():
                while plans.begun < 1:
                    await trio.lowlevel.checkpoint()
                os.kill(victim, signal.SIGKILL)
                killed.set()

            nursery.start_soon(kill)
            plans.next = {"swarm": WORKING}
            plans.desk.ask_by_signal()
            await killed.wait()
            with trio.fail_after(DEADLINE):
                while plans.tree is None or plans.tree.children["swarm"].trial is not None:
                    await trio.lowlevel.checkpoint()
        assert plans.tree.children["swarm"].spec == WORKING
        await gateway.open_session()


async def test_a_repeat_has_no_effect_and_the_same_answer():
    async with reloadable() as (_, plans, reload):
        first = await reload(7, swarm=WORKING)
        assert await reload(7, vault="-") == first
        assert plans.begun == 1


async def test_signals_during_a_reload_have_one_more_follow(autojump_clock):
    desk, running, begun = ReloadDesk(), trio.Event(), 0

    async def carry_out(tree, check, progress):
        nonlocal begun
        begun += 1
        await running.wait()
        return ReloadReport("unchanged")

    desk.carry_out = carry_out
    changes = []
    desk.on_change = changes.append
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.run, None, None, lambda effects: None)
        desk.ask_by_signal()
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(3):
            desk.ask_by_signal()
        running.set()
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert begun == 2
    assert changes == [True, False, True, False]


class Answers:
    """In place of the ledger: keeps what is posted."""

    def __init__(self):
        self.posted = []
        self._arrived = trio.lowlevel.ParkingLot()

    def post(self, to, message):
        self.posted.append(message.report.state)
        self._arrived.unpark_all()
        return []

    async def next(self):
        await self._arrived.park()
        return self.posted[-1]


async def test_a_request_is_answered_within_a_second(autojump_clock):
    """With `running`, while it lasts; those beyond the queue with a refusal, at once."""
    desk, ledger = ReloadDesk(), Answers()

    async def carry_out(tree, check, progress):
        await trio.sleep(2.5)
        return ReloadReport("applied")

    desk.carry_out = carry_out
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.run, None, ledger, lambda effects: None)
        began, state = trio.current_time(), "running"
        while state == "running":
            assert desk.ask("gateway", to_supervisor.Reload(1), ledger) == []
            state = await ledger.next()
        assert ledger.posted == ["running", "running", "applied"]
        assert trio.current_time() - began == pytest.approx(2.5)
        for number in range(2, MAX_WAITING_JOBS + 4):
            desk.ask("gateway", to_supervisor.Reload(number), ledger)
        assert ledger.posted[3:] == ["refused"] * 2
        nursery.cancel_scope.cancel()
