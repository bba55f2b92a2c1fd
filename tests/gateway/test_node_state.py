"""What the gateway still knows of a session that is over."""

from spacedrive_node.actors.gateway.node_state import NodeState
from spacedrive_node.messages.from_supervisor import SessionEnded
from spacedrive_node.messages.to_gateway import SessionView

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
