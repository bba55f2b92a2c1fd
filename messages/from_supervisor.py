"""Messages that the supervisor itself sends, to several receivers."""

from .base import Message
from .child_protocol import ActorName, KindName
from .types import Bytes16, Outcome, Reason, Role, SessionId


class SessionEnded(Message):
    """A session is over, whatever its end was; drop everything kept for it.

    `outcome` is what the session said in its last step, or `crashed` when the supervisor gave it up.
    """

    session: SessionId
    role: Role
    outcome: Outcome
    poison: bool = False
    """One input killed it again and again: the peer that sent it last is to be avoided for a while."""


class ActorRestarted(Message):
    """The actor lost what it had not answered: requests that are still open must be sent again."""

    actor: ActorName


class Undeliverable(Message):
    """An envelope was not taken by its receiver. `id` is the envelope's."""

    to: ActorName
    kind: KindName
    id: Bytes16
    busy: bool
    """True: the receiver (or the number of sessions) is full, try again later. False: no such actor."""
    reason: Reason = ""
