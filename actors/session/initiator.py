"""The side that shows the code: many may ask, one can claim it (docs/protocol.md, "Messages" 1 and 2).

Owns attempts and the claim. Keeps no state for a frame that does not fit the code. Decides nothing about
the device that claimed: that is decision.py.
"""

import math

from ...messages import outcome_texts
from ...messages.peer_protocol import ChallengeResponse, PairingDecision, PairingRequest, WireRequest
from ...messages.to_discovery import StartProviding, StopProviding
from ...messages.to_session import PeerRequest, Signed
from ...messages.to_swarm import Serve
from ...messages.to_vault import SignIdentity
from ...messages.types import Instant
from ...protocol.attempt import InitiatorAttempt
from ...protocol.code import code_id
from ...protocol.errors import ProtocolError
from . import decision
from .state import ATTEMPTS_OPEN, Claim, Guest, Session
from .step_context import Turn


def begin(turn: Turn) -> None:
    """Be findable under the code."""
    keys = turn.keys
    turn.tell("swarm", Serve(keys.route_key, "initiator", keys.provider_key))
    turn.tell("discovery", StartProviding(keys.provider_key, keys.mdns_instance))


def take_request(turn: Turn, asked: PeerRequest, message: WireRequest) -> None:
    """Answer a frame of exchange 1 or 2, or let it wait."""
    session = turn.session
    if session.code and message.code_id != code_id(turn.keys.route_key, session.own_peer, asked.peer):
        turn.refuse(asked.request, message, "unavailable")
        return
    guest = session.guests.get(asked.peer)
    if guest is not None and guest.attempt != message.attempt:
        guest = None
    if guest is not None and not turn.within_rate(guest.meter):
        turn.refuse(asked.request, message, "busy")
        return
    match message:
        case PairingRequest():
            _take_first(turn, asked, message, guest)
        case ChallengeResponse() if guest is not None:
            _take_response(turn, asked, message, guest)
        case ChallengeResponse() | PairingDecision():
            turn.refuse(asked.request, message, "closed")
    if session.claim is not None and session.claim.peer == asked.peer:
        session.path = asked.path


# -- exchange 1 ----------------------------------------------------------------------------------------


def _take_first(turn: Turn, asked: PeerRequest, message: PairingRequest, guest: Guest | None) -> None:
    if guest is not None and guest.request_frame == asked.frame:
        turn.reply(asked.request, guest.challenge_frame)
    elif guest is not None:
        turn.refuse(asked.request, message, "protocol")
    elif turn.session.phase != "WAITING" or turn.now >= turn.session.deadline:
        turn.refuse(asked.request, message, "closed")
    elif _full(turn.session, asked.peer):
        turn.refuse(asked.request, message, "busy")
    else:
        _open(turn, asked, message)


def _full(session: Session, peer: bytes) -> bool:
    guests = session.guests
    own = guests.get(peer)
    return (own is not None and not own.failed) or len(_open_guests(session)) >= ATTEMPTS_OPEN


def _open_guests(session: Session) -> list[Guest]:
    return [guest for guest in session.guests.values() if not guest.failed]


def _open(turn: Turn, asked: PeerRequest, message: PairingRequest) -> None:
    session = turn.session
    try:
        crypto = InitiatorAttempt.begin(
            auth_key=turn.keys.auth_key,
            initiator=session.own_peer,
            joiner=asked.peer,
            request_frame=asked.frame,
            ephemeral=turn.entropy(32),
            nonce=turn.entropy(32),
        )
    except ProtocolError:
        turn.refuse(asked.request, message, "protocol")
        return
    session.guests[asked.peer] = Guest(
        attempt=message.attempt,
        crypto=crypto,
        request_frame=asked.frame,
        challenge_frame=crypto.challenge_frame,
        began=turn.now,
        until=turn.now + turn.config.proof,
    )
    turn.reply(asked.request, crypto.challenge_frame)


# -- exchange 2 ----------------------------------------------------------------------------------------


def _take_response(turn: Turn, asked: PeerRequest, message: ChallengeResponse, guest: Guest) -> None:
    if guest.response_frame is None:
        _open_response(turn, asked, message, guest)
    elif guest.response_frame != asked.frame:
        turn.refuse(asked.request, message, "protocol")
    elif guest.answer is not None:
        turn.reply(asked.request, guest.answer)
    else:
        turn.wait(asked.request, message)


def _open_response(turn: Turn, asked: PeerRequest, message: ChallengeResponse, guest: Guest) -> None:
    session = turn.session
    crypto = guest.crypto
    assert crypto is not None
    guest.response_frame = asked.frame
    try:
        opened = crypto.open_response(asked.frame, own_public_key=session.own_key)
    except ProtocolError:
        _fail(turn, guest, message)
        turn.reply(asked.request, guest.answer or b"")
        return
    turn.move("claimed")
    request = turn.number()
    session.claim = Claim(peer=asked.peer, opened=opened, request=request, began=guest.began, at=turn.now)
    # The code is used: every other attempt is over, and its state with it.
    session.guests = {asked.peer: guest}
    turn.wait(asked.request, message)
    turn.tell("vault", SignIdentity(request, "initiator", crypto.th2(asked.frame)))
    turn.tell("discovery", StopProviding())


def _fail(turn: Turn, guest: Guest, message: ChallengeResponse) -> None:
    """The attempt proved nothing. Its answer is kept for repeats until its time is over; it is not open."""
    guests = turn.session.guests
    guest.failed = True
    guest.crypto = None
    guest.answer = turn.refusal(message.code_id, message.attempt, "protocol")
    failed = [peer for peer, other in guests.items() if other.failed]
    for peer in failed[: max(0, len(failed) - ATTEMPTS_OPEN)]:
        del guests[peer]


def take_signed(turn: Turn, message: Signed) -> None:
    """The vault has signed: tell the joiner who we are, and let the users decide."""
    session = turn.session
    claim = session.claim
    if session.phase != "SIGNING" or claim is None or message.request != claim.request:
        return
    guest = session.guests[claim.peer]
    assert guest.crypto is not None
    assert guest.response_frame is not None
    try:
        proven = guest.crypto.confirm(guest.response_frame, message.info, message.signature)
    except ProtocolError:
        # Only now was it seen that the other side carries this device's own key.
        turn.answer_waiting(turn.refusal(guest.crypto.code_id, guest.attempt, "protocol"))
        turn.end("crashed", outcome_texts.OWN_DEVICE)
        return
    assert proven.confirmation_frame is not None
    guest.answer = proven.confirmation_frame
    guest.crypto = None
    turn.answer_waiting(guest.answer)
    # No addresses: it is the joiner that dials; what we have to say goes over its connection.
    decision.begin(turn, proven, claim.opened, claim.at)


# -- time, and the user's will -------------------------------------------------------------------------


def cancel(turn: Turn) -> None:
    """Give up before both have proved themselves; a device that has claimed the code is told afterwards."""
    if turn.session.phase == "SIGNING":
        turn.session.cancelling = True
    else:
        turn.end("cancelled", outcome_texts.CANCELLED)


def due(turn: Turn) -> None:
    """Do what the time asks for."""
    session = turn.session
    if session.phase == "SIGNING":
        if turn.now >= _end_of_signing(turn):
            turn.end("crashed", outcome_texts.NOT_SIGNED)
        return
    session.guests = {peer: guest for peer, guest in session.guests.items() if turn.now < guest.until}
    if turn.now >= session.deadline and not _open_guests(session):
        turn.end("expired", outcome_texts.CODE_EXPIRED)


def timers(turn: Turn) -> Instant:
    """Return when `due` has something to do."""
    session = turn.session
    if session.phase == "SIGNING":
        return _end_of_signing(turn)
    first = min((guest.until for guest in session.guests.values()), default=math.inf)
    # While attempts are open the code's expiry changes nothing: the last of them ends the session.
    return first if _open_guests(session) else min(first, session.deadline)


def _end_of_signing(turn: Turn) -> Instant:
    assert turn.session.claim is not None
    return turn.session.claim.at + turn.config.deciding
