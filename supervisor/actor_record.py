"""What the ledger keeps of one actor: its state, its checkpoint, and the inbox of messages it has not taken.

Owns the inbox and its bounds. Never decides what goes in or when: that is ledger.py.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from ..messages.child_protocol import Deliver
from ..messages.types import Role
from .standing_messages import Envelope

MAX_INBOX_MESSAGES = 2048
"""A child buffers twice as many inputs (actors/base.py, MAX_BUFFERED_INPUTS)."""
MAX_INBOX_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Input:
    """One message in an inbox, under the number by which its receiver acknowledges it."""

    number: int
    envelope: Envelope
    standing: bool

    def frame(self) -> Deliver:
        """Return the frame that delivers it; the same one each time."""
        envelope = self.envelope
        return Deliver(
            input=self.number,
            sender=envelope.sender,
            incarnation=envelope.incarnation,
            kind=envelope.kind,
            id=envelope.id,
            body=envelope.body,
        )


@dataclass(slots=True)
class ActorRecord:
    """One actor, from its first start until it is given up or its session ends."""

    name: str
    kind: str
    stepping: bool
    role: Role | None = None
    incarnation: int = 0
    state: Literal["down", "starting", "ready"] = "down"
    checkpoint: bytes | None = None
    inbox: deque[Input] = field(default_factory=deque)
    size: int = 0
    """Bytes that the inbox counts for."""
    next_number: int = 1
    overflowed: bool = False
    """Its inbox was full in this incarnation, for which it is killed once."""
    refused: bool = False
    """It broke a rule: nothing more of this incarnation is applied."""

    def push(self, envelope: Envelope, *, standing: bool) -> Input:
        """Append a message to the inbox."""
        entry = Input(self.next_number, envelope, standing)
        self.next_number += 1
        self.inbox.append(entry)
        self.size += envelope.size
        return entry

    def pop(self) -> None:
        """Remove the message at the front of the inbox."""
        self.size -= self.inbox.popleft().envelope.size

    def clear(self) -> None:
        """Empty the inbox."""
        self.inbox.clear()
        self.size = 0

    def messages_from(self, sender: str) -> int:
        """Return how many messages of `sender` are in the inbox."""
        return sum(entry.envelope.sender == sender for entry in self.inbox)

    def is_full(self, factor: int = 1) -> bool:
        """Say whether the inbox holds `factor` times its bounds, or more."""
        return len(self.inbox) >= MAX_INBOX_MESSAGES * factor or self.size >= MAX_INBOX_BYTES * factor
