"""The session's transition table: every phase, every event, and what follows. The machine obeys it.

Owns the names of phases and events, and the stage that users see in each. Never looks at a message, a
clock or a key: other modules decide *that* an event happened, only this table says what it leads to, and
an event that a phase does not list is a defect of ours (:class:`ForbiddenTransitionError`), never the peer's:
a peer's frame that does not fit is refused before it becomes an event. Implements docs/protocol.md,
"Messages" and "Ending".

Theory
------
A pairing has two halves. In the first the roles differ: one side must come to exactly one proven peer.

    initiator  WAITING ─claimed─▶ SIGNING ─proven─▶ DECIDING
    joiner     SEARCHING ─asked─▶ CONNECTING ─verified─▶ SIGNING ─signed─▶ RESPONDING ─proven─▶ DECIDING
                                       ▲─────attempt over─────┴──────────────────┘

The initiator cannot go back: the first valid ChallengeResponse consumes the code. The joiner can: an
attempt that fails is that candidate's failure, and other candidates are still there. It has at most one
ChallengeResponse outstanding, so it never claims two codes.

The second half is the same for both. Each side has one decision, its own, which is final once made, and
learns the other's. Both orders, and a vault that may be slow, give these phases:

    DECIDING           nobody has decided
    HEARD              the other accepted (and was told so at once); the own user has not decided
    SPEAKING           own acceptance made and under way to the other, who has not decided
    STORING_UNSPOKEN   both accepted, the other first: the vault is storing, the own decision has NOT left
    STORING_SPOKEN     both accepted, own first: the vault is storing, the other's has NOT been acknowledged
    DELIVERING         stored as unconfirmed; own decision repeated until acknowledged
    CONFIRMING         acknowledged; the vault turns unconfirmed into paired
    LINGERING          joiner only: paired and shown so; the way to the other is kept open a moment longer
    REFUSING           own decision is a rejection, repeated until acknowledged or until the deadline
    ENDED              exactly one outcome

Why storing comes before speaking: a side is `paired` only when (a) it has the other's acceptance and (b)
the other has acknowledged its own. The other's acceptance leaves, if it came second, only after its vault
has answered (STORING_UNSPOKEN has no edge that speaks but `stored`); if it came first, then (b) was given
either before the other had decided, which then stores before it can give (a), or after, in which case its
acknowledgement waited in STORING_SPOKEN. So whoever is `paired` has a counterpart that holds the device at
least as unconfirmed, and the vaults settle the rest at the next contact. If speaking came first, a crash
or deadline between the two would leave one side `paired` with nobody.

`paired` against `rejected` cannot be: a side is paired only by leaving CONFIRMING, CONFIRMING is reached only
after the other's acceptance, and a decision once sent is never replaced (STORING_UNSPOKEN may still turn
into REFUSING because its acceptance has not left).

Why lingering: only the joiner can dial. An initiator whose last repeat went down with a connection waits
for the joiner to come back, so a joiner that has nothing to ask repeats its last question now and then
("presence"), and does so once more after it is paired. An initiator needs no LINGERING: the vault answers.
"""

from types import MappingProxyType
from typing import Literal

from ...messages.errors import SpacedriveNodeError
from ...messages.types import Role, Stage

Phase = Literal[
    "WAITING",
    "SEARCHING",
    "CONNECTING",
    "SIGNING",
    "RESPONDING",
    "DECIDING",
    "HEARD",
    "SPEAKING",
    "STORING_UNSPOKEN",
    "STORING_SPOKEN",
    "DELIVERING",
    "CONFIRMING",
    "LINGERING",
    "REFUSING",
    "ENDED",
]

Event = Literal[
    "asked",  # joiner: the first PairingRequest leaves
    "verified",  # joiner: a Challenge carries a valid proof
    "claimed",  # initiator: a ChallengeResponse opens, with valid identity
    "signed",  # joiner: the vault has signed, ChallengeResponse leaves
    "attempt over",  # joiner: the proven candidate refused, broke the protocol or vanished
    "proven",  # both identities are known: ChallengeConfirmation leaves or has been opened
    "own accept",  # the user accepts
    "own refuse",  # the user rejects, cancels or lets the time pass; or the vault refuses before we spoke
    "peer accepts",  # the other's acceptance arrives
    "peer refuses",  # the other's rejection arrives
    "acknowledged",  # the other's DecisionReceived for our decision arrives
    "stored",  # the vault holds the device as unconfirmed
    "store refused",  # the vault does not store it
    "confirmed",  # the vault holds the device as paired
    "over",  # deadline, refusal, cancellation before anything was claimed, or delivery of a rejection done
]

_Rows = dict[Phase, dict[Event, Phase]]

_INITIATOR: _Rows = {
    "WAITING": {"claimed": "SIGNING", "over": "ENDED"},
    "SIGNING": {"proven": "DECIDING", "over": "ENDED"},
    "CONFIRMING": {"confirmed": "ENDED", "over": "ENDED"},
}

_JOINER: _Rows = {
    "SEARCHING": {"asked": "CONNECTING", "over": "ENDED"},
    "CONNECTING": {"asked": "CONNECTING", "verified": "SIGNING", "over": "ENDED"},
    "SIGNING": {"signed": "RESPONDING", "attempt over": "CONNECTING", "over": "ENDED"},
    "RESPONDING": {"proven": "DECIDING", "attempt over": "CONNECTING", "over": "ENDED"},
    "CONFIRMING": {"confirmed": "LINGERING", "over": "ENDED"},
    "LINGERING": {"over": "ENDED"},
}

_ENDING: _Rows = {
    "DECIDING": {
        "own accept": "SPEAKING",
        "own refuse": "REFUSING",
        "peer accepts": "HEARD",
        "peer refuses": "ENDED",
    },
    "HEARD": {
        "own accept": "STORING_UNSPOKEN",
        "own refuse": "REFUSING",
    },
    "SPEAKING": {
        "acknowledged": "SPEAKING",
        "peer accepts": "STORING_SPOKEN",
        "peer refuses": "ENDED",
        "over": "ENDED",
    },
    "STORING_UNSPOKEN": {
        "stored": "DELIVERING",
        "store refused": "REFUSING",
        "over": "ENDED",
    },
    "STORING_SPOKEN": {
        "acknowledged": "STORING_SPOKEN",
        "stored": "DELIVERING",
        "store refused": "ENDED",
        "over": "ENDED",
    },
    "DELIVERING": {
        "acknowledged": "CONFIRMING",
        "over": "ENDED",
    },
    "REFUSING": {
        "peer accepts": "REFUSING",
        "peer refuses": "ENDED",
        "acknowledged": "ENDED",
        "over": "ENDED",
    },
    "ENDED": {},
}

TRANSITIONS: MappingProxyType[Role, _Rows] = MappingProxyType(
    {"initiator": {**_INITIATOR, **_ENDING}, "joiner": {**_JOINER, **_ENDING}}
)

BEGINNING: MappingProxyType[Role, Phase] = MappingProxyType({"initiator": "WAITING", "joiner": "SEARCHING"})

# What users see: the stage of the latest phase that was reached. Where a phase goes back (a joiner's attempt
# that is over) the stage stays, and its duration goes on. A phase without an entry leaves it as it is.
STAGES: MappingProxyType[Phase, Stage] = MappingProxyType(
    {
        "WAITING": "waiting",
        "SEARCHING": "searching",
        "CONNECTING": "connecting",
        "SIGNING": "proving",
        "RESPONDING": "proving",
        "DECIDING": "deciding",
        "HEARD": "deciding",
        "SPEAKING": "deciding",
        "STORING_UNSPOKEN": "storing",
        "STORING_SPOKEN": "storing",
        "DELIVERING": "storing",
        "CONFIRMING": "storing",
    }
)


class ForbiddenTransitionError(SpacedriveNodeError, AssertionError):
    """The machine tried what the table does not allow: a defect in this package."""


def follow(role: Role, phase: Phase, event: Event) -> Phase:
    """Return the phase that `event` leads to. Raises ForbiddenTransitionError."""
    try:
        return TRANSITIONS[role][phase][event]
    except KeyError:
        raise ForbiddenTransitionError(f"{role} in {phase}: {event}") from None
