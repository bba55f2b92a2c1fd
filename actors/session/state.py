"""The session's whole memory, as one Struct that is also its checkpoint. Secrets never show when printed.

Owns the shapes and their bounds; decides nothing. docs/architecture.md, "Steps"; docs/protocol.md, "Limits".
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ...messages.secret_struct import SecretState
from ...messages.types import ConnectionKind, Finder, Instant, Outcome, Role, Stage
from ...protocol.attempt import InitiatorAttempt, JoinerAttempt, OpenedIdentity
from ...protocol.pairing_secrets import PairingSecrets
from .transitions import Phase

ATTEMPTS_OPEN = 8
"""docs/protocol.md, "Limits": attempts open at once per code, and candidates asked at once."""
CANDIDATES = 128
"""docs/protocol.md, "Limits": candidates that a joiner takes per code."""
ADDRESSES_KEPT = 12
"""Of each candidate: 128 candidates × 12 addresses × 256 bytes stay well below a checkpoint's 1 MiB."""
WAITERS = 16
"""Requests of the peer that wait for the same answer; a 17th is told `busy`. Usually there is one."""


class Waiter(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A request of the peer that has no answer yet; `incarnation` is that of the swarm that brought it."""

    request: int
    incarnation: int


class Meter(msgspec.Struct, forbid_unknown_fields=True):
    """Counts the frames of one attempt in the present second."""

    since: Instant = 0.0
    count: int = 0


class Errand(SecretState):
    """One question to a peer, repeated with the same bytes until it is answered.

    `request` 0: not under way, to be sent at `due`. Otherwise it is under way, and `due` is when to stop
    waiting for the swarm's word. `presence`: its answer is known already; it only keeps the way open.
    """

    peer: bytes
    addresses: tuple[str, ...]
    frame: bytes
    code_id: bytes
    attempt: bytes
    request: int = 0
    sent: Instant = 0.0
    due: Instant = 0.0
    tries: int = 0
    presence: bool = False


class Guest(SecretState):
    """An attempt as the initiator sees it; one per peer. `failed`: proved nothing, kept to repeat its answer.

    `crypto` is forgotten with the keys in it once the attempt has proved itself.
    """

    attempt: bytes
    crypto: InitiatorAttempt | None
    request_frame: bytes
    challenge_frame: bytes
    began: Instant
    until: Instant
    meter: Meter = msgspec.field(default_factory=Meter)
    response_frame: bytes | None = None
    answer: bytes | None = None
    failed: bool = False


class Claim(SecretState):
    """The attempt that consumed the code, while the vault signs and ever after."""

    peer: bytes
    opened: OpenedIdentity
    request: int
    began: Instant
    at: Instant


class Candidate(SecretState):
    """A peer that may be showing the code.

    new      never asked            asked    an attempt is open
    resting  to be asked again at `due`, with a fresh attempt
    dropped  answered `unavailable`: like resting, but only a few times
    failed   broke the protocol or does not know the words: never asked again
    """

    addresses: tuple[str, ...]
    finders: tuple[Finder, ...]
    order: int
    standing: Literal["new", "asked", "resting", "dropped", "failed"] = "new"
    tries: int = 0
    refused: int = 0
    due: Instant = 0.0
    crypto: JoinerAttempt | None = None
    errand: Errand | None = None
    until: Instant = 0.0


class Chosen(SecretState):
    """The one candidate whose proof the joiner has verified, until that attempt is over."""

    peer: bytes
    crypto: JoinerAttempt
    challenge_frame: bytes
    request: int
    until: Instant
    meter: Meter = msgspec.field(default_factory=Meter)
    response_frame: bytes | None = None
    errand: Errand | None = None


class Ending(SecretState):
    """Both proved: the decisions. `own_frame` is set with `own`; `vault` is the open request to the vault.

    `verdict` is how a refusal of ours will be called; users hear it once it is delivered, or at `verdict_at`.
    `response_frame` is the joiner's ChallengeResponse, which shows that it is present until it has decided.
    """

    proven: PairingSecrets
    other: OpenedIdentity
    addresses: tuple[str, ...]
    response_frame: bytes | None
    deciding_until: Instant
    delivery_until: Instant
    own: bool | None = None
    own_frame: bytes | None = None
    acknowledged: bool = False
    peer_frame: bytes | None = None
    reply: bytes | None = None
    errand: Errand | None = None
    vault: int = 0
    verdict: Outcome | None = None
    verdict_message: str = ""
    verdict_at: Instant = 0.0
    lingered: int = 0
    meter: Meter = msgspec.field(default_factory=Meter)


class Session(SecretState):
    """All of it. `deadline`: the code's expiry for an initiator, the end of the search for a joiner.

    `code` is emptied once both sides have proved themselves: nothing derived from it is needed any more.
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
    stages: dict[Stage, float] = msgspec.field(default_factory=dict)
    requests: int = 0
    waiting: Annotated[list[Waiter], Meta(max_length=WAITERS)] = msgspec.field(default_factory=list)
    refusals: dict[str, int] = msgspec.field(default_factory=dict)
    path: ConnectionKind | None = None
    cancelling: bool = False
    outcome: Outcome | None = None
    message: str = ""
    concluded: Instant | None = None
    seconds: float | None = None
    guests: dict[bytes, Guest] = msgspec.field(default_factory=dict)
    claim: Claim | None = None
    candidates: dict[bytes, Candidate] = msgspec.field(default_factory=dict)
    chosen: Chosen | None = None
    hint_failed: bool = False
    heard_closed: bool = False
    lost_proven: bool = False
    ending: Ending | None = None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Session)


def save(session: Session) -> bytes:
    """Return the checkpoint."""
    return _encoder.encode(session)


def restore(checkpoint: bytes) -> Session:
    """Return what `save` saved."""
    return _decoder.decode(checkpoint)


__all__ = [
    "ADDRESSES_KEPT",
    "ATTEMPTS_OPEN",
    "CANDIDATES",
    "WAITERS",
    "Candidate",
    "Chosen",
    "Claim",
    "Ending",
    "Errand",
    "Guest",
    "Meter",
    "Session",
    "Waiter",
    "restore",
    "save",
]
