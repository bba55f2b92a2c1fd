"""What the gateway knows: of sessions that are over, of the parts of the node, of its networks."""

import pytest

from spacedrive_node.actors.gateway.node_state import NodeState
from spacedrive_node.actors.gateway.session_store import MAX_ENDED_SESSIONS
from spacedrive_node.messages.from_supervisor import ActorDown, ActorRestarted, Alive, SessionEnded
from spacedrive_node.messages.to_gateway import LanStatus, Readiness, SessionView, SwarmStatus
from spacedrive_node.messages.types import MdnsState, Outcome
from spacedrive_node.tests.harness.sample_frames import PEER

CODE = bytes(range(16))


def test_a_session_that_is_killed_while_it_shows_its_code() -> None:
    """The code is not kept with it."""
    state = NodeState("1.0")
    state.apply("session-aa", SessionView("aa", "initiator", "waiting", 0.0, code=CODE, expires=9e9))
    assert state.sessions.shows_code(CODE)
    state.apply("supervisor", SessionEnded("aa", "initiator", "crashed"))
    record = state.sessions.get("aa")
    assert record is not None
    assert record.outcome == "crashed"
    assert record.view is not None
    assert record.view.code is None


def test_a_code_that_was_entered_is_known_while_its_session_runs() -> None:
    """Not longer, whether or not another one is entered."""
    state = NodeState("1.0")
    assert state.sessions.claim_entered_code(CODE, "bb") is None
    assert state.sessions.claim_entered_code(CODE, "cc") == "bb"
    state.apply("supervisor", SessionEnded("bb", "joiner", "not_found"))
    assert not state.sessions._entered_codes
    assert state.sessions.claim_entered_code(CODE, "cc") is None


def test_a_session_that_outlives_many_is_not_forgotten_at_its_end() -> None:
    """What ended first goes first, whenever it began: the last one has its client waiting."""
    state = NodeState("1.0")

    def show(number: int, outcome: Outcome | None) -> None:
        view = SessionView(
            f"{number:016x}", "initiator", "storing", 0.0, outcome=outcome, fingerprint="f" * 16
        )
        assert state.apply(f"session-{number:016x}", view) == (f"{number:016x}",)

    show(0, None)
    for number in range(1, MAX_ENDED_SESSIONS + 2):
        show(number, None)
        show(number, "expired")
        state.apply("supervisor", SessionEnded(f"{number:016x}", "initiator", "expired"))
    show(0, "paired")
    shown = state.sessions.state("0" * 16, 0.0)
    assert shown is not None
    assert (shown.outcome, shown.fingerprint) == ("paired", "f" * 16)
    assert state.apply("supervisor", SessionEnded("0" * 16, "initiator", "paired")) == ()
    assert next(iter(state.sessions.states(0.0))) == shown
    assert state.sessions.get(f"{1:016x}") is None


def test_readiness_dies_with_its_sender() -> None:
    """A part whose actor has ended is missing until it reports again, or is back with its state."""
    for sender, part, keeps_state in (
        ("vault", "vault", True), ("swarm", "swarm", False), ("discovery", "dht", False)
    ):  # fmt: skip
        state = NodeState("1.0")
        for reporter, its_part in (("vault", "vault"), ("swarm", "swarm"), ("discovery", "dht")):
            state.apply(reporter, Readiness(its_part, True))
        assert state.status(1, Alive(1)).ready
        state.apply("supervisor", ActorDown(sender, keeps_state))
        assert state.status(1, Alive(1)).missing == (part,)
        assert part == "dht" or f"{part} (restarting)" in state.missing_to_pair()
        state.apply("supervisor", ActorRestarted(sender))
        assert state.status(1, Alive(1)).ready is keeps_state
        state.apply(sender, Readiness(part, True))
        assert state.status(1, Alive(1)).ready


def test_nobody_reports_the_readiness_of_another() -> None:
    """Each part is believed only from its own actor."""
    state = NodeState("1.0")
    for part in ("vault", "dht"):
        state.apply("swarm", Readiness(part, True))
    assert state.status(1, Alive(1)).missing == ("vault", "swarm", "dht")


@pytest.mark.parametrize(
    ("reported", "state"),
    [
        (LanStatus(False, False, 0), "idle"),
        (LanStatus(True, False, 2), "announcing"),
        (LanStatus(False, True, 2), "browsing"),
        (LanStatus(True, True, 2), "both"),
    ],
)
def test_what_mdns_does(reported: LanStatus, state: MdnsState) -> None:
    """As lan says it; before it has, it is silent; without it, off."""
    node = NodeState("1.0")
    assert (node.status(1, Alive(1)).mdns, node.status(1, Alive(1)).mdns_interfaces) == (
        "idle",
        0,
    )
    node.apply("lan", reported)
    assert (node.status(1, Alive(1)).mdns, node.status(1, Alive(1)).mdns_interfaces) == (
        state,
        reported.interfaces,
    )
    assert NodeState("1.0", mdns=False).status(1, Alive(1)).mdns == "off"


def test_where_the_node_listens_and_whom_it_keeps_out() -> None:
    """By the configuration and by the word of the swarm."""
    node = NodeState("1.0", lan_only=True, offline=True)
    assert (
        node.status(1, Alive(1)).listening,
        node.status(1, Alive(1)).lan_only,
        node.status(1, Alive(1)).offline,
    ) == ((), True, True)
    listening = ("/ip4/0.0.0.0/tcp/7520",)
    node.apply("swarm", SwarmStatus(PEER, (), "private", "server", 0, listening))
    assert node.status(1, Alive(1)).listening == listening
