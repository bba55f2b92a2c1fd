"""What the ledger wants done: data that tree.py applies, in order."""

from dataclasses import dataclass, field

from ..messages.child_protocol import Deliver
from ..messages.types import LogField
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


@dataclass(frozen=True, slots=True)
class Retire:
    """The session `name` is over: stop its process and do not start it again."""

    name: str


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL the actor; to its restart policy it died by `cause`."""

    name: str
    cause: Cause


@dataclass(frozen=True, slots=True)
class Discard:
    """Forget what is waiting to be written to the live actor `name`, which is about to be killed."""

    name: str


@dataclass(frozen=True, slots=True)
class Request:
    """A message for the supervisor itself."""

    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Warn:
    """Log an error that concerns the actor `name`."""

    name: str
    event: str
    fields: dict[str, LogField] = field(default_factory=dict)


Effect = Forward | Spawn | Retire | Kill | Discard | Request | Warn
