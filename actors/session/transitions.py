"""The session's transition table: every phase, every event, and the phase that follows. The machine obeys it.

It keeps the order of a pairing in one place, where it can be read, argued about and tested
(docs/protocol.md, "Sessions" and "Ending").

Owns the names of phases and events, and the stage that users see in each phase. Never looks at a message, a
clock or a key: other modules decide *that* an event happened, only this table decides what it leads to. An
event that a phase does not list is a defect of ours (:class:`ForbiddenTransitionError`), never the peer's: a
peer's frame that does not fit is refused before it becomes an event.

Each event below names the function that raises it. In the first half of a pairing that function also does
what the transition requires. In the second half what has to be done depends on the phase that is entered:
entry_actions.py holds these actions, in the order of the table of phases below.

Theory
------
A pairing has two halves. In the first the roles differ: each side must come to exactly one proven peer.

    initiator
    WAITING ─claimed─▶ SIGNING ─proven─▶ DECIDING

    joiner
    SEARCHING ─request sent─▶ CONNECTING ─verified─▶ SIGNING ─signed─▶ RESPONDING ─proven─▶ DECIDING
                                  ▲─────attempt over─────┴──────────────────┘

The initiator cannot go back: the first valid ChallengeResponse consumes the code. The joiner can: an attempt
that fails is the failure of that candidate, and other candidates remain. It has at most one ChallengeResponse
outstanding, so it never claims two codes.

The second half is the same for both roles. Each side makes one decision, which is final, and learns the
peer's. The two decisions may come in either order, and the vault needs time to store, hence these phases:

    phase                meaning                                             action on entry
    DECIDING             both are proven; nobody has decided                 joiner: start the keep-alive
    PEER_ACCEPTED        the peer accepted and was acknowledged at once;
                         this user has not decided
    ACCEPTED             this user accepted; the peer has not decided        send the acceptance
    STORING_BEFORE_SEND  both accepted, the peer first: this side's          let the vault store
                         acceptance has NOT been sent
    STORING_AFTER_SEND   both accepted, this user first: the peer's          let the vault store, as
                         acceptance has NOT been acknowledged                paired if it may
    AWAITING_ACK         the vault holds the device as unconfirmed           send the acceptance, unless sent
    CONFIRMING           the peer has acknowledged the acceptance            let the vault make it paired
    TIME_WAIT            joiner only: paired, and users see it               keep alive a moment longer
    REJECTING            this side has rejected                              send the rejection
    ENDED                there is exactly one outcome

A decision once sent is repeated until it is acknowledged, or until the deadline.

Why a side stores before it sends. A side X becomes `paired` only when (a) it has the acceptance of its peer Y
and (b) Y has acknowledged X's acceptance. By then Y has stored X, whichever came first at Y:

- X's acceptance came before Y's user accepted. Y acknowledged at once, which is (b). But then Y passed
  through STORING_BEFORE_SEND, whose only edge to sending is `stored`: (a) left after Y had stored.
- Y's user accepted before X's acceptance came. Y had sent its acceptance, which is (a). But then Y passed
  through STORING_AFTER_SEND, where the acknowledgement waits for `stored`: (b) left after Y had stored.

So the peer of a `paired` side holds the device at least as unconfirmed, and the vaults settle the rest at
their next contact. If sending came first, a crash or a deadline between sending and storing would leave one
side `paired` with nobody.

A side whose acceptance is acknowledged when the peer's comes has both, (a) and (b), before it stores. So it
stores the device as `paired` at once, and comes to `confirmed` without CONFIRMING.

Why `paired` never meets `rejected`. A side becomes paired only by `confirmed`, which leaves CONFIRMING or
STORING_AFTER_SEND. Both are reached only with the peer's acceptance, and a decision once sent is never
replaced. (STORING_BEFORE_SEND may still turn into REJECTING, because its acceptance has not been sent.)

Why TIME_WAIT. Only the joiner can dial. An initiator whose last repeat was lost with a connection waits for
the joiner to come back. A joiner that has nothing to request therefore repeats its last answered request now
and then as a keep-alive, and goes on with it for a moment after it is paired. An initiator needs no
TIME_WAIT: its vault answers late repeats from the store.
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
    "PEER_ACCEPTED",
    "ACCEPTED",
    "STORING_BEFORE_SEND",
    "STORING_AFTER_SEND",
    "AWAITING_ACK",
    "CONFIRMING",
    "TIME_WAIT",
    "REJECTING",
    "ENDED",
]

Event = Literal[
    # First half: the function in brackets also does what the transition requires.
    "request sent",  # joiner: a PairingRequest leaves (candidates._send_request)
    "verified",  # joiner: a Challenge carries a valid proof; the vault shall sign (joiner._select)
    "claimed",  # initiator: a valid ChallengeResponse opens; the vault shall sign (initiator._open_response)
    "signed",  # joiner: the vault has signed; ChallengeResponse leaves (joiner.handle_signed)
    "attempt over",  # joiner: the proven candidate refused, broke the rules or vanished (joiner._end_attempt)
    "proven",  # both identities are known (decision.begin)
    # Second half: what is done on entering a phase is in entry_actions.py.
    "own accept",  # the user accepts (decision.decide)
    "own reject",  # the user rejects, cancels or lets the time pass (decision.decide)
    "peer accepts",  # the peer's acceptance arrives (decision.handle_peer_decision)
    "peer rejects",  # the peer's rejection arrives (decision.handle_peer_decision)
    "acknowledged",  # the peer's DecisionReceived for our decision arrives (decision.handle_answer)
    "stored",  # the vault holds the device as unconfirmed (decision.handle_stored)
    "store refused",  # the vault does not store the device (decision.handle_store_refused)
    "confirmed",  # the vault holds the device as paired (decision.handle_stored)
    # Both halves: a deadline, a cancellation before anything was claimed, the end of TIME_WAIT,
    # or the peer's word that it has ended the pairing (StepContext.end).
    "over",
]

_Rows = dict[Phase, dict[Event, Phase]]

_INITIATOR: _Rows = {
    "WAITING": {"claimed": "SIGNING", "over": "ENDED"},
    "SIGNING": {"proven": "DECIDING", "over": "ENDED"},
}

_JOINER: _Rows = {
    "SEARCHING": {"request sent": "CONNECTING", "over": "ENDED"},
    "CONNECTING": {"request sent": "CONNECTING", "verified": "SIGNING", "over": "ENDED"},
    "SIGNING": {"signed": "RESPONDING", "attempt over": "CONNECTING", "over": "ENDED"},
    "RESPONDING": {"proven": "DECIDING", "attempt over": "CONNECTING", "over": "ENDED"},
    "TIME_WAIT": {"over": "ENDED"},
}


def _second_half(paired: Phase) -> _Rows:
    """Return the rows of the second half; `paired` is the phase of a side that is paired."""
    return {
        "DECIDING": {
            "own accept": "ACCEPTED",
            "own reject": "REJECTING",
            "peer accepts": "PEER_ACCEPTED",
            "peer rejects": "ENDED",
        },
        "PEER_ACCEPTED": {
            "own accept": "STORING_BEFORE_SEND",
            "own reject": "REJECTING",
        },
        "ACCEPTED": {
            "acknowledged": "ACCEPTED",
            "peer accepts": "STORING_AFTER_SEND",
            "peer rejects": "ENDED",
            "over": "ENDED",
        },
        "STORING_BEFORE_SEND": {
            "stored": "AWAITING_ACK",
            "store refused": "REJECTING",
            "over": "ENDED",
        },
        "STORING_AFTER_SEND": {
            "acknowledged": "STORING_AFTER_SEND",
            "stored": "AWAITING_ACK",
            "confirmed": paired,
            "store refused": "ENDED",
            "over": "ENDED",
        },
        "AWAITING_ACK": {
            "acknowledged": "CONFIRMING",
            "over": "ENDED",
        },
        "CONFIRMING": {"confirmed": paired, "over": "ENDED"},
        "REJECTING": {
            "peer accepts": "REJECTING",
            "peer rejects": "ENDED",
            "acknowledged": "ENDED",
            "over": "ENDED",
        },
        "ENDED": {},
    }


TRANSITIONS: MappingProxyType[Role, _Rows] = MappingProxyType(
    {
        "initiator": {**_INITIATOR, **_second_half("ENDED")},
        "joiner": {**_JOINER, **_second_half("TIME_WAIT")},
    }
)

FIRST_PHASE: MappingProxyType[Role, Phase] = MappingProxyType({"initiator": "WAITING", "joiner": "SEARCHING"})

# The stage that users see: that of the latest phase reached, also after `attempt over`, where the phase goes
# back. A phase without an entry leaves the stage as it is: REJECTING, ENDED, and TIME_WAIT, in which the
# stage still reads "storing" while the outcome is "paired" already. Then the outcome is what counts; the
# stage means nothing.
STAGE_OF_PHASE: MappingProxyType[Phase, Stage] = MappingProxyType(
    {
        "WAITING": "waiting",
        "SEARCHING": "searching",
        "CONNECTING": "connecting",
        "SIGNING": "proving",
        "RESPONDING": "proving",
        "DECIDING": "deciding",
        "PEER_ACCEPTED": "deciding",
        "ACCEPTED": "deciding",
        "STORING_BEFORE_SEND": "storing",
        "STORING_AFTER_SEND": "storing",
        "AWAITING_ACK": "storing",
        "CONFIRMING": "storing",
    }
)


class ForbiddenTransitionError(SpacedriveNodeError, AssertionError):
    """The machine tried what the table does not allow: a defect in this package."""


def next_phase(role: Role, phase: Phase, event: Event) -> Phase:
    """Return the phase that `event` leads to. Raises ForbiddenTransitionError."""
    try:
        return TRANSITIONS[role][phase][event]
    except KeyError:
        raise ForbiddenTransitionError(f"{role} in {phase}: {event}") from None
