"""Effects of the ledger: what the tree is to do, as data, applied in order by tree.py."""

from dataclasses import dataclass, field

from ..messages.child_protocol import Deliver
from ..messages.types import LogField, Outcome, Role
from .restart_policy import Cause
from .standing_messages import Envelope


@dataclass(frozen=True, slots=True, repr=False)
class Forward:
    """Write this frame to the actor `to`, which is ready."""

    to: str
    frame: Deliver

    def __repr__(self) -> str:
        return f"Forward({self.to}, {self.frame.kind} #{self.frame.input} from {self.frame.sender})"


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start the session `name`; its first message is in its inbox."""

    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class Retire:
    """Stop the process of the session `name`, which is over, and do not start it again."""

    name: str
    role: Role
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL the actor `name`; its restart policy sees `cause`."""

    name: str
    cause: Cause


@dataclass(frozen=True, slots=True)
class Discard:
    """Drop the deliveries not yet written to the live actor `name`, which is about to be killed."""

    name: str


@dataclass(frozen=True, slots=True)
class HandleRequest:
    """Answer a message that is addressed to the supervisor itself."""

    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Warn:
    """Log an error that concerns the actor `name`."""

    name: str
    event: str
    fields: dict[str, LogField] = field(default_factory=dict)


Effect = Forward | Spawn | Retire | Kill | Discard | HandleRequest | Warn
