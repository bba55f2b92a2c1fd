"""The first half of a pairing on the side that enters the code: it tries candidates until one proves itself.

Implements docs/protocol.md, "The exchanges" 1 and 2, and "Sessions". Owns the one candidate that is proven.
Never reveals anything of this device before the candidate's proof holds, and has at most one
ChallengeResponse outstanding, so it never claims two codes. Which candidates get a request when, before that,
is in candidates.py.
"""

from ...messages import outcome_texts
from ...messages.peer_protocol import PairingDecision, RefusalReason, WireRequest
from ...messages.to_discovery import Find, StopFinding
from ...messages.to_session import CandidateFound, PeerAnswer, PeerRequest, PeerUnreachable, Signed
from ...messages.to_swarm import Serve
from ...messages.to_vault import SignIdentity
from ...messages.types import Instant, PeerAddresses
from ...protocol.errors import ProtocolError
from . import candidates, decision, requests
from .state import PendingRequest, ProvenCandidate
from .step_context import StepContext

MIN_PROVEN_EXCHANGES = 3
"""A proven candidate is tried for at least so many exchange timeouts: this side may have claimed its code."""


def start_finding(context: StepContext, hints: tuple[PeerAddresses, ...]) -> None:
    """Let discovery look for the device that shows the code."""
    keys = context.keys
    context.send("swarm", Serve(keys.route_key, "joiner"))
    context.send("discovery", Find(keys.provider_key, keys.mdns_instance, hints))


def handle_candidate(context: StepContext, found: CandidateFound) -> None:
    """Record a peer that discovery names, perhaps again, and use its addresses."""
    session = context.session
    if found.peer == session.own_peer:
        return
    record = candidates.record(context, found)
    proven = session.proven_candidate
    if proven is None:
        candidates.send_next_requests(context)
    elif record is not None and proven.peer == found.peer and proven.pending_request is not None:
        proven.pending_request.addresses = record.addresses
        proven.pending_request.hearsay = record.hearsay


def handle_peer_request(context: StepContext, received: PeerRequest, message: WireRequest) -> None:
    """Refuse a request: none fits before both sides are proven.

    The initiator's decision may overtake its ChallengeConfirmation: `busy` lets it come again. It also shows
    that the initiator has confirmed, so ChallengeResponse is repeated soon.
    """
    proven = context.session.proven_candidate
    if not isinstance(message, PairingDecision):
        context.refuse(received.request, message, "protocol")
    elif proven is not None and (proven.peer, proven.crypto.attempt) == (received.peer, message.attempt):
        context.refuse(received.request, message, "busy")
        requests.retry_soon(context, proven.pending_request)
    elif candidates.has_open_attempt(context.session, received.peer, message.attempt):
        context.refuse(received.request, message, "busy")
    else:
        context.refuse(received.request, message, "closed")


def handle_answer(context: StepContext, answer: PeerAnswer) -> None:
    """Handle a candidate's answer: to ChallengeResponse if one is proven, else to PairingRequest."""
    session = context.session
    proven = session.proven_candidate
    if proven is not None:
        if proven.pending_request is not None and proven.pending_request.request_id == answer.request:
            session.path, session.transport = answer.path, answer.transport
            _handle_confirmation(context, answer.frame, proven)
        return
    peer = candidates.find_by_request(session, answer.request)
    if peer is None:
        return
    th1 = candidates.handle_challenge(context, peer, answer.frame)
    if th1 is None:
        candidates.send_next_requests(context)
    else:
        session.path, session.transport = answer.path, answer.transport
        _select(context, peer, answer.frame, th1)


def handle_unreachable(context: StepContext, message: PeerUnreachable) -> None:
    """A candidate gave no answer: send the same request again after a pause."""
    session = context.session
    proven = session.proven_candidate
    if proven is not None:
        if proven.pending_request is not None and proven.pending_request.request_id == message.request:
            requests.retry_with_backoff(context, proven.pending_request)
        return
    peer = candidates.find_by_request(session, message.request)
    if peer is not None:
        candidates.back_off(context, peer)
        candidates.send_next_requests(context)


def handle_swarm_restarted(context: StepContext) -> None:
    """Send again what was in flight."""
    session = context.session
    for candidate in session.candidates.values():
        requests.resend_lost(context, candidate.pending_request)
    if session.proven_candidate is not None:
        requests.resend_lost(context, session.proven_candidate.pending_request)


# -- the proven candidate --------------------------------------------------------------------------------


def _select(context: StepContext, peer: bytes, challenge_frame: bytes, th1: bytes) -> None:
    """Go on with a candidate whose proof holds, and with no other while its attempt lasts."""
    session = context.session
    crypto = session.candidates[peer].crypto
    assert crypto is not None
    candidates.suspend_all(context)
    context.transition("verified")
    session.proven_candidate = ProvenCandidate(
        peer=peer,
        crypto=crypto,
        challenge_frame=challenge_frame,
        vault_request_id=context.next_request_id(),
        deadline=max(session.deadline, context.now + MIN_PROVEN_EXCHANGES * context.config.exchange),
    )
    sign = SignIdentity(session.proven_candidate.vault_request_id, "joiner", th1, crypto.nonce)
    context.send("vault", sign)


def handle_signed(context: StepContext, message: Signed) -> None:
    """The vault has signed: send this device's identity, to the proven candidate alone."""
    session = context.session
    proven = session.proven_candidate
    if session.phase != "SIGNING" or proven is None or message.request != proven.vault_request_id:
        return
    crypto = proven.crypto
    proven.response_frame = crypto.respond(proven.challenge_frame, message.info, message.signature)
    proven.pending_request = PendingRequest(
        peer=proven.peer,
        addresses=session.candidates[proven.peer].addresses,
        frame=proven.response_frame,
        code_id=crypto.code_id,
        attempt=crypto.attempt,
        hearsay=session.candidates[proven.peer].hearsay,
    )
    context.transition("signed")
    requests.send(context, proven.pending_request)


def _handle_confirmation(context: StepContext, frame: bytes, proven: ProvenCandidate) -> None:
    session = context.session
    assert proven.pending_request is not None
    assert proven.response_frame is not None
    reason = requests.refusal_reason(proven.pending_request, frame)
    if reason == "busy":
        requests.retry_with_backoff(context, proven.pending_request)
        return
    if reason is not None:
        _end_attempt(context, proven, reason)
        return
    try:
        secrets, peer_identity = proven.crypto.open_confirmation(
            proven.challenge_frame, proven.response_frame, frame
        )
    except ProtocolError:
        _end_attempt(context, proven, None)
        return
    request = proven.pending_request
    session.proven_candidate, session.candidates = None, {}
    context.send("discovery", StopFinding())
    decision.begin(context, secrets, peer_identity, context.now, request, proven.response_frame)


def _end_attempt(context: StepContext, proven: ProvenCandidate, reason: RefusalReason | None) -> None:
    """Go on with the other candidates. `reason` None: this one broke the protocol."""
    session = context.session
    session.proven_candidate = None
    context.transition("attempt over")
    if reason is None:
        candidates.exclude(context, proven.peer)
    else:
        candidates.handle_refusal(context, proven.peer, reason)
    if session.cancelling:
        context.end(*context.cancellation())
    else:
        handle_timers(context)


# -- time and cancellation -------------------------------------------------------------------------------


def cancel(context: StepContext) -> None:
    """End the pairing before both sides are proven.

    Once ChallengeResponse has left, the other side may have claimed its code for this one. For the length of
    one exchange its answer is awaited, so that it can be sent a rejection (decision.begin).
    """
    session = context.session
    proven = session.proven_candidate
    if session.phase == "RESPONDING" and proven is not None:
        if not session.cancelling:
            session.cancelling = True
            proven.deadline = min(proven.deadline, context.now + context.config.exchange)
    else:
        context.end(*context.cancellation())


def handle_timers(context: StepContext) -> None:
    """Do what is due by now."""
    session = context.session
    proven = session.proven_candidate
    if proven is not None:
        if context.now >= proven.deadline:
            session.lost_proven = True
            _end_attempt(context, proven, "closed")
        else:
            requests.send_if_due(context, proven.pending_request)
    elif context.now >= session.deadline:
        _end_not_found(context)
    else:
        candidates.handle_timers(context)


def next_timer(context: StepContext) -> Instant:
    """Return when `handle_timers` has something to do."""
    session = context.session
    proven = session.proven_candidate
    if proven is None:
        return min(session.deadline, candidates.next_timer(context))
    if proven.pending_request is None:
        return proven.deadline
    return min(proven.deadline, proven.pending_request.due_at)


def _end_not_found(context: StepContext) -> None:
    """End with the outcome that says most: first what is surest to concern the right device."""
    session = context.session
    if session.lost_proven:
        context.end("lost_contact", outcome_texts.LOST_PROVEN)
    elif session.saw_closed:
        context.end("expired", outcome_texts.CODE_USED)
    elif session.hint_failed:
        context.end("wrong_code", outcome_texts.WRONG_CODE)
    else:
        context.end("not_found", outcome_texts.NOT_FOUND)
