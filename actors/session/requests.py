"""Requests to a peer: sending them, sending them again, and recognising a refusal.

A request may be repeated with the same bytes at any time (docs/protocol.md, "Sessions"), so a lost frame, a
lost connection and a restarted swarm are all repaired in the same manner: the request is sent again. Owns
*when* a PendingRequest is sent again. Never decides what it asks for or what its answer means.
"""

import math

from ...messages.base import MalformedMessageError
from ...messages.peer_protocol import RefusalReason, Refused, decode_wire
from ...messages.to_swarm import Ask
from .state import PendingRequest
from .step_context import StepContext

FIRST_BACKOFF_SECONDS = 0.1
MAX_BACKOFF_SECONDS = 2.0
"""Between two tries of a request: doubled from the first to the longest."""
SILENCE_TIMEOUT_SECONDS = 1.0
"""A request in flight for longer, while the peer is heard of, was lost with a connection."""
SWARM_GRACE_SECONDS = 2.0
"""The swarm answers every Ask within its timeout; after that and this, the request is sent again."""


def send(context: StepContext, pending: PendingRequest) -> None:
    """Send the request now."""
    pending.request_id = context.next_request_id()
    pending.tries += 1
    pending.sent_at = context.now
    pending.due_at = context.now + context.config.exchange + SWARM_GRACE_SECONDS
    context.send(
        "swarm",
        Ask(
            pending.request_id,
            pending.peer,
            pending.addresses,
            pending.frame,
            context.config.exchange,
            pending.hearsay,
        ),
    )


def retry_after(context: StepContext, pending: PendingRequest, seconds: float) -> None:
    """Send the request again after so many seconds."""
    pending.request_id = 0
    pending.due_at = context.now + seconds


def retry_with_backoff(context: StepContext, pending: PendingRequest) -> None:
    """Send the request again after a pause that grows with each try."""
    retry_after(context, pending, backoff(pending.tries))


def retry_soon(context: StepContext, pending: PendingRequest | None) -> None:
    """Send the request again earlier than planned: the peer has just shown that it is there.

    A waiting request is sent as soon as the limit for repeats allows. One that has been in flight for long
    is sent again at once: it was lost with a connection that nobody saw break. Keep-alives keep their pace.
    """
    if pending is None or pending.keep_alive:
        return
    if not pending.in_flight:
        pending.due_at = min(pending.due_at, max(context.now, pending.sent_at + FIRST_BACKOFF_SECONDS))
    elif context.now >= pending.sent_at + SILENCE_TIMEOUT_SECONDS:
        send(context, pending)


def send_if_due(context: StepContext, pending: PendingRequest | None) -> None:
    """Send the request (again) if its time has come."""
    if pending is not None and pending.due_at <= context.now:
        send(context, pending)


def resend_lost(context: StepContext, pending: PendingRequest | None) -> None:
    """Send the request again if it was in flight: the swarm has restarted, and lost it."""
    if pending is not None and pending.in_flight:
        send(context, pending)


def backoff(tries: int, first: float = FIRST_BACKOFF_SECONDS, longest: float = MAX_BACKOFF_SECONDS) -> float:
    """Return the pause after the `tries`-th try, in seconds."""
    return min(math.ldexp(first, min(tries, 30) - 1), longest)


def refusal_reason(pending: PendingRequest, frame: bytes) -> RefusalReason | None:
    """Return why `frame` refuses this very attempt; None if it is anything else."""
    refusal = decode_refusal(frame)
    if refusal is None or (refusal.code_id, refusal.attempt) != (pending.code_id, pending.attempt):
        return None
    return refusal.reason


def decode_refusal(frame: bytes) -> Refused | None:
    """Return the refusal in `frame`, of whatever attempt; None if it is anything else."""
    try:
        answer = decode_wire(frame)
    except MalformedMessageError:
        return None
    return answer if isinstance(answer, Refused) else None
