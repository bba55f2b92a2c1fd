"""The joiner's candidates: whom to ask next, and what an answer makes of one (docs/protocol.md, "Limits").

Owns their order, pauses and bounds: at most 128, 8 asked at a time, those that several finders name first.
Each has one attempt at a time, with an ephemeral key of its own; within the time of one exchange a question
is repeated with the same bytes, afterwards a fresh attempt begins, because the other side has forgotten.
"""

import math

from ...messages.base import MalformedMessageError
from ...messages.peer_protocol import RefusalReason, Refused, decode_wire
from ...messages.to_session import CandidateFound
from ...messages.types import Instant
from ...protocol.attempt import JoinerAttempt
from ...protocol.errors import ProtocolError
from .state import ADDRESSES_KEPT, ATTEMPTS_OPEN, CANDIDATES, CandidateRecord, Errand, Session
from .step_context import Turn, pause

REFUSED_PAUSE = 1.0
REFUSED_PAUSE_LONGEST = 8.0
"""After a refusal; slow enough never to look like guessing to the other swarm (30 misses in a minute)."""
UNAVAILABLE_RETRIES = 3
"""A peer that says `unavailable` may just have restarted; beyond this only discovery can bring it back."""


def note(turn: Turn, named: CandidateFound) -> CandidateRecord | None:
    """Note what discovery says of a peer; None when there are too many."""
    known = turn.session.candidates
    candidate = known.get(named.peer)
    if candidate is None:
        if len(known) >= CANDIDATES:
            return None
        candidate = CandidateRecord(
            addresses=named.addresses[:ADDRESSES_KEPT], finders=named.finders, order=len(known)
        )
        known[named.peer] = candidate
        return candidate
    # The newest word on where a peer is comes first.
    addresses = dict.fromkeys(named.addresses + candidate.addresses)
    candidate.addresses = tuple(addresses)[:ADDRESSES_KEPT]
    candidate.finders = tuple(dict.fromkeys(candidate.finders + named.finders))
    if candidate.standing == "dropped":
        candidate.standing = "resting"
        candidate.due = min(candidate.due, turn.now + REFUSED_PAUSE)
    return candidate


def ask_next(turn: Turn) -> None:
    """Ask as many as may be asked at a time."""
    session = turn.session
    free = ATTEMPTS_OPEN - _asked(session)
    if free <= 0:
        return
    ready = [(peer, one) for peer, one in session.candidates.items() if _ready_at(one) <= turn.now]
    ready.sort(key=lambda item: (item[1].standing != "new", -len(item[1].finders), item[1].order))
    for peer, candidate in ready[:free]:
        _ask(turn, peer, candidate)


def _asked(session: Session) -> int:
    return sum(one.standing == "asked" for one in session.candidates.values())


def _ready_at(candidate: CandidateRecord) -> Instant:
    if candidate.standing == "new":
        return -math.inf
    if candidate.standing == "resting":
        return candidate.due
    if candidate.standing == "dropped" and candidate.refused <= UNAVAILABLE_RETRIES:
        return candidate.due
    return math.inf


def _ask(turn: Turn, peer: bytes, candidate: CandidateRecord) -> None:
    session = turn.session
    if candidate.crypto is None or turn.now >= candidate.until:
        candidate.crypto = JoinerAttempt.begin(
            auth_key=turn.keys.auth_key,
            route_key=turn.keys.route_key,
            initiator=peer,
            joiner=session.own_peer,
            attempt=turn.entropy(16),
            ephemeral=turn.entropy(32),
            nonce=turn.entropy(32),
        )
        candidate.until = turn.now + turn.config.exchange
    crypto = candidate.crypto
    candidate.standing = "asked"
    candidate.tries += 1
    candidate.errand = Errand(
        peer=peer,
        addresses=candidate.addresses,
        frame=crypto.request_frame,
        code_id=crypto.code_id,
        attempt=crypto.attempt,
    )
    turn.move("asked")
    turn.ask(candidate.errand)


def asked_by(session: Session, request: int) -> bytes | None:
    """Return the candidate to whom the open question `request` went."""
    for peer, candidate in session.candidates.items():
        if candidate.errand is not None and candidate.errand.request == request:
            return peer
    return None


def take_challenge(turn: Turn, peer: bytes, frame: bytes) -> bytes | None:
    """Return th1 when `frame` proves that `peer` knows the words; else note what follows for the peer."""
    candidate = turn.session.candidates[peer]
    crypto = candidate.crypto
    assert crypto is not None
    reason = refusal_in(frame, crypto)
    if reason is not None:
        refused(turn, peer, reason)
        return None
    try:
        return crypto.verify_challenge(frame)
    except ProtocolError:
        fail(turn, peer)
        return None


def refusal_in(frame: bytes, crypto: JoinerAttempt) -> RefusalReason | None:
    """Return the reason when `frame` refuses this attempt."""
    try:
        message = decode_wire(frame)
    except MalformedMessageError:
        return None
    ours = isinstance(message, Refused) and (message.code_id, message.attempt) == (
        crypto.code_id,
        crypto.attempt,
    )
    return message.reason if ours and isinstance(message, Refused) else None


def rest(turn: Turn, peer: bytes) -> None:
    """No answer, or `busy`: the same question again, after a pause that grows."""
    candidate = turn.session.candidates[peer]
    candidate.standing, candidate.errand = "resting", None
    candidate.due = turn.now + pause(candidate.tries)


def refused(turn: Turn, peer: bytes, reason: RefusalReason) -> None:
    """Note a refusal: what ends an attempt does not end the search."""
    if reason == "busy":
        rest(turn, peer)
        return
    session = turn.session
    candidate = session.candidates[peer]
    candidate.refused += 1
    candidate.errand = candidate.crypto = None
    candidate.standing = "dropped" if reason == "unavailable" else "resting"
    candidate.due = turn.now + pause(candidate.refused, REFUSED_PAUSE, REFUSED_PAUSE_LONGEST)
    if reason == "closed":
        session.heard_closed = True
    elif "hint" in candidate.finders:
        session.hint_failed = True


def fail(turn: Turn, peer: bytes) -> None:
    """The peer does not know the words, or broke the protocol: it is never asked again."""
    session = turn.session
    candidate = session.candidates[peer]
    candidate.standing, candidate.errand, candidate.crypto = "failed", None, None
    if "hint" in candidate.finders:
        session.hint_failed = True


def pause_all(turn: Turn) -> None:
    """One has proved itself: the others rest, and what they still answer is not heard."""
    for candidate in turn.session.candidates.values():
        if candidate.standing == "asked":
            candidate.standing, candidate.errand, candidate.due = "resting", None, turn.now


def due(turn: Turn) -> None:
    """Ask whose pause is over; let rest whose answer the swarm owes."""
    for peer, candidate in turn.session.candidates.items():
        if candidate.errand is not None and candidate.errand.due <= turn.now:
            rest(turn, peer)
    ask_next(turn)


def timers(session: Session) -> Instant:
    """Return when `due` has something to do."""
    owed = [one.errand.due for one in session.candidates.values() if one.errand is not None]
    ready = [_ready_at(one) for one in session.candidates.values()]
    return min(owed + (ready if len(owed) < ATTEMPTS_OPEN else []), default=math.inf)
