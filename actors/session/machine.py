"""The session's StepMachine: one message or the passing of time in, one whole effect out.

Owns the dispatch of messages and nothing else: the first half of a pairing is initiator.py or joiner.py,
the second decision.py, the order transitions.py. Does no I/O; clock and randomness are arguments.
"""

import math

from ...messages.actor_configs import SessionConfig
from ...messages.base import MalformedMessageError
from ...messages.from_supervisor import ActorRestarted
from ...messages.peer_protocol import ChallengeResponse, PairingDecision, PairingRequest, decode_wire
from ...messages.to_gateway import SessionView
from ...messages.to_session import (
    CancelPairing,
    Candidate,
    Decide,
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
from ...messages.types import Instant
from ...protocol.code import CodeKeys, derive
from ..base import Effects, Incoming
from . import decision, initiator, joiner, metrics, storing, view
from .state import Session, restore, save
from .step_context import Entropy, Turn
from .transitions import BEGINNING, STAGES


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
        """The whole state, for tests and simulations to look at."""
        return self._session

    def step(self, incoming: Incoming[SessionInbox], now: Instant) -> Effects:
        """Take one message. What the time asks for comes first: a deadline that has passed has passed."""
        message = incoming.message
        if self._session is None:
            return self._begin(message, now)
        turn = self._turn(now, incoming.incarnation)
        before = view.view(self._session)
        _due(turn)
        if self._session.phase != "ENDED":
            _take(turn, message)
        return self._effects(turn, before)

    def tick(self, now: Instant) -> Effects | None:
        """Take the passing of time."""
        if self._session is None or now < self.wake_at():
            return None
        turn = self._turn(now)
        before = view.view(self._session)
        _due(turn)
        return self._effects(turn, before)

    def wake_at(self) -> Instant:
        """Return when `tick` has something to do."""
        session = self._session
        if session is None or session.phase == "ENDED":
            return math.inf
        turn = self._turn(0.0)
        if session.ending is not None:
            return decision.timers(turn)
        return initiator.timers(turn) if session.role == "initiator" else joiner.timers(turn)

    # -- inside --------------------------------------------------------------------------------------

    def _turn(self, now: Instant, incarnation: int = 0) -> Turn:
        assert self._session is not None
        return Turn(self._session, self._keys, self._config, self._entropy, now, incarnation)

    def _begin(self, message: SessionInbox, now: Instant) -> Effects:
        if not isinstance(message, StartPairing | JoinPairing):
            # What reaches a session before its beginning was meant for one that is gone.
            return Effects()
        self._session = _new(message, self._entropy, now)
        self._keys = _keys_of(self._session)
        turn = self._turn(now)
        turn.tell("metrics", metrics.beginning(self._session))
        if isinstance(message, StartPairing):
            initiator.begin(turn)
        else:
            joiner.begin(turn, message.hints)
        return self._effects(turn, None)

    def _effects(self, turn: Turn, before: SessionView | None) -> Effects:
        session = turn.session
        after = view.view(session)
        if after != before:
            turn.tell("gateway", after)
        ended = session.phase == "ENDED"
        if ended:
            turn.tell("metrics", metrics.whole(session))
        self._keys = self._keys if session.code else None
        return Effects(out=turn.out, checkpoint=save(session), end=session.outcome if ended else None)


def _keys_of(session: Session | None) -> CodeKeys | None:
    return derive(session.code) if session is not None and session.code else None


def _new(message: StartPairing | JoinPairing, entropy: Entropy, now: Instant) -> Session:
    starting = isinstance(message, StartPairing)
    phase = BEGINNING["initiator" if starting else "joiner"]
    return Session(
        id=message.session,
        role="initiator" if starting else "joiner",
        code=entropy(16) if isinstance(message, StartPairing) else message.code,
        own_peer=message.own_peer,
        own_key=message.own_key,
        started=now,
        deadline=now + (message.lifetime if isinstance(message, StartPairing) else message.timeout),
        phase=phase,
        stage=STAGES[phase],
        stage_since=now,
    )


def _due(turn: Turn) -> None:
    session = turn.session
    if session.ending is not None:
        decision.due(turn)
    elif session.role == "initiator":
        initiator.due(turn)
    else:
        joiner.due(turn)


def _take(turn: Turn, message: SessionInbox) -> None:
    session = turn.session
    role = initiator if session.role == "initiator" else joiner
    match message:
        case StartPairing() | JoinPairing():
            pass  # a repeat of the one that made this session
        case Decide():
            if session.ending is not None:
                decision.decide(turn, message.accept)
        case CancelPairing():
            if session.ending is not None:
                decision.decide(turn, False, "cancelled", view.CANCELLED)
            else:
                role.cancel(turn)
        case PeerRequest():
            _take_request(turn, message)
        case PeerAnswer():
            if session.ending is not None:
                decision.take_answer(turn, message)
            elif session.role == "joiner":
                joiner.take_answer(turn, message)
        case PeerUnreachable():
            if session.ending is not None:
                decision.take_unreachable(turn, message)
            elif session.role == "joiner":
                joiner.take_unreachable(turn, message)
        case Candidate():
            if session.role == "joiner":
                joiner.take_candidate(turn, message)
        case Signed():
            role.take_signed(turn, message)
        case Stored():
            storing.take_stored(turn, message)
        case StoreRefused():
            storing.take_store_refused(turn, message)
        case ActorRestarted():
            if message.actor == "swarm":
                _swarm_restarted(turn)


def _take_request(turn: Turn, asked: PeerRequest) -> None:
    session = turn.session
    try:
        message = decode_wire(asked.frame)
    except MalformedMessageError:
        return  # the swarm decodes before it routes, and resets the stream of what cannot be decoded
    if not isinstance(message, PairingRequest | ChallengeResponse | PairingDecision):
        return  # an answer where a question belongs: likewise
    if isinstance(message, PairingDecision) and decision.concerns(
        session, asked.peer, message.code_id, message.attempt
    ):
        session.path = asked.path
        decision.take_decision(turn, asked.request, asked.frame, message)
        return
    if session.role == "initiator":
        initiator.take_request(turn, asked, message)
    else:
        joiner.take_request(turn, asked, message)
    if session.ending is not None and session.ending.other.peer == asked.peer:
        # Whatever it asks, it is back: what we have to say to it need not wait for its pause to end.
        turn.ask_soon(session.ending.errand)


def _swarm_restarted(turn: Turn) -> None:
    """What was under way is lost: our questions are put again, and the peer will repeat its own."""
    session = turn.session
    session.waiting = []
    for errand in joiner.open_errands(session):
        turn.ask_again(errand)
    if session.ending is not None:
        decision.swarm_restarted(turn)
