"""An actor that hangs, that floods, that says what is of the wrong kind, in whole nodes.

That the tree does to such an actor what docs/architecture.md says is proved in tests/supervisor, and what a
session that has been taken over cannot do in tests/attack. Here a pairing is under way.
"""

import dataclasses
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

import spacedrive_node.node
from spacedrive_node.client.node_client import ControlError, Pairing, PairingFailedError
from spacedrive_node.messages.actor_configs import SessionConfig
from spacedrive_node.tests.harness.faults.end_state_checks import ALLOWED
from spacedrive_node.tests.harness.faults.failure_points import SIDES
from spacedrive_node.tests.harness.faults.fault_injector import DEADLINE, InjectedPair, open_injected_pair
from spacedrive_node.tests.harness.faults.misbehaving_actor import (
    Change,
    MisbehavingActor,
    another_answer,
    flooding,
    forbidden,
    mislabelled,
)
from spacedrive_node.tests.harness.transports import sample

pytestmark = pytest.mark.timeout(600)
ACTORS = ("session", "vault", "swarm", "discovery", "gateway", "metrics")
SUFFERS = {
    "session": {("session", "forbidden step")},
    "vault": {("session", "mailbox full")},
    "swarm": {("session", "flooding another actor")},
    "discovery": {("swarm", "mailbox full")},
    "gateway": set(),
    "metrics": {("metrics", "mailbox full")},
}
"""Who is ended for a flood of each, if anybody. What the gateway and the swarm send too much is refused."""
SHORT_DEADLINES = SessionConfig(proof=3.0, exchange=3.0, deciding=12.0, delivery=15.0)
SEARCH = 10.0


async def on_either_side(
    folder: Path, run: Callable[[InjectedPair, int], Awaitable[None]], **settings: object
) -> None:
    """Run it on two pairs of nodes at once: its victim is once the initiator and once the joiner."""

    async def one(side: int) -> None:
        own = folder / SIDES[side]
        own.mkdir()
        async with open_injected_pair(own, **settings) as pair:
            await run(pair, side)
            pair.hosts[side].alter = lambda _actor, _step: None
            await pair.pair(1 - side)

    async with trio.open_nursery() as nursery:
        for side in (0, 1):
            nursery.start_soon(one, side)


@pytest.mark.parametrize(("actor", "transport"), sample(ACTORS, {"swarm"}), indirect=["transport"])
async def test_an_actor_hangs(tmp_path: Path, actor: str, transport: str) -> None:
    """It stands still (SIGSTOP) while users decide: it is started again, and the pairing completes."""

    async def run(pair: InjectedPair, side: int) -> None:
        host = pair.hosts[side]
        host.inject(actor, signal.SIGSTOP, "DECIDING")
        await pair.pair(side)
        assert host.injected
        await host.wait_for_report(actor, "restarting", "hang")

    await on_either_side(tmp_path, run)


@pytest.mark.parametrize(("actor", "transport"), sample(ACTORS, {"swarm"}), indirect=["transport"])
async def test_an_actor_floods_and_then_says_what_it_may_not(
    tmp_path: Path, actor: str, transport: str
) -> None:
    """Both pairings complete. For the flood nobody but the documented one is ended; the forger is ended."""

    async def run(pair: InjectedPair, side: int) -> None:
        host = pair.hosts[side]
        host.alter = flood = MisbehavingActor(actor, flooding)
        await pair.pair(side)
        assert flood.done
        assert {(kind, event) for kind, event, _ in host.reports if event != "restarting"} <= SUFFERS[actor]
        host.reports.clear()
        host.alter = MisbehavingActor(actor, forbidden)
        await pair.pair(side)
        await host.wait_for_report(actor, "forbidden step", None)
        await host.wait_for_report(actor, "restarting", "exit")

    await on_either_side(tmp_path, run)


@pytest.mark.parametrize(
    ("actor", "change"), [("discovery", mislabelled), ("swarm", mislabelled), ("swarm", another_answer)]
)
async def test_a_wrong_answer_that_is_asked_for_again(tmp_path: Path, actor: str, change: Change) -> None:
    """Who asks others over the network asks again when there is no answer, or a wrong one."""

    async def run(pair: InjectedPair, side: int) -> None:
        misbehaving = pair.hosts[side].alter = MisbehavingActor(actor, change)
        await pair.pair(side)
        assert misbehaving.done

    await on_either_side(tmp_path, run)


@pytest.mark.parametrize(
    ("actor", "change"),
    [
        ("session", mislabelled),
        ("vault", mislabelled),
        ("vault", another_answer),
        ("gateway", mislabelled),
    ],
)
async def test_a_wrong_answer_that_nobody_asks_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, actor: str, change: Change
) -> None:
    """A defect inside the node: the pairing ends, at the latest with its deadlines, and nobody is paired."""
    usual = spacedrive_node.node.session_spec
    monkeypatch.setattr(
        "spacedrive_node.node.session_spec", lambda: dataclasses.replace(usual(), config=SHORT_DEADLINES)
    )

    async def run(pair: InjectedPair, side: int) -> None:
        misbehaving = pair.hosts[side].alter = MisbehavingActor(actor, change)
        with trio.fail_after(DEADLINE):
            pairings = await pair.begin(SEARCH)
            outcomes = [""] * 2
            async with trio.open_nursery() as users:
                for place, pairing in enumerate(pairings):
                    users.start_soon(follow, place, pairing, outcomes)
        assert misbehaving.done
        for place, pairing in enumerate(pairings):
            allowed = ALLOWED[SIDES[place], pairing.state.device is not None] - {"paired"}
            # A vault that does not answer is this node's fault; a user's silence is a rejection to the other.
            more = {"crashed"} if place == side else {"rejected"}
            assert outcomes[place] in allowed | more, outcomes

    await on_either_side(tmp_path, run, code_lifetime=SEARCH)


async def follow(place: int, pairing: Pairing, outcomes: list[str]) -> None:
    try:
        await pairing.confirmation()
        try:
            await pairing.accept()
        except ControlError as error:
            if error.code not in ("internal", "already_decided", "not_deciding"):
                raise  # else the pairing does not answer, or is over: its states say how it goes on
        await pairing.paired()
        outcomes[place] = "paired"
    except PairingFailedError as failed:
        outcomes[place] = failed.outcome
