"""Nothing secret shows when a message is printed."""

import io

from rich.console import Console

from spacedrive_node.messages import child_protocol, control_protocol, to_session, to_swarm

WORDS = "abandon ability able about above absent absorb abstract absurd abuse access accident"
SECRET = b"\x07SECRETSECRETSE\x07"


def test_no_message_shows_bytes_words_or_codes() -> None:
    """Neither in repr, nor in str, nor in what rich prints (tracebacks with locals, say)."""
    state = control_protocol.SessionState(
        session="0" * 16, role="initiator", stage="waiting", words=WORDS, qr=WORDS
    )
    for message in (
        control_protocol.JoinPairing(1, SECRET, WORDS),
        control_protocol.SessionEvent(1, state),
        to_session.JoinPairing("0" * 16, SECRET, b"p" * 38, SECRET * 2),
        to_swarm.SwarmIdentity(SECRET * 2),
        child_protocol.Step(1, checkpoint=SECRET),
    ):
        out = io.StringIO()
        Console(file=out, width=200).print(message)
        for text in (repr(message), str(message), out.getvalue()):
            assert "SECRET" not in text
            assert "abandon" not in text
            assert type(message).__name__ in text
