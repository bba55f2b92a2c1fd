"""The first half of a pairing on the side that shows the code: many may try, one can claim it.

Implements docs/protocol.md, "The exchanges" 1 and 2, and "Sessions". Owns the inbound attempts and the claim.
Keeps no state for a frame that does not fit the code. Never decides anything about the device that has
claimed it: that is decision.py.
"""

import math

from ...messages import outcome_texts
from ...messages.peer_protocol import ChallengeResponse, PairingDecision, PairingRequest, WireRequest
from ...messages.to_discovery import StartProviding, StopProviding
from ...messages.to_session import PeerAnswer, PeerRequest, PeerUnreachable, Signed
from ...messages.to_swarm import Serve
from ...messages.to_vault import SignIdentity
from ...messages.types import Instant
from ...protocol.attempt import InitiatorAttempt
from ...protocol.code import code_id
from ...protocol.errors import ProtocolError
from . import decision
from .state import MAX_ATTEMPTS_OVER, MAX_OPEN_ATTEMPTS, Claim, InboundAttempt, Session
from .step_context import StepContext


def start_providing(context: StepContext) -> None:
    """Make this device findable under the code."""
    keys = context.keys
    context.send("swarm", Serve(keys.route_key, "initiator", keys.provider_key))
    context.send("discovery", StartProviding(keys.provider_key, keys.mdns_instance))


def handle_peer_request(context: StepContext, received: PeerRequest, message: WireRequest) -> None:
    """Answer a frame of exchange 1 or 2, or let it wait for the vault.

    The swarm has compared the code_id already, to find this session. It is compared again because the session
    does not trust the swarm. After both sides are proven the code is forgotten, and the peer's attempt, which
    was begun with the right code_id, is all that can still be matched.
    """
    session = context.session
    if session.code and message.code_id != code_id(context.keys.route_key, session.own_peer, received.peer):
        context.refuse(received.request, message, "unavailable")
        return
    attempt = session.inbound_attempts.get(received.peer)
    if attempt is not None and attempt.attempt != message.attempt:
        attempt = None
    if attempt is not None and not context.within_rate(attempt.rate):
        context.refuse(received.request, message, "busy")
        return
    match message:
        case PairingRequest():
            _handle_pairing_request(context, received, message, attempt)
        case ChallengeResponse() if attempt is not None:
            _handle_response(context, received, message, attempt)
        case PairingDecision() if attempt is not None and not attempt.failed:
            context.refuse(received.request, message, "busy")  # ChallengeConfirmation comes first
        case ChallengeResponse() | PairingDecision():
            context.refuse(received.request, message, "closed")
    if session.claim is not None and session.claim.peer == received.peer:
        session.path, session.transport = received.path, received.transport


# -- exchange 1: PairingRequest, Challenge ---------------------------------------------------------------


def _handle_pairing_request(
    context: StepContext, received: PeerRequest, message: PairingRequest, attempt: InboundAttempt | None
) -> None:
    if attempt is not None and attempt.request_frame == received.frame:
        context.reply(received.request, attempt.challenge_frame)
    elif attempt is not None:
        context.refuse(received.request, message, "protocol")
    elif _is_over(context, received.peer, message.attempt):
        context.refuse(received.request, message, "closed")
    elif _is_full(context.session, received.peer):
        context.refuse(received.request, message, "busy")
    else:
        _begin_attempt(context, received, message)


def _is_over(context: StepContext, peer: bytes, attempt: bytes) -> bool:
    """Whether nobody can begin any more, or not with this attempt: its time has run out once."""
    session = context.session
    if session.phase != "WAITING" or context.now >= session.deadline:
        return True
    return peer + attempt in session.attempts_over


def _remember_over(session: Session, attempts: dict[bytes, InboundAttempt]) -> None:
    over = [peer + attempt.attempt for peer, attempt in attempts.items()]
    session.attempts_over = (session.attempts_over + over)[-MAX_ATTEMPTS_OVER:]


def _is_full(session: Session, peer: bytes) -> bool:
    earlier = session.inbound_attempts.get(peer)
    has_open_attempt = earlier is not None and not earlier.failed
    return has_open_attempt or len(_open_attempts(session)) >= MAX_OPEN_ATTEMPTS


def _open_attempts(session: Session) -> list[InboundAttempt]:
    return [attempt for attempt in session.inbound_attempts.values() if not attempt.failed]


def _begin_attempt(context: StepContext, received: PeerRequest, message: PairingRequest) -> None:
    session = context.session
    try:
        crypto = InitiatorAttempt.begin(
            auth_key=context.keys.auth_key,
            initiator=session.own_peer,
            joiner=received.peer,
            request_frame=received.frame,
            ephemeral=context.entropy(32),
            nonce=context.entropy(32),
        )
    except ProtocolError:
        context.refuse(received.request, message, "protocol")
        return
    session.inbound_attempts[received.peer] = InboundAttempt(
        attempt=message.attempt,
        crypto=crypto,
        request_frame=received.frame,
        challenge_frame=crypto.challenge_frame,
        started=context.now,
        deadline=context.now + context.config.proof,
    )
    context.reply(received.request, crypto.challenge_frame)


# -- exchange 2: ChallengeResponse, ChallengeConfirmation ------------------------------------------------


def _handle_response(
    context: StepContext, received: PeerRequest, message: ChallengeResponse, attempt: InboundAttempt
) -> None:
    if attempt.response_frame is None:
        _open_response(context, received, message, attempt)
    elif attempt.response_frame != received.frame:
        context.refuse(received.request, message, "protocol")
    elif attempt.answer is not None:
        context.reply(received.request, attempt.answer)
    else:
        context.reply_later(received.request, message)  # the vault is signing


def _open_response(
    context: StepContext, received: PeerRequest, message: ChallengeResponse, attempt: InboundAttempt
) -> None:
    session = context.session
    crypto = attempt.crypto
    assert crypto is not None
    attempt.response_frame = received.frame
    try:
        opened = crypto.open_response(received.frame, own_public_key=session.own_key)
    except ProtocolError:
        answer = _fail(context, attempt, message)
        context.reply(received.request, answer)
        return
    context.transition("claimed")
    session.claim = Claim(
        peer=received.peer,
        opened=opened,
        vault_request_id=context.next_request_id(),
        attempt_started=attempt.started,
        claimed_at=context.now,
    )
    # The code is used: every other attempt is over, and its state with it.
    session.inbound_attempts = {received.peer: attempt}
    context.reply_later(received.request, message)
    th2 = crypto.th2(received.frame)
    context.send("vault", SignIdentity(session.claim.vault_request_id, "initiator", th2))
    context.send("discovery", StopProviding())


def _fail(context: StepContext, attempt: InboundAttempt, message: ChallengeResponse) -> bytes:
    """End an attempt that proved nothing, and return the answer, which is kept for repeats.

    Failed attempts are not open, so that they keep nobody out; of them too only the newest are kept.
    """
    attempts = context.session.inbound_attempts
    attempt.failed = True
    attempt.crypto = None
    attempt.answer = context.refusal(message.code_id, message.attempt, "protocol")
    failed = [peer for peer, other in attempts.items() if other.failed]
    for peer in failed[: max(0, len(failed) - MAX_OPEN_ATTEMPTS)]:
        _remember_over(context.session, {peer: attempts.pop(peer)})
    return attempt.answer


def handle_signed(context: StepContext, message: Signed) -> None:
    """The vault has signed: send this device's identity to the joiner, and let the users decide."""
    session = context.session
    claim = session.claim
    if session.phase != "SIGNING" or claim is None or message.request != claim.vault_request_id:
        return
    attempt = session.inbound_attempts[claim.peer]
    assert attempt.crypto is not None
    assert attempt.response_frame is not None
    try:
        secrets = attempt.crypto.confirm(attempt.response_frame, message.info, message.signature)
    except ProtocolError:
        # The signed info shows only now that the other side carries this device's own key.
        context.reply_to_waiting(context.refusal(attempt.crypto.code_id, attempt.attempt, "protocol"))
        context.end("crashed", outcome_texts.OWN_DEVICE)
        return
    attempt.answer = secrets.confirmation_frame
    attempt.crypto = None
    context.reply_to_waiting(attempt.answer)
    # No addresses: only the joiner dials. What this side has to send goes over the joiner's connection.
    decision.begin(context, secrets, claim.opened, claim.claimed_at)


# -- requests of this side: there are none before the decision -------------------------------------------


def handle_answer(_context: StepContext, _answer: PeerAnswer) -> None:
    """Ignore it: an initiator has sent no request."""


def handle_unreachable(_context: StepContext, _message: PeerUnreachable) -> None:
    """Ignore it: an initiator has sent no request."""


def handle_swarm_restarted(context: StepContext) -> None:
    """Nothing was lost: an initiator has sent no request, and the joiner repeats its own.

    Where this device is reached may be new. A code that is used is announced again, for the one who uses it.
    """
    if context.session.claim is not None:
        keys = context.keys
        context.send("discovery", StartProviding(keys.provider_key, keys.mdns_instance))


# -- time and cancellation -------------------------------------------------------------------------------


def cancel(context: StepContext) -> None:
    """End the pairing before both sides are proven.

    While the vault signs, the device that has claimed the code is waiting for an answer: it gets that first,
    and then the rejection (decision.begin).
    """
    if context.session.phase == "SIGNING":
        context.session.cancelling = True
    else:
        context.end(*context.cancellation())


def handle_timers(context: StepContext) -> None:
    """Do what is due by now."""
    session = context.session
    if session.phase == "SIGNING":
        if context.now >= _signing_deadline(context):
            context.end("crashed", outcome_texts.NOT_SIGNED)
        return
    over = {
        peer: attempt for peer, attempt in session.inbound_attempts.items() if attempt.deadline <= context.now
    }
    if over:
        _remember_over(session, over)
        session.inbound_attempts = {
            peer: attempt for peer, attempt in session.inbound_attempts.items() if peer not in over
        }
    if context.now >= session.deadline and not _open_attempts(session):
        context.end("expired", outcome_texts.CODE_EXPIRED)


def next_timer(context: StepContext) -> Instant:
    """Return when `handle_timers` has something to do."""
    session = context.session
    if session.phase == "SIGNING":
        return _signing_deadline(context)
    first = min((attempt.deadline for attempt in session.inbound_attempts.values()), default=math.inf)
    # While attempts are open the code's expiry changes nothing: the last of them ends the session.
    return first if _open_attempts(session) else min(first, session.deadline)


def _signing_deadline(context: StepContext) -> Instant:
    assert context.session.claim is not None
    return context.session.claim.claimed_at + context.config.deciding
