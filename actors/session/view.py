"""What leaves the session for users: its view. The sentences in it are in messages/outcome_texts.py.

Pure functions of the state. docs/interfaces.md, "Stages and outcomes".
"""

from ...messages.to_gateway import Confirmation, SeenDevice, SessionView
from .state import Ending, Session


def view(session: Session) -> SessionView:
    """Return all that a user may see at this moment."""
    showing = session.role == "initiator" and session.phase == "WAITING" and session.outcome is None
    ending = session.ending
    paired = session.outcome == "paired" and ending is not None
    return SessionView(
        session=session.id,
        role=session.role,
        stage=session.stage,
        started=session.started,
        code=session.code if showing else None,
        expires=session.deadline if showing else None,
        confirmation=None if ending is None else _confirmation(ending),
        accepted=None if ending is None else ending.own,
        outcome=session.outcome,
        message=session.message,
        fingerprint=ending.proven.fingerprint if paired and ending is not None else None,
        seconds=session.seconds if paired else None,
        path=session.path if paired else None,
    )


def _confirmation(ending: Ending) -> Confirmation:
    info = ending.other.info
    device = SeenDevice(info.device_id, info.name, info.os, info.public_key, ending.other.peer)
    return Confirmation(device, ending.proven.check, ending.proven.th3)
