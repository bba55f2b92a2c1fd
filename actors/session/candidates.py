"""The joiner's candidates: which of them get a PairingRequest next, and what follows from their answers.

Anybody can announce a code's key, so most candidates may be decoys. Owns their order, pauses and bounds
(docs/protocol.md, "Limits"): at most 128 candidates, 8 open attempts at a time, those that several finders
name first. Each candidate has one attempt at a time, with an ephemeral key of its own. Within the time of one
exchange its request is repeated with the same bytes; after that a fresh attempt begins, because the other
side has forgotten the old one. Never reveals anything of this device.
"""

import math

from ...messages.peer_protocol import RefusalReason
from ...messages.to_session import CandidateFound
from ...messages.types import Instant
from ...protocol.attempt import JoinerAttempt
from ...protocol.errors import ProtocolError
from . import requests
from .state import (
    MAX_CANDIDATE_ADDRESSES,
    MAX_CANDIDATES,
    MAX_OPEN_ATTEMPTS,
    CandidateRecord,
    PendingRequest,
    Session,
)
from .step_context import StepContext

FIRST_REFUSED_BACKOFF_SECONDS = 1.0
MAX_REFUSED_BACKOFF_SECONDS = 8.0
"""After a refusal: slow enough never to look like guessing to the other swarm (30 misses in a minute)."""
MAX_UNAVAILABLE_RETRIES = 3
"""A peer that answers `unavailable` may just have restarted; beyond this only discovery can bring it back."""


def record(context: StepContext, found: CandidateFound) -> CandidateRecord | None:
    """Record what discovery knows of a peer; None if there are too many candidates."""
    known = context.session.candidates
    candidate = known.get(found.peer)
    if candidate is None:
        if len(known) >= MAX_CANDIDATES:
            return None
        addresses, hearsay = with_newest((), (), found)
        candidate = CandidateRecord(
            addresses=addresses, finders=found.finders, order=len(known), hearsay=hearsay
        )
        known[found.peer] = candidate
        return candidate
    candidate.addresses, candidate.hearsay = with_newest(candidate.addresses, candidate.hearsay, found)
    candidate.finders = tuple(dict.fromkeys(candidate.finders + found.finders))
    if candidate.status == "dropped":
        candidate.status = "backoff"
        candidate.due_at = min(candidate.due_at, context.now + FIRST_REFUSED_BACKOFF_SECONDS)
    return candidate


def with_newest(
    addresses: tuple[str, ...], hearsay: tuple[str, ...], found: CandidateFound
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return a peer's addresses, those first that were found now, and which of them are hearsay."""
    newest = tuple(dict.fromkeys(found.addresses + addresses))[:MAX_CANDIDATE_ADDRESSES]
    former = set(hearsay).difference(found.addresses)
    return newest, tuple(one for one in newest if one in former or one in found.hearsay)


def send_next_requests(context: StepContext) -> None:
    """Send a request to as many candidates as may have an open attempt at a time."""
    session = context.session
    free = MAX_OPEN_ATTEMPTS - sum(one.status == "requested" for one in session.candidates.values())
    if free <= 0:
        return
    ready = [(peer, one) for peer, one in session.candidates.items() if _ready_at(one) <= context.now]
    ready.sort(key=lambda item: (item[1].status != "new", -len(item[1].finders), item[1].order))
    for peer, candidate in ready[:free]:
        _send_request(context, peer, candidate)


def _ready_at(candidate: CandidateRecord) -> Instant:
    """Return when the candidate may get its next request; math.inf for never, or not before its answer."""
    if candidate.status == "new":
        return -math.inf
    if candidate.status == "backoff":
        return candidate.due_at
    if candidate.status == "dropped" and candidate.refusals <= MAX_UNAVAILABLE_RETRIES:
        return candidate.due_at
    return math.inf


def _send_request(context: StepContext, peer: bytes, candidate: CandidateRecord) -> None:
    if candidate.crypto is None or context.now >= candidate.attempt_deadline:
        candidate.crypto = JoinerAttempt.begin(
            auth_key=context.keys.auth_key,
            route_key=context.keys.route_key,
            initiator=peer,
            joiner=context.session.own_peer,
            attempt=context.entropy(16),
            ephemeral=context.entropy(32),
            nonce=context.entropy(32),
        )
        candidate.attempt_deadline = context.now + context.config.exchange
    crypto = candidate.crypto
    candidate.status = "requested"
    candidate.tries += 1
    candidate.pending_request = PendingRequest(
        peer=peer,
        addresses=candidate.addresses,
        frame=crypto.request_frame,
        code_id=crypto.code_id,
        attempt=crypto.attempt,
        hearsay=candidate.hearsay,
    )
    context.transition("request sent")
    requests.send(context, candidate.pending_request)


def find_by_request(session: Session, request_id: int) -> bytes | None:
    """Return the peer id of the candidate that the open request `request_id` went to."""
    for peer, candidate in session.candidates.items():
        if candidate.pending_request is not None and candidate.pending_request.request_id == request_id:
            return peer
    return None


def has_open_attempt(session: Session, peer: bytes, attempt: bytes) -> bool:
    """Whether this attempt was begun with `peer` and has not ended."""
    candidate = session.candidates.get(peer)
    return candidate is not None and candidate.crypto is not None and candidate.crypto.attempt == attempt


def handle_challenge(context: StepContext, peer: bytes, frame: bytes) -> bytes | None:
    """Return th1 if `frame` proves that `peer` knows the code; else record the failure and return None."""
    candidate = context.session.candidates[peer]
    assert candidate.crypto is not None
    assert candidate.pending_request is not None
    reason = requests.refusal_reason(candidate.pending_request, frame)
    if reason is not None:
        handle_refusal(context, peer, reason)
        return None
    try:
        return candidate.crypto.verify_challenge(frame)
    except ProtocolError:
        exclude(context, peer)
        return None


def back_off(context: StepContext, peer: bytes) -> None:
    """No answer came, or `busy`: repeat the request after a pause that grows with each try."""
    candidate = context.session.candidates[peer]
    candidate.status, candidate.pending_request = "backoff", None
    candidate.due_at = context.now + requests.backoff(candidate.tries)


def handle_refusal(context: StepContext, peer: bytes, reason: RefusalReason) -> None:
    """End the attempt, unless the peer is only `busy`. The search goes on."""
    if reason == "busy":
        back_off(context, peer)
        return
    session = context.session
    candidate = session.candidates[peer]
    candidate.refusals += 1
    candidate.pending_request = candidate.crypto = None
    candidate.status = "dropped" if reason == "unavailable" else "backoff"
    pause = requests.backoff(candidate.refusals, FIRST_REFUSED_BACKOFF_SECONDS, MAX_REFUSED_BACKOFF_SECONDS)
    candidate.due_at = context.now + pause
    if reason == "closed":
        session.saw_closed = True
    elif "hint" in candidate.finders:
        session.hint_failed = True


def exclude(context: StepContext, peer: bytes) -> None:
    """The peer does not know the code, or broke the protocol: send it no request any more."""
    session = context.session
    candidate = session.candidates[peer]
    candidate.status, candidate.pending_request, candidate.crypto = "failed", None, None
    if "hint" in candidate.finders:
        session.hint_failed = True


def suspend_all(context: StepContext) -> None:
    """One candidate is proven: the others wait, and what they still answer is ignored."""
    for candidate in context.session.candidates.values():
        if candidate.status == "requested":
            candidate.status, candidate.pending_request = "backoff", None
            candidate.due_at = context.now


def handle_timers(context: StepContext) -> None:
    """Back off candidates whose answer from the swarm is overdue, and send what may be sent now."""
    for peer, candidate in context.session.candidates.items():
        if candidate.pending_request is not None and candidate.pending_request.due_at <= context.now:
            back_off(context, peer)
    send_next_requests(context)


def next_timer(context: StepContext) -> Instant:
    """Return when `handle_timers` has something to do."""
    known = context.session.candidates.values()
    overdue = [one.pending_request.due_at for one in known if one.pending_request is not None]
    # Without room for another attempt, a candidate that is ready waits until another has answered.
    ready = [_ready_at(one) for one in known] if len(overdue) < MAX_OPEN_ATTEMPTS else []
    return min(overdue + ready, default=math.inf)
