"""Saying the own decision to the other device, and being there for it (docs/protocol.md, "Ending").

Owns the questions of the second half: the decision, and the joiner's presence, which is a repeat of what was
answered already, so that the connection that only a joiner can make is there. Decides nothing.
"""

from ...messages.base import MalformedMessageError
from ...messages.peer_protocol import Refused, decode_wire
from ...messages.types import Outcome
from .state import Ending, Errand, Session
from .step_context import Turn

PRESENCE = 2.0
PRESENCE_REFUSED = 8.0
"""Pauses of a joiner that has nothing to ask. After a refusal longer: misses are limited to 30 a minute."""
LINGER = 1.5
LINGER_ANSWERS = 2
LINGER_LONGEST = 30.0
"""After `paired` a joiner stays until it has been answered so often: time for a swarm to be there again."""


def of(session: Session) -> Ending:
    """Return the ending of a session that has come so far."""
    assert session.ending is not None
    return session.ending


def refuse(turn: Turn, outcome: Outcome, message: str) -> None:
    """Say no, finally; `outcome` and `message` are what users will hear of it."""
    # After a store that was refused the acceptance is sealed already, under the same key; but it has not
    # left, so no two frames under that key are ever seen.
    ending = of(turn.session)
    ending.own, ending.own_frame = False, ending.proven.decision_frame(False)
    ending.verdict, ending.verdict_message = outcome, message
    ending.verdict_at = turn.now + turn.config.exchange
    speak(turn)


def speak(turn: Turn) -> None:
    """Say the own decision, until it is acknowledged."""
    ending = of(turn.session)
    assert ending.own_frame is not None
    ending.errand = _errand(ending, ending.own_frame)
    turn.ask(ending.errand)


def _errand(ending: Ending, frame: bytes) -> Errand:
    return Errand(
        peer=ending.other.peer,
        addresses=ending.addresses,
        frame=frame,
        code_id=ending.proven.code_id,
        attempt=ending.proven.attempt,
    )


def be_present(turn: Turn, frame: bytes, seconds: float) -> None:
    """Repeat a question that has its answer, in a while: so that a lost connection is made again."""
    ending = of(turn.session)
    ending.errand = _errand(ending, frame)
    ending.errand.presence = True
    turn.ask_after(ending.errand, seconds)


def refusal_of(frame: bytes) -> Refused | None:
    """Return the refusal that `frame` is."""
    try:
        answer = decode_wire(frame)
    except MalformedMessageError:
        return None
    return answer if isinstance(answer, Refused) else None


def send_away(turn: Turn) -> None:
    """Nobody is left waiting; and nothing was stored for them, so it is no acknowledgement."""
    proven = of(turn.session).proven
    if turn.session.waiting:
        turn.answer_waiting(turn.refusal(proven.code_id, proven.attempt, "closed"))
