"""Every outcome that a session itself can have, seen from both sides, with a sentence for people."""

import math

import pytest

from spacedrive_node.messages.actor_configs import SessionConfig
from spacedrive_node.messages.to_session import PeerRequest, StartPairing
from spacedrive_node.messages.to_vault import SignIdentity
from spacedrive_node.tests.harness.session_simulation import Faults, Pair, pair, settle


@pytest.mark.parametrize("delays", [(0.0, 5.0), (5.0, 0.0), (1.0, 1.0)])
def test_decisions_in_both_orders(delays: tuple[float, float]) -> None:
    """Whoever decides first, and when both decide at once: paired, and stored before anything was said."""
    two = pair()
    for node, delay in zip(two.nodes, delays, strict=True):
        node.decide_delay = delay
    two.begin()
    two.run()
    assert two.outcomes == ("paired", "paired")
    assert two.stored() == ("paired", "paired")


@pytest.mark.parametrize(
    "accept", [(True, False), (False, True), (False, False), (False, None), (None, False)]
)
@pytest.mark.parametrize("delays", [(0.0, 5.0), (5.0, 0.0)])
def test_one_rejection_is_rejected_on_both_sides(
    accept: tuple[bool, bool], delays: tuple[float, float]
) -> None:
    """A rejection from either side reaches the other, whatever it decided, and nothing is stored."""
    two = pair(accept=accept)
    for node, delay in zip(two.nodes, delays, strict=True):
        node.decide_delay = delay
    two.begin()
    two.run()
    assert two.outcomes == ("rejected", "rejected")
    assert two.stored() == (None, None)
    assert all(node.view.message for node in two.nodes)


@pytest.mark.parametrize("side", [0, 1])
def test_cancel_before_deciding_is_a_rejection_to_the_other(side: int) -> None:
    """Cancelling a claimed pairing is `cancelled` here and `rejected` there."""
    two = pair(accept=(None, None))
    two.begin()
    two.simulation.run(lambda: all(node.asked for node in two.nodes))
    two.nodes[side].cancel()
    two.run()
    assert two.nodes[side].outcome == "cancelled"
    assert two.nodes[1 - side].outcome == "rejected"


def test_cancel_after_accepting_is_ignored() -> None:
    """A decision is final."""
    two = pair(accept=(True, None))
    two.begin()
    two.simulation.run(lambda: two.initiator.decision is not None and two.joiner.asked)
    two.initiator.cancel()
    two.joiner.decide(True)
    two.run()
    assert two.outcomes == ("paired", "paired")


def test_cancel_before_anything_is_claimed() -> None:
    """Both sides may give up alone."""
    two = pair()
    code = two.initiator.start()
    two.joiner.join(code)
    two.initiator.cancel()
    two.joiner.cancel()
    assert two.outcomes == ("cancelled", "cancelled")


def test_cancel_while_the_code_is_being_claimed_still_tells_the_other() -> None:
    """The joiner gives up after its identity has left: the initiator hears of it, and need not wait."""
    two = pair(accept=(None, None))
    two.begin()
    two.simulation.run(lambda: two.joiner.machine.session.phase == "RESPONDING")
    two.joiner.cancel()
    two.run()
    assert two.outcomes == ("rejected", "cancelled")


def test_code_expires_when_nobody_comes() -> None:
    """`expired` at the end of the code's life, to the second."""
    two = pair()
    two.initiator.start(lifetime=60.0)
    started = two.simulation.now
    two.simulation.run(lambda: two.initiator.ended)
    assert two.initiator.outcome == "expired"
    assert two.simulation.now == started + 60.0


def test_an_attempt_begun_in_time_outlives_the_code() -> None:
    """PairingRequest must arrive before the code expires; what follows has its own limits."""
    two = pair()
    two.joiner.vault.silent = True
    two.begin(lifetime=2.0)
    two.simulation.run(lambda: two.joiner.machine.session.phase == "SIGNING")
    two.simulation.run(lambda: False, limit=2.5)
    assert not two.initiator.ended
    two.joiner.vault.silent = False
    session = two.joiner.machine.session
    proven = session.proven_candidate
    th1 = proven.crypto.verify_challenge(proven.challenge_frame)
    two.joiner.vault.take(SignIdentity(proven.vault_request_id, "joiner", th1, proven.crypto.nonce))
    two.run()
    assert two.outcomes == ("paired", "paired")


def test_nobody_found() -> None:
    """No candidate at all: `not_found` at the deadline."""
    two = pair()
    two.joiner.join(bytes(16), timeout=30.0)
    two.run(60.0)
    assert two.joiner.outcome == "not_found"


@pytest.mark.parametrize(("finders", "outcome"), [(("hint",), "wrong_code"), (("dht",), "not_found")])
def test_wrong_code(finders: tuple[str, ...], outcome: str) -> None:
    """Other words lead to `wrong_code` only where a hint led to a device; and nobody learns who asked."""
    two = pair()
    two.initiator.start()
    two.joiner.join(bytes(16), timeout=30.0)
    two.joiner.find(two.initiator, finders)
    two.simulation.run(lambda: two.joiner.ended)
    assert two.joiner.outcome == outcome
    assert {kind for kind, _frame in two.joiner.swarm.seen} == {"PairingRequest"}
    assert not two.initiator.machine.session.inbound_attempts


def test_second_joiner_is_too_late() -> None:
    """Once claimed, the code is closed to others: they end as `expired`, the first is not disturbed."""
    two = pair(accept=(None, None))
    two.begin()
    two.simulation.run(lambda: all(node.asked for node in two.nodes))
    late = two.simulation.node("late")
    late.join(two.joiner_code, timeout=20.0)
    late.find(two.initiator)
    two.simulation.run(lambda: late.ended)
    assert late.outcome == "expired"
    assert two.initiator.refused["closed"] >= 1
    for node in two.nodes:
        node.decide(True)
    two.run()
    assert two.outcomes == ("paired", "paired")


@pytest.mark.parametrize("accept", [(True, None), (None, True), (None, None)])
def test_a_user_who_never_decides(accept: tuple[bool | None, bool | None]) -> None:
    """Not deciding in 120 s is `expired` here, and a rejection for the other side."""
    two = pair(accept=accept)
    two.begin()
    two.run()
    for own, outcome in zip(accept, two.outcomes, strict=True):
        assert outcome == ("rejected" if own else "expired") or (
            accept == (None, None) and outcome == "rejected"
        )
    assert "expired" in two.outcomes
    assert two.stored() == (None, None)


@pytest.mark.parametrize("side", [0, 1])
def test_contact_lost_while_deciding(side: int) -> None:
    """The other vanishes for good: `lost_contact` at the delivery deadline, nothing `paired`."""
    two = pair(accept=(None, None))
    two.begin()
    two.simulation.run(lambda: all(node.asked for node in two.nodes))
    two.nodes[1 - side].swarm.up = False
    started = two.simulation.now
    two.nodes[side].decide(True)
    two.simulation.run(lambda: two.nodes[side].ended)
    assert two.nodes[side].outcome == "lost_contact"
    assert 170.0 < two.simulation.now - started <= 180.0
    assert "paired" not in two.stored()


def test_rejection_is_shown_soon_even_when_it_cannot_be_delivered() -> None:
    """Users hear of their own rejection after one exchange; its delivery goes on behind it."""
    two = pair(accept=(None, None))
    two.begin()
    two.simulation.run(lambda: all(node.asked for node in two.nodes))
    two.initiator.swarm.up = False
    two.joiner.decide(False)
    two.simulation.run(lambda: two.joiner.view.outcome is not None, limit=11.0)
    assert two.joiner.view.outcome == "rejected"
    assert not two.joiner.ended
    two.initiator.swarm.up = True
    two.run()
    assert two.outcomes == ("rejected", "rejected")


def test_joiner_loses_a_proven_device() -> None:
    """A device that proved itself and then vanished is `lost_contact`, not `not_found`."""
    two = pair()
    two.begin(timeout=20.0)
    two.simulation.run(lambda: two.joiner.machine.session.phase == "SIGNING")
    two.initiator.swarm.up = False
    two.simulation.run(lambda: two.joiner.ended)
    assert two.joiner.outcome == "lost_contact"


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("first", [True, False])
def test_a_vault_that_refuses_leaves_nobody_paired(side: int, first: bool) -> None:
    """What cannot be stored is not acknowledged: neither side is ever `paired`, whoever accepted first."""
    two = pair()
    two.nodes[side].vault.refuse_stores = True
    two.nodes[side].decide_delay, two.nodes[1 - side].decide_delay = (0.0, 3.0) if first else (3.0, 0.0)
    two.begin()
    two.run()
    assert two.nodes[side].outcome == "crashed"
    assert "not accepted" in two.nodes[side].view.message
    assert two.nodes[1 - side].outcome in ("rejected", "lost_contact")
    settle(two.initiator, two.joiner)
    assert two.stored() == (None, None)


def test_stages_only_go_forward_and_the_code_is_shown_until_it_is_claimed() -> None:
    """What users see: monotonic stages, the code while it can be used, one outcome, in the last view."""
    two = pair(3, Faults(loss=0.3, duplicate=0.3, delay=0.3))
    two.begin()
    two.run()
    order = ["waiting", "searching", "connecting", "proving", "deciding", "storing"]
    for node in two.nodes:
        stages = [order.index(view.stage) for view in node.views]
        assert stages == sorted(stages)
        assert [view.outcome for view in node.views if view.outcome] == ["paired"]
        assert node.views[-1].outcome == "paired"
        assert len(set(map(repr, node.views))) == len(node.views)
    shown = [view.code is not None for view in two.initiator.views]
    assert shown == [view.stage == "waiting" for view in two.initiator.views]
    assert all(view.code is None for view in two.joiner.views)


def test_discovery_is_told_to_stop() -> None:
    """Announcing ends with the claim, searching with the proof."""
    two = pair(accept=(None, None))
    two.begin()
    two.simulation.run(lambda: all(node.asked for node in two.nodes))
    assert two.initiator.withdrawn == ["StopProviding"]
    assert two.joiner.withdrawn == ["StopFinding"]


@pytest.mark.parametrize("restarts", [False, True])
def test_metrics_count_every_session_once(restarts: bool) -> None:
    """Counts leave in the last step alone, so however often a session restarts nothing is counted twice."""
    two = pair()
    for node in two.nodes:
        node.rebuild_always = restarts
        node.crash_at = set(range(1, 1000)) if restarts else set()
    two.begin()
    two.run()
    for node, role in zip(two.nodes, ("initiator", "joiner"), strict=True):
        first, last = node.observed
        assert [(s.name, s.value) for s in first.samples] == [("pairing_sessions_active", 1)]
        assert not first.distributions
        values = {(s.name, s.labels): s.value for s in last.samples}
        assert values["pairing_sessions_active", (role,)] == 0
        assert values["pairing_sessions_total", (role, "paired")] == 1
        durations = [d for d in last.distributions if d.name == "pairing_duration_seconds"]
        assert [sum(d.counts) for d in durations] == [1]
        stages = [d for d in last.distributions if d.name == "pairing_stage_seconds"]
        assert sum(d.total for d in stages) == pytest.approx(durations[0].total)


def test_secrets_do_not_show() -> None:
    """Neither machine nor state prints what it holds."""
    two: Pair = pair(accept=(None, None))
    two.begin()
    code = two.joiner_code
    for node in two.nodes:
        assert code.hex() not in repr(node.machine.session)
        assert repr(code) not in repr(node.machine.session) + repr(node.machine)


def test_repeated_start_changes_nothing() -> None:
    """A second StartPairing for the same session is the first one repeated."""
    two = pair()
    code = two.initiator.start()
    two.initiator.deliver(
        "gateway", StartPairing("0123456789abcdef", 60.0, two.initiator.peer, two.initiator.vault.public_key)
    )
    assert two.initiator.view.code == code
    assert len(two.initiator.views) == 1


def test_undecodable_frames_are_nobodys_business() -> None:
    """A frame that is none makes no answer, no state and no crash."""
    two = pair()
    two.initiator.start()
    two.initiator.deliver("swarm", PeerRequest(1, two.joiner.peer, b"\xff", "direct"))
    assert not two.initiator.machine.session.inbound_attempts


def test_path_and_seconds() -> None:
    """Seconds run from the first frame for the initiator, for the joiner from the start of its search."""
    two = pair(config=SessionConfig())
    code = two.initiator.start()
    two.simulation.run(lambda: False, limit=20.0)
    two.joiner.join(code)
    two.simulation.run(lambda: False, limit=5.0)
    two.joiner.find(two.initiator)
    two.run()
    assert two.initiator.view.path == two.joiner.view.path == "direct"
    assert 0 < two.initiator.view.seconds < 2
    assert 5 < two.joiner.view.seconds < 7


@pytest.mark.parametrize(
    ("gone_for", "least", "most"), [(0.0, 1.5, 2.0), (2.0, 3.5, 5.0), (math.inf, 29.0, 30.1)]
)
def test_a_paired_joiner_stays_in_time_wait_unseen(gone_for: float, least: float, most: float) -> None:
    """`paired` is shown at once; the session stays one answer long, two if a frame was lost, or 30 s."""
    two = pair()
    two.begin()
    two.simulation.run(lambda: two.joiner.view.outcome == "paired")
    shown = two.simulation.now
    two.simulation.run(lambda: two.initiator.ended)
    if gone_for:
        two.initiator.swarm.up = False
        two.simulation.run(lambda: two.simulation.now >= shown + gone_for or two.joiner.ended)
        two.initiator.swarm.up = True
    two.run()
    assert two.outcomes == ("paired", "paired")
    assert least <= two.simulation.now - shown < most
    assert two.joiner.view.seconds < 2


@pytest.mark.parametrize("delays", [(0.0, 5.0), (5.0, 0.0)])
@pytest.mark.parametrize("side", [0, 1])
def test_a_vault_that_is_slower_than_its_session_stores_nothing(
    side: int, delays: tuple[float, float]
) -> None:
    """The session has ended by then, and its peer may have been told so; nobody is left paired alone."""
    two = pair()
    for node, delay in zip(two.nodes, delays, strict=True):
        node.decide_delay = delay
    two.begin()
    two.simulation.run(lambda: two.nodes[side].asked)
    slow = two.nodes[side].vault
    slow.held = []
    two.run()
    assert [type(message).__name__ for message in slow.held] == ["StoreDevice"]
    slow.release()
    settle(*two.nodes)
    assert two.stored() == (None, None)


@pytest.mark.parametrize("delays", [(0.0, 5.0), (5.0, 0.0)])
@pytest.mark.parametrize("side", [0, 1])
def test_a_session_waits_for_a_vault_that_refuses_as_too_late(side: int, delays: tuple[float, float]) -> None:
    """The request says after which time it is not stored; the answer comes before the session's end."""
    two = pair()
    for node, delay in zip(two.nodes, delays, strict=True):
        node.decide_delay = delay
    two.begin()
    two.simulation.run(lambda: two.nodes[side].asked)
    slow = two.nodes[side].vault
    slow.held = []
    two.simulation.run(lambda: bool(slow.held))
    (message,) = slow.held
    two.simulation.schedule(message.deadline - two.simulation.now, slow.release)
    two.run()
    assert two.nodes[side].outcome == "crashed"
    assert "too long" in two.nodes[side].view.message
    settle(*two.nodes)
    assert two.stored() == (None, None)


@pytest.mark.parametrize("side", [0, 1])
def test_a_vault_that_cannot_complete_leaves_the_rest_to_settling(side: int) -> None:
    """Its session ends at once and says so; the other side is paired, and at the next contact both are."""
    two = pair()
    two.nodes[side].vault.full = True
    two.nodes[side].decide_delay = 5.0  # the other user first: this side has to confirm
    two.begin()
    two.run(limit=60.0)
    assert two.nodes[side].outcome == "lost_contact"
    assert "Make room" in two.nodes[side].view.message
    assert two.nodes[1 - side].outcome == "paired"
    settle(*two.nodes)
    assert two.stored() == ("paired", "paired")


FORGOTTEN_IN = [
    *((0, phase) for phase in ("SIGNING", "CONFIRMING")),
    *((1, phase) for phase in ("RESPONDING", "CONFIRMING", "TIME_WAIT")),
    *(
        (side, phase)
        for side in (0, 1)
        for phase in (
            "DECIDING", "PEER_ACCEPTED", "ACCEPTED", "STORING_BEFORE_SEND", "STORING_AFTER_SEND",
            "AWAITING_ACK", "REJECTING",
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize(("side", "phase"), FORGOTTEN_IN)
@pytest.mark.parametrize("seed", range(5))
def test_forgetting_ends_the_pairing_under_way(side: int, phase: str, seed: int) -> None:
    """Whatever the session does: nothing stays of the device here, and the other side does not wait.

    It hears a rejection if nothing else was said, and `closed` otherwise; it stores nothing for good, unless
    it was paired already, which nobody can take back.
    """
    two = pair(seed, accept=(phase != "REJECTING", phase != "REJECTING"))
    forgetful, other = two.nodes[side], two.nodes[1 - side]
    late = phase in ("PEER_ACCEPTED", "STORING_BEFORE_SEND", "AWAITING_ACK", "CONFIRMING")
    forgetful.decide_delay, other.decide_delay = (5.0, 0.0) if late else (0.0, 5.0)
    two.begin()

    def reached() -> bool:
        session = forgetful.machine.session
        return session is not None and session.phase == phase

    two.simulation.run(reached)
    assert reached()
    forgetful.vault.forget(other)
    two.run(20.0)
    assert forgetful.ended
    assert other.ended
    expected = {"TIME_WAIT": "paired", "REJECTING": "rejected"}.get(phase, "cancelled")
    assert forgetful.outcome == expected
    assert ("forgotten" in forgetful.view.message) == (expected == "cancelled")
    assert two.stored()[side] is None
    settle(*two.nodes)
    told = {"AWAITING_ACK": ("lost_contact", "paired"), "CONFIRMING": ("lost_contact", "paired")}
    rejected = ("SIGNING", "RESPONDING", "DECIDING", "PEER_ACCEPTED", "STORING_BEFORE_SEND", "REJECTING")
    allowed = told.get(phase, ("rejected",) if phase in rejected else ("lost_contact",))
    assert other.outcome in (("paired",) if phase == "TIME_WAIT" else allowed)
    assert (two.stored()[1 - side] is not None) == (other.outcome == "paired")


def test_forgetting_another_device_ends_nothing() -> None:
    """Nor does a device that was forgotten before it was known with whom this pairing is."""
    two = pair()
    stranger = two.simulation.node("stranger")
    two.begin()
    for phase in ("RESPONDING", "DECIDING"):
        two.simulation.run(lambda phase=phase: two.joiner.machine.session.phase == phase)
        for node in two.nodes:
            node.vault.forget(stranger)
            node.vault.refuse_stores = False
    two.run()
    assert two.outcomes == ("paired", "paired")
