"""Random users, networks and kills against the safety properties of the ending (docs/protocol.md, "Ending").

P1  never `paired` against a rejection        P2  never `paired` against nothing stored
Settling: after the vaults' next contact both hold the device, or neither does.
"""

import random

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from spacedrive_node.actors.session import decision, entry_actions
from spacedrive_node.actors.session.state import decision_of
from spacedrive_node.actors.session.step_context import StepContext
from spacedrive_node.messages.actor_configs import SessionConfig
from spacedrive_node.tests.harness.safety_properties import check
from spacedrive_node.tests.harness.session_simulation import Faults, Node, Pair, pair


def wreck(two: Pair, dice: random.Random) -> None:
    """Draw a scenario: who decides what and when, who is killed when, how bad the network is."""
    agreed = dice.random() < 0.5
    for node in two.nodes:
        choice = True if agreed else dice.choice([True, True, True, False, None])
        node.decide_by = lambda _confirmation, choice=choice: choice
        node.decide_delay = dice.choice([0.0, 0.05, 1.0] if agreed else [0.0, 1.0, 20.0, 119.9, 121.0])
        node.rebuild_always = dice.random() < 0.3
        node.crash_at = {step for step in range(1, 60) if dice.random() < 0.1}
        node.swarm_crash_at = {step for step in range(2, 60) if dice.random() < 0.05}
        node.vault.refuse_stores = dice.random() < 0.05
        if dice.random() < 0.2:
            two.simulation.schedule(dice.uniform(0.0, 130.0), node.cancel)
        if dice.random() < 0.3:
            outage(two, node, dice)
        if dice.random() < 0.15:
            two.simulation.schedule(dice.uniform(0.0, 3.0), lambda node=node: give_up(node))


def outage(two: Pair, node: Node, dice: random.Random) -> None:
    """Cut a node off, for a while or for good."""

    def switch(up: bool) -> None:
        node.swarm.up = up
        if not up:
            node.swarm.crash()

    begin = dice.uniform(0.0, 5.0)
    two.simulation.schedule(begin, lambda: switch(False))
    if dice.random() < 0.7:
        two.simulation.schedule(begin + dice.uniform(0.1, 170.0), lambda: switch(True))


def give_up(node: Node) -> None:
    """The supervisor gives the session up: its memory is gone, what the vault holds stays."""
    if not node.ended:
        node.ends.append("crashed")


def explore(seed: int) -> tuple[str | None, str | None]:
    """Run one scenario to its end."""
    dice = random.Random(seed)
    faults = Faults(dice.choice([0, 0.2, 0.5]), dice.choice([0, 0.3, 0.9]), dice.choice([0.01, 0.3, 3.0]))
    two = pair(seed, faults, SessionConfig())
    wreck(two, dice)
    two.begin(timeout=dice.choice([5.0, 60.0]))
    two.run(1000.0)
    check(two)
    return two.outcomes


def sweep() -> set[str | None]:
    return {outcome for seed in range(400) for outcome in explore(seed)}


def test_safety_holds_over_a_fixed_sweep() -> None:
    """Four hundred scenarios, the same every time; among them every way of ending."""
    assert {"paired", "rejected", "expired", "cancelled", "lost_contact", "crashed"} <= sweep()


def test_the_sweep_notices_sending_before_storing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the order of docs/protocol.md broken on purpose, one side is found `paired` with nobody."""

    def store_and_send(context: StepContext) -> None:
        actions["STORING_BEFORE_SEND"](context)
        actions["ACCEPTED"](context)

    actions = dict(entry_actions._ENTRY_ACTIONS)
    monkeypatch.setitem(entry_actions._ENTRY_ACTIONS, "STORING_BEFORE_SEND", store_and_send)
    with pytest.raises(AssertionError):  # P2, or the table forbids what follows
        sweep()


def test_the_sweep_notices_acknowledging_before_storing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Likewise when an acceptance is acknowledged before the vault has answered."""

    def acknowledge_at_once(context: StepContext, request_id: int, _message: object) -> None:
        context.reply(request_id, decision_of(context.session).reply_frame or b"")

    monkeypatch.setattr(decision, "_acknowledge", acknowledge_at_once)
    with pytest.raises(AssertionError, match="P2"):
        sweep()


@pytest.mark.parametrize("seed", range(30))
def test_swarms_killed_every_second_delay_a_pairing_and_nothing_else(seed: int) -> None:
    """Both users accept; both swarms die again and again for half a minute: paired, both, once."""
    dice = random.Random(seed)
    two = pair(seed, Faults(0.2, 0.3, 0.3))
    for node in two.nodes:
        node.decide_delay = dice.uniform(0.0, 5.0)
        node.crash_at = {step for step in range(1, 200) if dice.random() < 0.2}
        for second in range(30):
            two.simulation.schedule(second + dice.random(), node.swarm.crash)
    two.begin()
    two.run(1000.0)
    check(two)
    assert two.outcomes == ("paired", "paired")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(min_value=1000, max_value=2**32))
@example(seed=841188503)  # one side restarted and answered from its store while the other's session lived
def test_safety_holds_in_any_scenario(seed: int) -> None:
    """Further scenarios, chosen by hypothesis."""
    explore(seed)
