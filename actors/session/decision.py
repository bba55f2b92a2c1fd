"""The second half of a pairing, the same for both roles: two decisions, each stored before it is sent.

Implements docs/protocol.md, "Ending". Owns the recognition of events; each handler below turns a message, or
the time, into events of the transition table:

    message or timer                              event                       handler
    both sides are proven                         proven                      begin
    Decide, CancelPairing, no decision in time    own accept, own reject      decide
    PeerRequest with the peer's decision          peer accepts, peer rejects  handle_peer_decision
    Stored                                        stored, confirmed           handle_stored
    StoreRefused                                  store refused               handle_store_refused
    DeviceForgotten                               own reject, store refused,  handle_forgotten
                                                  or over
    PeerAnswer: DecisionReceived                  acknowledged                handle_answer
    PeerAnswer: `closed`; the delivery deadline   over                        handle_answer, handle_timers

Where an event leads is in transitions.py, and what is done on entering the next phase in entry_actions.py.
Never sends anything to the vault.
"""

import math

from ...messages import outcome_texts
from ...messages.peer_protocol import PairingDecision
from ...messages.to_session import PeerAnswer, PeerRequest, PeerUnreachable, Stored, StoreRefused
from ...messages.types import Instant, Outcome
from ...protocol.attempt import OpenedIdentity
from ...protocol.errors import ProtocolError
from ...protocol.pairing_secrets import PairingSecrets
from . import entry_actions, finding_again, requests
from .entry_actions import enter_next
from .state import DecisionState, PendingRequest, Session, decision_of
from .step_context import StepContext
from .transitions import Event


def begin(
    context: StepContext,
    secrets: PairingSecrets,
    peer_identity: OpenedIdentity,
    since: Instant,
    answered: PendingRequest | None = None,
    response_frame: bytes | None = None,
) -> None:
    """Both sides are proven: let the users decide. The deadlines run from `since`.

    The joiner passes its request that was `answered`, for its addresses, and its `response_frame`: it is the
    one that dials.
    """
    config, session = context.config, context.session
    session.decision = DecisionState(
        secrets=secrets,
        peer_identity=peer_identity,
        addresses=() if answered is None else answered.addresses,
        hearsay=() if answered is None else answered.hearsay,
        response_frame=response_frame,
        provider_key=context.keys.provider_key,
        mdns_instance=context.keys.mdns_instance,
        decide_deadline=since + min(config.deciding, config.delivery),
        delivery_deadline=since + config.delivery,
    )
    session.code = b""
    enter_next(context, "proven")
    if session.cancelling:
        cancel(context)
    for device_id in session.forgotten:
        handle_forgotten(context, device_id)


# -- this side's decision --------------------------------------------------------------------------------


def decide(
    context: StepContext,
    accept: bool,
    outcome: Outcome = "rejected",
    message: str = outcome_texts.REJECTED_HERE,
) -> None:
    """Make this side's decision; the first is final. `outcome` and `message` are those of a rejection."""
    decision = decision_of(context.session)
    if decision.own_accepted is not None:
        return
    if accept:
        decision.own_accepted = True
        decision.own_decision_frame = decision.secrets.decision_frame(True)
        enter_next(context, "own accept")
    else:
        _reject(context, outcome, message, "own reject")


def cancel(context: StepContext) -> None:
    """The user cancels, or the node stops: reject, unless this side has decided already."""
    decide(context, False, *context.cancellation())


def _reject(context: StepContext, outcome: Outcome, message: str, event: Event) -> None:
    """Reject, finally. Users see the outcome when the peer knows, or after the time of one exchange.

    After `store refused` an acceptance was sealed already, under the same key. It has not been sent, so
    nobody ever sees two frames under that key.
    """
    decision = decision_of(context.session)
    decision.own_accepted = False
    decision.own_decision_frame = decision.secrets.decision_frame(False)
    decision.pending_outcome, decision.pending_message = outcome, message
    decision.pending_outcome_at = context.now + context.config.exchange
    enter_next(context, event)


# -- the peer's decision ---------------------------------------------------------------------------------


def is_for_this_pairing(session: Session, peer: bytes, message: PairingDecision) -> bool:
    """Whether a decision from `peer` belongs to this pairing: same peer, code and attempt."""
    decision = session.decision
    return (
        decision is not None
        and decision.peer_identity.peer == peer
        and (decision.secrets.code_id, decision.secrets.attempt) == (message.code_id, message.attempt)
    )


def handle_peer_decision(context: StepContext, received: PeerRequest, message: PairingDecision) -> None:
    """Handle a decision that `is_for_this_pairing`: acknowledge it at once, or when the vault has stored."""
    decision = decision_of(context.session)
    if not context.within_rate(decision.rate):
        context.refuse(received.request, message, "busy")
        return
    if decision.peer_decision_frame is None:
        try:
            accepted = decision.secrets.open_decision(received.frame)
        except ProtocolError:
            context.refuse(received.request, message, "protocol")
            return
        decision.peer_decision_frame = received.frame
        decision.reply_frame = decision.secrets.received_frame(received.frame)
        if accepted:
            enter_next(context, "peer accepts")
            _acknowledge(context, received.request, message)
        else:
            context.reply(received.request, decision.reply_frame)
            outcome = decision.pending_outcome or "rejected"
            context.end(outcome, decision.pending_message or outcome_texts.REJECTED_THERE, "peer rejects")
    elif received.frame != decision.peer_decision_frame:
        context.refuse(received.request, message, "protocol")
    else:
        decision.answers_without_loss = 0  # the peer repeats: it has missed something
        _acknowledge(context, received.request, message)
    requests.retry_soon(context, decision.pending_request)


def _acknowledge(context: StepContext, request_id: int, message: PairingDecision) -> None:
    """Acknowledge the peer's acceptance; while the vault is storing, not before it has answered."""
    decision = decision_of(context.session)
    assert decision.reply_frame is not None
    if context.session.phase in ("STORING_BEFORE_SEND", "STORING_AFTER_SEND"):
        context.reply_later(request_id, message)
    else:
        context.reply(request_id, decision.reply_frame)


# -- the vault's answers ---------------------------------------------------------------------------------


def handle_stored(context: StepContext, message: Stored) -> None:
    """The device is durable: as unconfirmed while storing, as paired while confirming.

    While storing, `paired` means that nothing was missing (entry_actions.py). While confirming, `unconfirmed`
    means that the vault could not write: it settles the rest later.
    """
    session = context.session
    decision = session.decision
    if decision is None or message.request != decision.vault_request_id:
        return
    decision.vault_request_id = 0
    storing = session.phase != "CONFIRMING"
    if storing:
        assert decision.reply_frame is not None
        context.reply_to_waiting(decision.reply_frame)
    if message.state == "paired" and decision.acknowledged:
        began = session.claim.attempt_started if session.claim else session.started
        session.seconds = max(0.0, context.now - began)
        context.conclude("paired", outcome_texts.PAIRED)
        enter_next(context, "confirmed")
    elif storing:
        enter_next(context, "stored")
    else:
        context.end("lost_contact", outcome_texts.NOT_CONFIRMED)


def handle_store_refused(context: StepContext, message: StoreRefused) -> None:
    """The vault will not hold the device: acknowledge no acceptance, and reject if ours was not sent yet."""
    session = context.session
    decision = session.decision
    if decision is None or message.request != decision.vault_request_id:
        return
    decision.vault_request_id = 0
    text = outcome_texts.store_refused(message.reason)
    if session.phase == "STORING_BEFORE_SEND":
        # The peer's acceptance was acknowledged before (PEER_ACCEPTED): its repeats may be, too.
        assert decision.reply_frame is not None
        context.reply_to_waiting(decision.reply_frame)
        _reject(context, "crashed", text, "store refused")
    elif session.phase == "STORING_AFTER_SEND":
        _close_waiting(context)
        context.end("crashed", text, "store refused")
    else:  # both have accepted and this side has said so: the other one may be paired
        context.end("crashed", outcome_texts.STORE_LOST)


def handle_forgotten(context: StepContext, device_id: bytes) -> None:
    """The user has forgotten a device: a pairing with it ends. The vault keeps nothing of it any more.

    What is not said yet becomes a rejection. An acceptance that has left cannot be taken back: the session
    ends, and the peer is answered `closed` from then on.
    """
    session = context.session
    decision = decision_of(session)
    if decision.peer_identity.info.device_id != device_id:
        return
    decision.vault_request_id = 0  # its answer says nothing any more
    if session.phase == "STORING_BEFORE_SEND":
        assert decision.reply_frame is not None
        context.reply_to_waiting(decision.reply_frame)
        _reject(context, "cancelled", outcome_texts.FORGOTTEN, "store refused")
    elif session.phase in ("DECIDING", "PEER_ACCEPTED"):
        decide(context, False, "cancelled", outcome_texts.FORGOTTEN)
    elif session.phase != "REJECTING":
        _close_waiting(context)
        context.end("cancelled", outcome_texts.FORGOTTEN)


# -- the peer's answers to this side's requests ----------------------------------------------------------


def handle_answer(context: StepContext, answer: PeerAnswer) -> None:
    """Handle the peer's answer to this side's decision, or to a keep-alive.

    A keep-alive's answer is known already and changes nothing, with one exception: in ACCEPTED the keep-alive
    repeats a decision that the peer has acknowledged, and `closed` means that its session is gone undecided.
    """
    session = context.session
    decision = decision_of(session)
    pending = decision.pending_request
    if pending is None or pending.request_id != answer.request:
        return
    session.path, session.transport = answer.path, answer.transport
    finding_again.stop(context)
    if pending.keep_alive and session.phase != "ACCEPTED":
        _continue_keep_alive(context, pending, answer.frame)
    elif decision.secrets.verify_received(pending.frame, answer.frame):
        _handle_acknowledgement(context)
    elif requests.refusal_reason(pending, answer.frame) in ("closed", "protocol"):
        _end_early(context, "lost_contact", outcome_texts.CLOSED_BY_OTHER)
    else:
        requests.retry_with_backoff(context, pending)


def _handle_acknowledgement(context: StepContext) -> None:
    decision = decision_of(context.session)
    assert decision.own_decision_frame is not None
    decision.acknowledged, decision.pending_request = True, None
    if context.session.phase == "REJECTING":
        assert decision.pending_outcome is not None
        context.end(decision.pending_outcome, decision.pending_message, "acknowledged")
        return
    if decision.response_frame is not None:  # a joiner, with nothing left to request
        entry_actions.keep_alive(context, decision.own_decision_frame, entry_actions.KEEP_ALIVE_SECONDS)
    enter_next(context, "acknowledged")


def _continue_keep_alive(context: StepContext, pending: PendingRequest, frame: bytes) -> None:
    """The peer is there. TIME_WAIT ends after a number of answers during which the peer repeated nothing."""
    if context.session.phase == "TIME_WAIT":
        decision = decision_of(context.session)
        decision.answers_without_loss += 1
        if decision.answers_without_loss >= entry_actions.TIME_WAIT_ANSWERS:
            context.end("paired", outcome_texts.PAIRED)
        requests.retry_after(context, pending, entry_actions.TIME_WAIT_KEEP_ALIVE_SECONDS)
    else:
        refused = requests.decode_refusal(frame) is not None
        pause = entry_actions.KEEP_ALIVE_REFUSED_SECONDS if refused else entry_actions.KEEP_ALIVE_SECONDS
        requests.retry_after(context, pending, pause)


def handle_unreachable(context: StepContext, message: PeerUnreachable) -> None:
    """The peer gave no answer: send the same request again after a pause."""
    decision = decision_of(context.session)
    pending = decision.pending_request
    if pending is not None and pending.request_id == message.request:
        decision.answers_without_loss = 0
        requests.retry_with_backoff(context, pending)
        finding_again.find_again(context)


def handle_swarm_restarted(context: StepContext) -> None:
    """Every connection is lost: send again what was in flight; a joiner dials at once, to be reachable.

    An initiator may be reached elsewhere from now on.
    """
    finding_again.announce_again(context)
    decision = decision_of(context.session)
    decision.answers_without_loss = 0
    pending = decision.pending_request
    if pending is not None and pending.keep_alive:
        requests.send(context, pending)
    else:
        requests.resend_lost(context, pending)


# -- time ------------------------------------------------------------------------------------------------


def handle_timers(context: StepContext) -> None:
    """Do what is due by now."""
    session = context.session
    decision = decision_of(session)
    if decision.own_accepted is None and context.now >= decision.decide_deadline:
        decide(context, False, "expired", outcome_texts.NOT_DECIDED)
    if decision.pending_outcome is not None and context.now >= decision.pending_outcome_at:
        context.conclude(decision.pending_outcome, decision.pending_message)
    if context.now >= _delivery_deadline(context):
        stored = session.phase in ("AWAITING_ACK", "CONFIRMING")
        _end_early(
            context, "lost_contact", outcome_texts.LOST_STORED if stored else outcome_texts.LOST_DECIDING
        )
        return
    requests.send_if_due(context, decision.pending_request)


def next_timer(context: StepContext) -> Instant:
    """Return when `handle_timers` has something to do."""
    decision = decision_of(context.session)
    times = [_delivery_deadline(context)]
    if decision.own_accepted is None:
        times.append(decision.decide_deadline)
    if decision.pending_outcome is not None and context.session.outcome is None:
        times.append(decision.pending_outcome_at)
    times.append(decision.pending_request.due_at if decision.pending_request is not None else math.inf)
    return min(times)


def _delivery_deadline(context: StepContext) -> Instant:
    """Return the deadline; a little later while only this side's vault is missing, which always answers."""
    decision = decision_of(context.session)
    return decision.delivery_deadline + (context.config.exchange if decision.vault_request_id else 0.0)


def _end_early(context: StepContext, outcome: Outcome, message: str) -> None:
    """End with this outcome, or with that of this side's rejection if there is one.

    TIME_WAIT ends here too, at its deadline: there the outcome is `paired` already, and the first one stands.
    """
    decision = decision_of(context.session)
    _close_waiting(context)
    if decision.pending_outcome is not None:
        outcome, message = decision.pending_outcome, decision.pending_message
    context.end(outcome, message)


def _close_waiting(context: StepContext) -> None:
    """Refuse the peer's requests that wait: nothing was stored, so they are not acknowledged."""
    if context.session.waiting_requests:
        secrets = decision_of(context.session).secrets
        context.reply_to_waiting(context.refusal(secrets.code_id, secrets.attempt, "closed"))
