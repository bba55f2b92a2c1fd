"""What users see of a session: its view. The sentences in it are in messages/outcome_texts.py.

Implements docs/interfaces.md, "Stages and outcomes". Owns pure functions of the state. Never shows a device
that has not proved itself, or a code that is used.
"""

from ...messages.to_gateway import Confirmation, SeenDevice, SessionView
from .state import DecisionState, Session


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
        transport=session.transport if paired else None,
    )


def _confirmation(decision: DecisionState) -> Confirmation:
    info = decision.peer_identity.info
    device = SeenDevice(info.device_id, info.name, info.os, info.public_key, decision.peer_identity.peer)
    return Confirmation(device, decision.secrets.check, decision.secrets.th3)
