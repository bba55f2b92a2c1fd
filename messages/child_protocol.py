"""What the supervisor and one child say to each other (docs/architecture.md, "Steps").

A child never addresses another child directly: everything it sends stands in a :class:`Step`, which the
supervisor applies as a whole. The body of an envelope is opaque here and stays so in the supervisor.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from .base import Decoder, Message
from .types import Bytes16, LogField, Outcome, Reason

ActorName = Annotated[str, Meta(pattern="^[a-z]+(-[0-9a-f]{16})?$", max_length=64)]
KindName = Annotated[str, Meta(pattern="^[A-Z][A-Za-z]+$", max_length=64)]


class Outgoing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One envelope as its sender writes it; the supervisor adds who sent it.

    `slot` matters for standing kinds only: the supervisor keeps one message for each (sender, receiver,
    kind, slot), the last one, until it is withdrawn.
    """

    to: ActorName
    kind: KindName
    id: Bytes16
    body: msgspec.Raw
    slot: Annotated[bytes, Meta(max_length=80)] = b""


class Step(Message):
    """The effect of one input, all or nothing: new checkpoint, every message sent, perhaps the end.

    `input` is the number of the Deliver that caused it, or 0 for a step that the actor's own clock caused
    and for everything a live (not stepping) actor sends. `checkpoint` None keeps the former one.
    `end` set: the actor is done; the supervisor stops it and tells those who must know.
    """

    input: Annotated[int, Meta(ge=0)]
    out: tuple[Outgoing, ...] = ()
    checkpoint: bytes | None = None
    end: Outcome | None = None


class Ready(Message):
    """The child has started (and restored its checkpoint) and takes messages."""


class Pong(Message):
    """Answer to Ping: the child's loop turns."""


class Log(Message):
    """One log line; the supervisor writes it, so that lines never interleave and one place formats them."""

    level: Literal["debug", "info", "warning", "error"]
    event: Annotated[str, Meta(max_length=200)]
    fields: Annotated[dict[str, LogField], Meta(max_length=16)] = msgspec.field(default_factory=dict)


class Fatal(Message):
    """Last words of a child that ends because it cannot do its work (not a defect): shown to the user."""

    message: Annotated[str, Meta(max_length=1000)]


FromChild = Ready | Step | Pong | Log | Fatal


class Start(Message):
    """First frame to a child: who it is, what it is told, where it stood."""

    name: ActorName
    incarnation: Annotated[int, Meta(ge=1)]
    config: msgspec.Raw
    checkpoint: bytes | None = None


class Deliver(Message):
    """One envelope as its receiver gets it. `sender` and `incarnation` are stamped by the supervisor."""

    input: Annotated[int, Meta(ge=1)]
    sender: ActorName
    incarnation: Annotated[int, Meta(ge=0)]
    kind: KindName
    id: Bytes16
    body: msgspec.Raw


class Ping(Message):
    """Heartbeat."""


class Stop(Message):
    """Finish what is under way and exit; SIGKILL follows after the grace period."""

    reason: Reason = ""


ToChild = Start | Deliver | Ping | Stop

decode_from_child: Decoder[FromChild] = Decoder(FromChild)
decode_to_child: Decoder[ToChild] = Decoder(ToChild)
