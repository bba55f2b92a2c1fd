"""The session's StepMachine: one message, or the passing of time, in; everything that follows from it out.

Owns the dispatch of messages to the half of the pairing that is under way: initiator.py or joiner.py, then
decision.py. Never does I/O: clock and randomness are arguments.
"""

import math
from typing import Protocol

from ...messages.actor_configs import SessionConfig
from ...messages.base import MalformedMessageError
from ...messages.from_supervisor import ActorRestarted
from ...messages.peer_protocol import (
    ChallengeResponse,
    PairingDecision,
    PairingRequest,
    WireRequest,
    decode_wire,
)
from ...messages.to_gateway import SessionView
from ...messages.to_session import (
    CancelPairing,
    CandidateFound,
    Decide,
    DeviceForgotten,
    JoinPairing,
    PeerAnswer,
    PeerRequest,
    PeerUnreachable,
    SessionInbox,
    Signed,
    StartPairing,
    Stored,
    StoreRefused,
)
from ...messages.types import Instant, Role
from ...protocol.code import CodeKeys, derive
from ..base import Effects, Incoming
from . import decision, finding_again, initiator, joiner, metrics, requests, view
from .state import MAX_FORGOTTEN, Session, restore, save
from .step_context import Entropy, StepContext
from .transitions import FIRST_PHASE, STAGE_OF_PHASE


class HalfHandlers(Protocol):
    """What a module handles while its half of the pairing is under way: initiator, joiner, decision."""

    def handle_answer(self, context: StepContext, answer: PeerAnswer, /) -> None:
        """Handle a peer's answer to a request of this side."""

    def handle_unreachable(self, context: StepContext, message: PeerUnreachable, /) -> None:
        """Handle that a request of this side got no answer."""

    def handle_swarm_restarted(self, context: StepContext, /) -> None:
        """Send again what the swarm has lost."""

    def cancel(self, context: StepContext, /) -> None:
        """Carry out the user's wish to stop."""

    def handle_timers(self, context: StepContext, /) -> None:
        """Do what is due by now."""

    def next_timer(self, context: StepContext, /) -> Instant:
        """Return when `handle_timers` has something to do; math.inf for never."""


class RoleHandlers(HalfHandlers, Protocol):
    """What the module of a role handles: the first half, and the peers' requests of that half at any time."""

    def handle_peer_request(
        self, context: StepContext, received: PeerRequest, message: WireRequest, /
    ) -> None:
        """Answer a request of a peer."""

    def handle_signed(self, context: StepContext, message: Signed, /) -> None:
        """Send this device's identity, which the vault has signed."""


_ROLES: dict[Role, RoleHandlers] = {"initiator": initiator, "joiner": joiner}


class SessionMachine:
    """One pairing. Without a checkpoint it waits for StartPairing or JoinPairing."""

    def __init__(self, config: SessionConfig, entropy: Entropy, checkpoint: bytes | None = None) -> None:
        self._config = config
        self._entropy = entropy
        self._session = None if checkpoint is None else restore(checkpoint)
        self._keys = _keys_of(self._session)

    def __repr__(self) -> str:
        return f"<SessionMachine {None if self._session is None else self._session.phase}>"

    @property
    def session(self) -> Session | None:
        """The state, for tests and simulations to look at."""
        return self._session

    def step(self, incoming: Incoming[SessionInbox], now: Instant) -> Effects:
        """Handle one message. Timers that have expired are handled before it: a deadline has passed."""
        message = incoming.message
        if self._session is None:
            return self._begin(message, now)
        context = self._context(now, incoming.incarnation)
        before = view.session_view(self._session)
        _current_half(self._session).handle_timers(context)
        if self._session.phase != "ENDED":
            _handle(context, message)
        return self._effects(context, before)

    def tick(self, now: Instant) -> Effects | None:
        """Handle the passing of time; None if nothing is due."""
        if self._session is None or now < self.wake_at():
            return None
        context = self._context(now)
        before = view.session_view(self._session)
        _current_half(self._session).handle_timers(context)
        return self._effects(context, before)

    def wake_at(self) -> Instant:
        """Return when `tick` has something to do."""
        session = self._session
        if session is None or session.phase == "ENDED":
            return math.inf
        return _current_half(session).next_timer(self._context(0.0))

    # -- inside --------------------------------------------------------------------------------------

    def _context(self, now: Instant, incarnation: int = 0) -> StepContext:
        assert self._session is not None
        return StepContext(self._session, self._keys, self._config, self._entropy, now, incarnation)

    def _begin(self, message: SessionInbox, now: Instant) -> Effects:
        if not isinstance(message, StartPairing | JoinPairing):
            # What reaches a session before its beginning was meant for one that is gone.
            return Effects()
        self._session = _new(message, self._entropy, now)
        self._keys = _keys_of(self._session)
        context = self._context(now)
        context.send("metrics", metrics.first_values(self._session))
        if isinstance(message, StartPairing):
            initiator.start_providing(context)
        else:
            joiner.start_finding(context, message.hints)
        return self._effects(context, None)

    def _effects(self, context: StepContext, before: SessionView | None) -> Effects:
        session = context.session
        after = view.session_view(session)
        if after != before:
            context.send("gateway", after)
        ended = session.phase == "ENDED"
        if ended:
            context.send("metrics", metrics.final_values(session))
        self._keys = self._keys if session.code else None
        return Effects(out=context.out, checkpoint=save(session), end=session.outcome if ended else None)


def _keys_of(session: Session | None) -> CodeKeys | None:
    return derive(session.code) if session is not None and session.code else None


def _new(message: StartPairing | JoinPairing, entropy: Entropy, now: Instant) -> Session:
    starting = isinstance(message, StartPairing)
    phase = FIRST_PHASE["initiator" if starting else "joiner"]
    return Session(
        id=message.session,
        role="initiator" if starting else "joiner",
        code=entropy(16) if isinstance(message, StartPairing) else message.code,
        own_peer=message.own_peer,
        own_key=message.own_key,
        started=now,
        deadline=now + (message.lifetime if isinstance(message, StartPairing) else message.timeout),
        phase=phase,
        stage=STAGE_OF_PHASE[phase],
        stage_since=now,
    )


def _current_half(session: Session) -> HalfHandlers:
    if session.decision is not None:
        return decision
    return _ROLES[session.role]


def _handle(context: StepContext, message: SessionInbox) -> None:
    session = context.session
    half = _current_half(session)
    match message:
        case StartPairing() | JoinPairing():
            pass  # a repeat of the one that made this session
        case Decide():
            if session.decision is not None:
                decision.decide(context, message.accept)
        case CancelPairing():
            session.node_stops = session.node_stops or (message.node_stops and not session.cancelling)
            half.cancel(context)
        case PeerRequest():
            _handle_peer_request(context, message)
        case PeerAnswer():
            half.handle_answer(context, message)
        case PeerUnreachable():
            half.handle_unreachable(context, message)
        case CandidateFound():
            if session.decision is not None:
                finding_again.handle_candidate(context, message)
            elif session.role == "joiner":
                joiner.handle_candidate(context, message)
        case Signed():
            _ROLES[session.role].handle_signed(context, message)
        case Stored():
            decision.handle_stored(context, message)
        case StoreRefused():
            decision.handle_store_refused(context, message)
        case DeviceForgotten(device_id=device_id):
            if session.decision is not None:
                decision.handle_forgotten(context, device_id)
            else:
                session.forgotten = [*session.forgotten, device_id][-MAX_FORGOTTEN:]
        case ActorRestarted():
            if message.actor == "swarm":
                # The peer will repeat the requests that waited for a reply: their streams are gone.
                session.waiting_requests = []
                half.handle_swarm_restarted(context)


def _handle_peer_request(context: StepContext, received: PeerRequest) -> None:
    """Answer or refuse one request frame of a peer.

    The swarm has decoded the frame and compared its code_id, to find this session. Both are done again here
    and in initiator.handle_peer_request, because the session does not trust the swarm: the swarm runs a large
    library on strangers' bytes, and one that was taken over could deliver anything. A third decoding follows
    in protocol/, which works on frames because transcripts hash them.
    """
    session = context.session
    try:
        message = decode_wire(received.frame)
    except MalformedMessageError:
        return  # the swarm resets the stream of such a frame and delivers none
    if not isinstance(message, PairingRequest | ChallengeResponse | PairingDecision):
        return  # it answers something: likewise
    if isinstance(message, PairingDecision) and decision.is_for_this_pairing(session, received.peer, message):
        session.path, session.transport = received.path, received.transport
        decision.handle_peer_decision(context, received, message)
        return
    # Everything else belongs to the first half. Repeats of it may still come in the second.
    _ROLES[session.role].handle_peer_request(context, received, message)
    if session.decision is not None and session.decision.peer_identity.peer == received.peer:
        # Whatever it requests, the peer is back: this side's pending request need not wait any longer.
        requests.retry_soon(context, session.decision.pending_request)
