"""What users see of a session: its view, and the sentences that explain each outcome.

Implements docs/interfaces.md, "Stages and outcomes". Owns pure functions of the state. Never shows a device
that has not proved itself, or a code that is used.
"""

from ...messages.to_gateway import Confirmation, SeenDevice, SessionView
from .state import DecisionState, Session

REJECTED_HERE = "You rejected the other device. Nothing was stored; start again if that was a mistake."
REJECTED_THERE = "The other device did not accept. Nothing was stored; ask its user, then start again."
CANCELLED = "The pairing was cancelled. Start again when you are ready."
CODE_EXPIRED = "Nobody used the code before it expired. Make a new code and enter it on the other device."
NOT_DECIDED = "Nobody accepted or rejected in time. Start again and confirm on both devices."
CODE_USED = (
    "A device answered that the code has expired or that another device has used it. "
    "Make a new code and enter that one."
)
NOT_FOUND = (
    "No device showing these words was found. Check the words, that the code has not expired, "
    "and that both devices are online; then try again."
)
WRONG_CODE = "The device was reached, but it does not show this code. Make a new code and enter that one."
LOST_PROVEN = "The other device was found, but contact was lost. Make a new code and start again."
LOST_DECIDING = "Contact with the other device was lost before it decided. Make a new code and start again."
LOST_STORED = (
    "Contact was lost before the other device confirmed. Both will agree at their next contact; "
    "otherwise start again in a few minutes."
)
CLOSED_BY_OTHER = "The other device has ended the pairing. Make a new code and start again."
OWN_DEVICE = "The other side presented this device's own key. Nothing was stored; start again."
NOT_SIGNED = "The node did not sign for this device in time. Start again; its log may say why."
PAIRED = ""


def store_refused_message(reason: str) -> str:
    """Return the sentence for a device that the vault would not store."""
    return f"This device could not store the other one ({reason[:80]}). Nothing was paired; start again."


def session_view(session: Session) -> SessionView:
    """Return all that users may see now: the code while it can be claimed, the device once it is proven."""
    showing = session.role == "initiator" and session.phase == "WAITING" and session.outcome is None
    decision = session.decision
    paired = session.outcome == "paired" and decision is not None
    return SessionView(
        session=session.id,
        role=session.role,
        stage=session.stage,
        started=session.started,
        code=session.code if showing else None,
        expires=session.deadline if showing else None,
        confirmation=None if decision is None else _confirmation(decision),
        accepted=None if decision is None else decision.own_accepted,
        outcome=session.outcome,
        message=session.message,
        fingerprint=decision.secrets.fingerprint if paired and decision is not None else None,
        seconds=session.seconds if paired else None,
        path=session.path if paired else None,
    )


def _confirmation(decision: DecisionState) -> Confirmation:
    info = decision.peer_identity.info
    device = SeenDevice(info.device_id, info.name, info.os, info.public_key, decision.peer_identity.peer)
    return Confirmation(device, decision.secrets.check, decision.secrets.th3)
