"""What the gateway still knows of a session that is over."""

from spacedrive_node.actors.gateway.node_state import Board
from spacedrive_node.messages.from_supervisor import SessionEnded
from spacedrive_node.messages.to_gateway import SessionView

CODE = bytes(range(16))


def test_a_session_that_is_killed_while_it_shows_its_code() -> None:
    """The code is not kept with it."""
    board = Board("1.0")
    board.fold("session-aa", SessionView("aa", "initiator", "waiting", 0.0, code=CODE, expires=9e9))
    assert board.shows_code(CODE)
    board.fold("supervisor", SessionEnded("aa", "initiator", "crashed"))
    record = board.record("aa")
    assert record is not None
    assert record.outcome == "crashed"
    assert record.view is not None
    assert record.view.code is None


def test_a_code_that_was_entered_is_known_while_its_session_runs() -> None:
    """Not longer, whether or not another one is entered."""
    board = Board("1.0")
    assert board.joining(CODE, "bb") is None
    assert board.joining(CODE, "cc") == "bb"
    board.fold("supervisor", SessionEnded("bb", "joiner", "not_found"))
    assert not board._joining
    assert board.joining(CODE, "cc") is None
