"""The session's state, as one Struct that is also its checkpoint. Secrets never show when it is printed.

One Struct, so that a checkpoint cannot leave anything out. Owns the shapes and their bounds. Never decides
anything. Implements docs/architecture.md, "Steps", and docs/protocol.md, "Limits".
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ...messages.secret_struct import SecretState
from ...messages.types import ConnectionKind, Finder, Instant, Outcome, Role, Stage, Transport
from ...protocol.attempt import InitiatorAttempt, JoinerAttempt, OpenedIdentity
from ...protocol.pairing_secrets import PairingSecrets
from .transitions import Phase

MAX_OPEN_ATTEMPTS = 8
"""docs/protocol.md, "Limits": attempts open at once per code, and candidates with an open request at once."""
MAX_ATTEMPTS_OVER = 64
"""Attempts of which it is remembered that they are over, so that a repeat does not begin them anew."""
MAX_FORGOTTEN = 64
"""Devices that were forgotten before this side knew with whom it pairs; the latest are kept. The vault keeps
all, and stores none of them."""
MAX_CANDIDATES = 128
"""docs/protocol.md, "Limits": candidates that a joiner takes per code."""
MAX_CANDIDATE_ADDRESSES = 12
"""Of each candidate: 128 candidates × 12 addresses × 256 bytes, twice where all are hearsay, fit into a
checkpoint (supervisor/ledger.py)."""
MAX_WAITING_REQUESTS = 16
"""Requests of the peer that wait for the same reply; a 17th is refused as `busy`. Usually there is one."""


class WaitingRequest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A request of the peer that has no reply yet; `incarnation` is that of the swarm that delivered it."""

    request_id: int
    incarnation: int


class RateCounter(msgspec.Struct, forbid_unknown_fields=True):
    """Counts the frames of one attempt in the second that began at `since`."""

    since: Instant = 0.0
    count: int = 0


class PendingRequest(SecretState):
    """A request to a peer, sent again with the same bytes until it is answered. requests.py works on it.

    It is in one of two states, and of one of two kinds:

        request_id = 0    waiting: it is sent (again) at `due_at`
        request_id ≠ 0    in flight: the swarm has it; at `due_at` the answer is overdue, and it is sent again

        keep_alive False  its answer is needed: retried with a short backoff, sooner if the peer shows up
        keep_alive True   its answer is known: it only keeps the connection, at its own slow interval

    `sent_at` is when it was sent last, `tries` how often it was sent.
    """

    peer: bytes
    addresses: tuple[str, ...]
    frame: bytes
    code_id: bytes
    attempt: bytes
    request_id: int = 0
    sent_at: Instant = 0.0
    due_at: Instant = 0.0
    tries: int = 0
    keep_alive: bool = False
    hearsay: tuple[str, ...] = ()

    @property
    def in_flight(self) -> bool:
        """Whether the swarm has it and has not answered."""
        return self.request_id != 0


class InboundAttempt(SecretState):
    """An attempt as the initiator sees it; one per peer.

    `crypto` holds keys; it is dropped as soon as the attempt is confirmed or has `failed`. A failed attempt
    is not open any more: it is kept until its deadline, to repeat its `answer`.
    """

    attempt: bytes
    crypto: InitiatorAttempt | None
    request_frame: bytes
    challenge_frame: bytes
    started: Instant
    deadline: Instant
    rate: RateCounter = msgspec.field(default_factory=RateCounter)
    response_frame: bytes | None = None
    answer: bytes | None = None
    failed: bool = False


class Claim(SecretState):
    """The attempt that consumed the code: set when its ChallengeResponse has opened, never changed."""

    peer: bytes
    opened: OpenedIdentity
    vault_request_id: int
    attempt_started: Instant
    claimed_at: Instant


class CandidateRecord(SecretState):
    """What a joiner knows of a peer that may be showing the code.

    new        no request was sent to it
    requested  an attempt is open: `pending_request` is set
    backoff    a request follows at `due_at`
    dropped    it answered `unavailable`: like backoff, but only a few times
    failed     it broke the protocol or does not know the code: it gets no request any more

    `hearsay` are those of the `addresses` that only third parties have named, here as in the other records.
    `crypto` is the attempt, whose request is repeated with the same bytes until `attempt_deadline`. After
    that, or if it is None, the next request begins a fresh attempt. `order`: that in which they were found.
    """

    addresses: tuple[str, ...]
    finders: tuple[Finder, ...]
    order: int
    status: Literal["new", "requested", "backoff", "dropped", "failed"] = "new"
    tries: int = 0
    refusals: int = 0
    due_at: Instant = 0.0
    crypto: JoinerAttempt | None = None
    pending_request: PendingRequest | None = None
    attempt_deadline: Instant = 0.0
    hearsay: tuple[str, ...] = ()


class ProvenCandidate(SecretState):
    """The one candidate whose proof the joiner has verified, until that attempt is over.

    `response_frame` and `pending_request` are set once the vault has signed.
    """

    peer: bytes
    crypto: JoinerAttempt
    challenge_frame: bytes
    vault_request_id: int
    deadline: Instant
    response_frame: bytes | None = None
    pending_request: PendingRequest | None = None


class DecisionState(SecretState):
    """The second half: both sides are proven, and their users decide.

    `own_decision_frame` is set together with `own_accepted`, and `reply_frame`, the DecisionReceived that
    acknowledges the peer's decision, together with `peer_decision_frame`. `vault_request_id` is that of the
    open request to the vault, or 0.

    `pending_outcome` is the outcome that this side's rejection will have. Users see it when the rejection has
    been delivered, or at `pending_outcome_at`, whichever comes first.

    `provider_key` and `mdns_instance` are the public ones of the code, under which an initiator whose swarm
    has started again is announced again. `is_finding`: a joiner that it does not answer looks for it.

    A joiner has `addresses`, and its ChallengeResponse as `response_frame`, which is its first keep-alive. An
    initiator has neither, because it does not dial.
    """

    secrets: PairingSecrets
    peer_identity: OpenedIdentity
    addresses: tuple[str, ...]
    response_frame: bytes | None
    provider_key: bytes
    mdns_instance: str
    decide_deadline: Instant
    delivery_deadline: Instant
    own_accepted: bool | None = None
    own_decision_frame: bytes | None = None
    acknowledged: bool = False
    peer_decision_frame: bytes | None = None
    reply_frame: bytes | None = None
    pending_request: PendingRequest | None = None
    vault_request_id: int = 0
    pending_outcome: Outcome | None = None
    pending_message: str = ""
    pending_outcome_at: Instant = 0.0
    is_finding: bool = False
    answers_without_loss: int = 1
    """The peer's, in a row, since a frame was lost; until one is, the acknowledgement is the first."""
    hearsay: tuple[str, ...] = ()
    rate: RateCounter = msgspec.field(default_factory=RateCounter)


class Session(SecretState):
    """The state of one pairing.

    `deadline` is the code's expiry for an initiator, the end of the search for a joiner. `code` is emptied
    once both sides are proven: nothing secret that is derived from it is needed any more.

    `cancelling`: the user has cancelled, which is carried out when the open attempt is over or proven.
    `node_stops`: not the user has, but the node, which is about to end.
    `attempts_over`: peer and attempt, of inbound attempts whose time has run out.
    `forgotten`: ids of devices that were forgotten since the vault has signed for this pairing.
    `hint_failed`, `saw_closed` and `lost_proven` are what a joiner that finds nobody reports.
    """

    id: str
    role: Role
    code: bytes
    own_peer: bytes
    own_key: bytes
    started: Instant
    deadline: Instant
    phase: Phase
    stage: Stage
    stage_since: Instant
    stage_seconds: dict[Stage, float] = msgspec.field(default_factory=dict)
    last_request_id: int = 0
    waiting_requests: Annotated[list[WaitingRequest], Meta(max_length=MAX_WAITING_REQUESTS)] = msgspec.field(
        default_factory=list
    )
    refusals: dict[str, int] = msgspec.field(default_factory=dict)
    path: ConnectionKind | None = None
    transport: Transport | None = None
    cancelling: bool = False
    node_stops: bool = False
    outcome: Outcome | None = None
    message: str = ""
    concluded: Instant | None = None
    seconds: float | None = None
    inbound_attempts: dict[bytes, InboundAttempt] = msgspec.field(default_factory=dict)
    attempts_over: Annotated[list[bytes], Meta(max_length=MAX_ATTEMPTS_OVER)] = msgspec.field(
        default_factory=list
    )
    claim: Claim | None = None
    candidates: dict[bytes, CandidateRecord] = msgspec.field(default_factory=dict)
    proven_candidate: ProvenCandidate | None = None
    hint_failed: bool = False
    saw_closed: bool = False
    lost_proven: bool = False
    forgotten: Annotated[list[bytes], Meta(max_length=MAX_FORGOTTEN)] = msgspec.field(default_factory=list)
    decision: DecisionState | None = None


def decision_of(session: Session) -> DecisionState:
    """Return the state of the second half; the session must have reached it."""
    assert session.decision is not None
    return session.decision


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Session)


def save(session: Session) -> bytes:
    """Return the checkpoint."""
    return _encoder.encode(session)


def restore(checkpoint: bytes) -> Session:
    """Return the session that `save` encoded. Raises msgspec.MsgspecError if it is damaged."""
    return _decoder.decode(checkpoint)


__all__ = [
    "MAX_ATTEMPTS_OVER",
    "MAX_CANDIDATES",
    "MAX_CANDIDATE_ADDRESSES",
    "MAX_FORGOTTEN",
    "MAX_OPEN_ATTEMPTS",
    "MAX_WAITING_REQUESTS",
    "CandidateRecord",
    "Claim",
    "DecisionState",
    "InboundAttempt",
    "PendingRequest",
    "ProvenCandidate",
    "RateCounter",
    "Session",
    "WaitingRequest",
    "decision_of",
    "restore",
    "save",
]
