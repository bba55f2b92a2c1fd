"""The side that enters the code: asks candidates until one proves itself (docs/protocol.md, "Messages").

Owns the choice: which candidate is asked when, and what its answer makes of it. Reveals nothing of this
device before the candidate's proof holds, and has one ChallengeResponse outstanding at most, so it never
claims two codes. What a single candidate is asked stands in candidates.py.
"""

from ...messages.peer_protocol import PairingDecision, RefusalReason, WireRequest
from ...messages.to_discovery import Find, StopFinding
from ...messages.to_session import CandidateFound, PeerAnswer, PeerRequest, PeerUnreachable, Signed
from ...messages.to_swarm import Serve
from ...messages.to_vault import SignIdentity
from ...messages.types import Instant, PeerAddresses
from ...protocol.errors import ProtocolError
from . import candidates, decision, view
from .state import Chosen, Errand, Session
from .step_context import Turn

PATIENCE = 3
"""A proven candidate is asked for at least this many exchanges: it may be the one that we have claimed."""


def begin(turn: Turn, hints: tuple[PeerAddresses, ...]) -> None:
    """Look for whoever shows the code."""
    keys = turn.keys
    turn.tell("swarm", Serve(keys.route_key, "joiner"))
    turn.tell("discovery", Find(keys.provider_key, keys.mdns_instance, hints))


def take_candidate(turn: Turn, named: CandidateFound) -> None:
    """Discovery names a peer, perhaps again."""
    session = turn.session
    if session.ending is not None or named.peer == session.own_peer:
        return
    known = candidates.note(turn, named)
    chosen = session.chosen
    if chosen is None:
        candidates.ask_next(turn)
    elif known is not None and chosen.peer == named.peer and chosen.errand is not None:
        chosen.errand.addresses = known.addresses


def take_request(turn: Turn, asked: PeerRequest, message: WireRequest) -> None:
    """The initiator's decision may arrive before its ChallengeConfirmation was handled; nothing else fits."""
    chosen = turn.session.chosen
    if not isinstance(message, PairingDecision):
        turn.refuse(asked.request, message, "protocol")
    elif chosen is not None and (chosen.peer, chosen.crypto.attempt) == (asked.peer, message.attempt):
        turn.refuse(asked.request, message, "busy")
        turn.ask_soon(chosen.errand)
    else:
        turn.refuse(asked.request, message, "closed")


def take_answer(turn: Turn, answer: PeerAnswer) -> None:
    """A candidate has answered."""
    session = turn.session
    chosen = session.chosen
    if chosen is not None:
        if chosen.errand is not None and chosen.errand.request == answer.request:
            session.path = answer.path
            _take_confirmation(turn, answer.frame, chosen)
        return
    peer = candidates.asked_by(session, answer.request)
    if peer is None:
        return
    th1 = candidates.take_challenge(turn, peer, answer.frame)
    if th1 is None:
        candidates.ask_next(turn)
    else:
        session.path = answer.path
        _choose(turn, peer, answer.frame, th1)


def take_unreachable(turn: Turn, message: PeerUnreachable) -> None:
    """A candidate gave no answer: the same question again, after a pause."""
    session = turn.session
    chosen = session.chosen
    if chosen is not None:
        if chosen.errand is not None and chosen.errand.request == message.request:
            turn.ask_later(chosen.errand)
        return
    peer = candidates.asked_by(session, message.request)
    if peer is not None:
        candidates.rest(turn, peer)
        candidates.ask_next(turn)


# -- the chosen one ------------------------------------------------------------------------------------


def _choose(turn: Turn, peer: bytes, challenge_frame: bytes, th1: bytes) -> None:
    session = turn.session
    crypto = session.candidates[peer].crypto
    assert crypto is not None
    candidates.pause_all(turn)
    turn.move("verified")
    patience = turn.now + PATIENCE * turn.config.exchange
    session.chosen = Chosen(
        peer=peer,
        crypto=crypto,
        challenge_frame=challenge_frame,
        request=turn.number(),
        until=max(session.deadline, patience),
    )
    turn.tell("vault", SignIdentity(session.chosen.request, "joiner", th1, crypto.nonce))


def take_signed(turn: Turn, message: Signed) -> None:
    """The vault has signed: say who we are, to the chosen one alone."""
    session = turn.session
    chosen = session.chosen
    if session.phase != "SIGNING" or chosen is None or message.request != chosen.request:
        return
    crypto = chosen.crypto
    chosen.response_frame = crypto.respond(chosen.challenge_frame, message.info, message.signature)
    chosen.errand = Errand(
        peer=chosen.peer,
        addresses=session.candidates[chosen.peer].addresses,
        frame=chosen.response_frame,
        code_id=crypto.code_id,
        attempt=crypto.attempt,
    )
    turn.move("signed")
    turn.ask(chosen.errand)


def _take_confirmation(turn: Turn, frame: bytes, chosen: Chosen) -> None:
    session = turn.session
    assert chosen.errand is not None
    assert chosen.response_frame is not None
    reason = candidates.refusal_in(frame, chosen.crypto)
    if reason == "busy":
        turn.ask_later(chosen.errand)
        return
    if reason is not None:
        _attempt_over(turn, chosen, reason)
        return
    try:
        proven, other = chosen.crypto.open_confirmation(chosen.challenge_frame, chosen.response_frame, frame)
    except ProtocolError:
        _attempt_over(turn, chosen, None)
        return
    addresses, response = chosen.errand.addresses, chosen.response_frame
    session.chosen, session.candidates = None, {}
    turn.tell("discovery", StopFinding())
    decision.begin(turn, proven, other, turn.now, addresses, response)


def _attempt_over(turn: Turn, chosen: Chosen, reason: RefusalReason | None) -> None:
    """Go on with the others. `reason` None: the candidate broke the protocol."""
    session = turn.session
    session.chosen = None
    turn.move("attempt over")
    if reason is None:
        candidates.fail(turn, chosen.peer)
    else:
        candidates.refused(turn, chosen.peer, reason)
    if session.cancelling:
        turn.end("cancelled", view.CANCELLED)
    else:
        due(turn)


# -- time, and the user's will -------------------------------------------------------------------------


def cancel(turn: Turn) -> None:
    """Give up before both have proved themselves.

    Once ChallengeResponse has left the other may have claimed its code for us: for the length of one
    exchange its answer is awaited, so that it can be told.
    """
    session = turn.session
    chosen = session.chosen
    if session.phase == "RESPONDING" and chosen is not None:
        if not session.cancelling:
            session.cancelling = True
            chosen.until = min(chosen.until, turn.now + turn.config.exchange)
    else:
        turn.end("cancelled", view.CANCELLED)


def due(turn: Turn) -> None:
    """Do what the time asks for."""
    session = turn.session
    chosen = session.chosen
    if chosen is not None:
        if turn.now >= chosen.until:
            session.lost_proven = True
            _attempt_over(turn, chosen, "closed")
        else:
            turn.ask_when_due(chosen.errand)
    elif turn.now >= session.deadline:
        _not_found(turn)
    else:
        candidates.due(turn)


def timers(turn: Turn) -> Instant:
    """Return when `due` has something to do."""
    session = turn.session
    chosen = session.chosen
    if chosen is None:
        return min(session.deadline, candidates.timers(session))
    if chosen.errand is None:
        return chosen.until
    return min(chosen.until, chosen.errand.due)


def _not_found(turn: Turn) -> None:
    """Say the most that is known, from the surest sign to none."""
    session = turn.session
    if session.lost_proven:
        turn.end("lost_contact", view.LOST_PROVEN)
    elif session.heard_closed:
        turn.end("expired", view.CODE_USED)
    elif session.hint_failed:
        turn.end("wrong_code", view.WRONG_CODE)
    else:
        turn.end("not_found", view.NOT_FOUND)


def open_errands(session: Session) -> list[Errand]:
    """Return every question under way before the ending."""
    errands = [candidate.errand for candidate in session.candidates.values()]
    if session.chosen is not None:
        errands.append(session.chosen.errand)
    return [errand for errand in errands if errand is not None]
