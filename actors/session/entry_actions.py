"""What the session does when it enters a phase of the second half: one entry action for each phase.

They are separate from the handlers in decision.py because several events lead to one phase, and what has to
be sent depends on the phase alone. They have the order of the table of phases in transitions.py. Implements
docs/protocol.md, "Ending". Owns the requests of the second half: the decision to the peer, the joiner's
keep-alive, StoreDevice and ConfirmDevice to the vault. Never decides that an event has happened.
"""

from collections.abc import Callable

from ...messages.to_vault import ConfirmDevice, StoreDevice
from . import requests
from .state import DecisionState, PendingRequest, decision_of
from .step_context import StepContext
from .transitions import Event, Phase

KEEP_ALIVE_SECONDS = 2.0
KEEP_ALIVE_REFUSED_SECONDS = 8.0
"""Intervals of a joiner's keep-alive. After a refusal longer: misses are limited to 30 a minute."""
TIME_WAIT_KEEP_ALIVE_SECONDS = 1.5
TIME_WAIT_ANSWERS = 2
MAX_TIME_WAIT_SECONDS = 30.0
"""TIME_WAIT lasts until so many answers of the peer in a row, the acknowledgement included if no frame was
lost so far; at the longest so long: time for a peer's swarm to restart."""


def enter_next(context: StepContext, event: Event) -> None:
    """Follow the transition table; if that enters another phase, do its entry action.

    A phase that an event leads back to is not entered again. Raises ForbiddenTransitionError.
    """
    before = context.session.phase
    context.transition(event)
    after = context.session.phase
    if after != before and after in _ENTRY_ACTIONS:
        _ENTRY_ACTIONS[after](context)


# -- the entry actions, in the order of the phases -------------------------------------------------------


def _start_keep_alive(context: StepContext) -> None:
    """DECIDING: until its user has decided, a joiner repeats its ChallengeResponse to stay connected."""
    decision = decision_of(context.session)
    if decision.response_frame is not None:
        keep_alive(context, decision.response_frame, KEEP_ALIVE_SECONDS)


def _send_decision(context: StepContext) -> None:
    """ACCEPTED, REJECTING: send the decision. Retries go on until it is acknowledged, or the deadline."""
    decision = decision_of(context.session)
    assert decision.own_decision_frame is not None
    decision.pending_request = _request(decision, decision.own_decision_frame)
    requests.send(context, decision.pending_request)


def _store(context: StepContext) -> None:
    """STORING_BEFORE_SEND, STORING_AFTER_SEND: let the vault hold the device as unconfirmed.

    What is still to leave, the acceptance or the acknowledgement, waits for its answer. If this side's
    acceptance is acknowledged already, nothing is missing, and the vault holds the device as paired at once.
    """
    decision = decision_of(context.session)
    assert decision.own_decision_frame is not None
    assert decision.peer_decision_frame is not None
    assert decision.reply_frame is not None
    peer, secrets = decision.peer_identity, decision.secrets
    decision.vault_request_id = context.next_request_id()
    context.send(
        "vault",
        StoreDevice(
            request=decision.vault_request_id,
            role=peer.role,
            th=peer.th,
            peer=peer.peer,
            info=peer.info_frame,
            signature=peer.signature,
            response=secrets.response_frame,
            confirmation=secrets.confirmation_frame,
            th3=secrets.th3,
            secret=secrets.pairing_secret,
            decision=decision.own_decision_frame,
            expected_mac=secrets.expected_mac(decision.own_decision_frame),
            peer_decision=decision.peer_decision_frame,
            reply=decision.reply_frame,
            # It waits one exchange longer for the answer, so a refusal as too late comes before its end.
            deadline=decision.delivery_deadline,
            acknowledged=decision.acknowledged,
        ),
    )


def _await_acknowledgement(context: StepContext) -> None:
    """AWAITING_ACK: send the acceptance, unless it has been sent already, before storing."""
    decision = decision_of(context.session)
    if decision.acknowledged:
        enter_next(context, "acknowledged")  # it came while the vault was storing
    elif decision.pending_request is None or decision.pending_request.keep_alive:
        _send_decision(context)


def _confirm(context: StepContext) -> None:
    """CONFIRMING: let the vault turn unconfirmed into paired."""
    decision = decision_of(context.session)
    decision.vault_request_id = context.next_request_id()
    context.send("vault", ConfirmDevice(decision.vault_request_id, decision.secrets.th3))


def _start_time_wait(context: StepContext) -> None:
    """TIME_WAIT: stay reachable, so that an initiator that has missed a frame can get it again."""
    decision = decision_of(context.session)
    assert decision.own_decision_frame is not None
    decision.delivery_deadline = min(decision.delivery_deadline, context.now + MAX_TIME_WAIT_SECONDS)
    keep_alive(context, decision.own_decision_frame, TIME_WAIT_KEEP_ALIVE_SECONDS)


_ENTRY_ACTIONS: dict[Phase, Callable[[StepContext], None]] = {
    "DECIDING": _start_keep_alive,
    "ACCEPTED": _send_decision,
    "STORING_BEFORE_SEND": _store,
    "STORING_AFTER_SEND": _store,
    "AWAITING_ACK": _await_acknowledgement,
    "CONFIRMING": _confirm,
    "TIME_WAIT": _start_time_wait,
    "REJECTING": _send_decision,
}


# -- requests to the peer --------------------------------------------------------------------------------


def keep_alive(context: StepContext, frame: bytes, seconds: float) -> None:
    """Repeat an answered request, first after so many seconds, so that a lost connection is made anew."""
    decision = decision_of(context.session)
    decision.pending_request = _request(decision, frame)
    decision.pending_request.keep_alive = True
    requests.retry_after(context, decision.pending_request, seconds)


def _request(decision: DecisionState, frame: bytes) -> PendingRequest:
    return PendingRequest(
        peer=decision.peer_identity.peer,
        addresses=decision.addresses,
        frame=frame,
        code_id=decision.secrets.code_id,
        attempt=decision.secrets.attempt,
        hearsay=decision.hearsay,
    )
