"""The second half of a pairing, equal for both roles: two decisions, stored before they are spoken.

Implements docs/protocol.md, "Ending"; its order is transitions.py's. Never shows a device that has not
proved itself.
"""

import math

from ...messages.peer_protocol import PairingDecision
from ...messages.to_session import PeerAnswer, PeerUnreachable
from ...messages.types import Instant, Outcome
from ...protocol.attempt import OpenedIdentity
from ...protocol.errors import ProtocolError
from ...protocol.pairing_secrets import PairingSecrets
from . import delivery, storing, view
from .delivery import of
from .state import Ending, Errand, Session
from .step_context import Turn


def begin(
    turn: Turn,
    proven: PairingSecrets,
    other: OpenedIdentity,
    since: Instant,
    addresses: tuple[str, ...] = (),
    response_frame: bytes | None = None,
) -> None:
    """Both sides have proved themselves; the users decide now. `since`: when the deadlines started.

    The joiner gives `addresses` and its `response_frame`: it is the one that dials.
    """
    config, session = turn.config, turn.session
    session.ending = Ending(
        proven=proven,
        other=other,
        addresses=addresses,
        response_frame=response_frame,
        deciding_until=since + min(config.deciding, config.delivery),
        delivery_until=since + config.delivery,
    )
    session.code = b""
    turn.move("proven")
    if response_frame is not None:
        delivery.be_present(turn, response_frame, delivery.PRESENCE)
    if session.cancelling:
        decide(turn, False, "cancelled", view.CANCELLED)


def concerns(session: Session, peer: bytes, code_id: bytes, attempt: bytes) -> bool:
    """Tell whether a decision from `peer` belongs to this pairing."""
    ending = session.ending
    return (
        ending is not None
        and ending.other.peer == peer
        and (ending.proven.code_id, ending.proven.attempt) == (code_id, attempt)
    )


# -- the own decision ----------------------------------------------------------------------------------


def decide(
    turn: Turn, accept: bool, outcome: Outcome = "rejected", message: str = view.REJECTED_HERE
) -> None:
    """Take the own decision; the first is final. `outcome`, `message`: what a refusal will be called."""
    ending = of(turn.session)
    if ending.own is not None:
        return
    if not accept:
        turn.move("own refuse")
        delivery.refuse(turn, outcome, message)
        return
    ending.own, ending.own_frame = True, ending.proven.decision_frame(True)
    turn.move("own accept")
    if turn.session.phase == "STORING_UNSPOKEN":
        storing.store(turn)
    else:
        delivery.speak(turn)


def take_answer(turn: Turn, message: PeerAnswer) -> None:
    """Take the other's answer to the own decision."""
    ending = of(turn.session)
    errand = ending.errand
    if errand is None or errand.request != message.request:
        return
    turn.session.path = message.path
    if errand.presence and turn.session.phase != "SPEAKING":
        _present(turn, errand, message.frame)
    elif ending.proven.verify_received(errand.frame, message.frame):
        _acknowledged(turn)
    elif _ends_attempt(errand, message.frame):
        _over(turn, "lost_contact", view.CLOSED_BY_OTHER)
    else:
        turn.ask_later(errand)


def swarm_restarted(turn: Turn) -> None:
    """Every connection is lost: what was under way is asked again, and a joiner shows itself at once."""
    ending = of(turn.session)
    ending.lingered = 0
    errand = ending.errand
    if errand is not None and errand.presence:
        turn.ask(errand)
    else:
        turn.ask_again(errand)


def take_unreachable(turn: Turn, message: PeerUnreachable) -> None:
    """The other gave no answer: the same decision again, after a pause."""
    ending = of(turn.session)
    errand = ending.errand
    if errand is not None and errand.request == message.request:
        ending.lingered = 0
        turn.ask_later(errand)


def _ends_attempt(errand: Errand, frame: bytes) -> bool:
    answer = delivery.refusal_of(frame)
    return (
        answer is not None
        and (answer.code_id, answer.attempt) == (errand.code_id, errand.attempt)
        and answer.reason in ("closed", "protocol")
    )


def _present(turn: Turn, errand: Errand, frame: bytes) -> None:
    """The other was there. While our user decides, and when all is decided, its answer changes nothing."""
    ending = of(turn.session)
    if turn.session.phase == "LINGERING":
        ending.lingered += 1
        if ending.lingered == delivery.LINGER_ANSWERS:
            turn.end("paired", view.PAIRED)
        turn.ask_after(errand, delivery.LINGER)
    else:
        turn.ask_after(errand, delivery.PRESENCE_REFUSED if delivery.refusal_of(frame) else delivery.PRESENCE)


def _acknowledged(turn: Turn) -> None:
    ending = of(turn.session)
    assert ending.own_frame is not None
    ending.acknowledged, ending.errand = True, None
    if turn.session.phase == "REFUSING":
        assert ending.verdict is not None
        turn.end(ending.verdict, ending.verdict_message, "acknowledged")
        return
    if ending.response_frame is not None:
        delivery.be_present(turn, ending.own_frame, delivery.PRESENCE)
    turn.move("acknowledged")
    if turn.session.phase == "CONFIRMING":
        storing.confirm(turn)


# -- the other's decision ------------------------------------------------------------------------------


def take_decision(turn: Turn, request: int, frame: bytes, message: PairingDecision) -> None:
    """Take a PairingDecision that `concerns` this pairing: answer at once, or when the vault has stored."""
    session = turn.session
    ending = of(session)
    if not turn.within_rate(ending.meter):
        turn.refuse(request, message, "busy")
        return
    if ending.peer_frame is None:
        try:
            accepted = ending.proven.open_decision(frame)
        except ProtocolError:
            turn.refuse(request, message, "protocol")
            return
        ending.peer_frame, ending.reply = frame, ending.proven.received_frame(frame)
        if accepted:
            _heard_acceptance(turn, request, message)
        else:
            _heard_refusal(turn, request)
    elif frame != ending.peer_frame:
        turn.refuse(request, message, "protocol")
    else:
        _acknowledge(turn, request, message)
    turn.ask_soon(ending.errand)


def _heard_acceptance(turn: Turn, request: int, message: PairingDecision) -> None:
    turn.move("peer accepts")
    if turn.session.phase == "STORING_SPOKEN":
        storing.store(turn)
    _acknowledge(turn, request, message)


def _heard_refusal(turn: Turn, request: int) -> None:
    ending = of(turn.session)
    assert ending.reply is not None
    turn.reply(request, ending.reply)
    outcome, text = ending.verdict or "rejected", ending.verdict_message or view.REJECTED_THERE
    turn.end(outcome, text, "peer refuses")


def _acknowledge(turn: Turn, request: int, message: PairingDecision) -> None:
    ending = of(turn.session)
    assert ending.reply is not None
    if turn.session.phase in ("STORING_UNSPOKEN", "STORING_SPOKEN"):
        turn.wait(request, message)
    else:
        turn.reply(request, ending.reply)
        ending.lingered = 0  # the other still asks: it has not heard all


# -- time ----------------------------------------------------------------------------------------------


def due(turn: Turn) -> None:
    """Do what the time asks for."""
    session = turn.session
    ending = of(session)
    if ending.own is None and turn.now >= ending.deciding_until:
        decide(turn, False, "expired", view.NOT_DECIDED)
    if ending.verdict is not None and turn.now >= ending.verdict_at:
        turn.conclude(ending.verdict, ending.verdict_message)
    if turn.now >= _end_of_delivery(turn):
        stored = session.phase in ("DELIVERING", "CONFIRMING")
        _over(turn, "lost_contact", view.LOST_STORED if stored else view.LOST_DECIDING)
        return
    turn.ask_when_due(ending.errand)


def timers(turn: Turn) -> Instant:
    """Return when `due` has something to do."""
    ending = of(turn.session)
    times = [_end_of_delivery(turn)]
    if ending.own is None:
        times.append(ending.deciding_until)
    if ending.verdict is not None and turn.session.outcome is None:
        times.append(ending.verdict_at)
    times.append(ending.errand.due if ending.errand is not None else math.inf)
    return min(times)


def _end_of_delivery(turn: Turn) -> Instant:
    """The deadline; a little later while only the own vault is missing, which always answers."""
    ending = of(turn.session)
    return ending.delivery_until + (turn.config.exchange if ending.vault else 0.0)


def _over(turn: Turn, outcome: Outcome, message: str) -> None:
    """End without `paired`: as what our refusal is called, if there was one."""
    ending = of(turn.session)
    delivery.send_away(turn)
    if ending.verdict is not None:
        outcome, message = ending.verdict, ending.verdict_message
    turn.end(outcome, message)
