"""The messages between the supervisor and one child (docs/architecture.md, "Steps").

A child never addresses another child directly. Everything that it sends is in a :class:`Step`, which the
supervisor applies completely or not at all. The body of an envelope is opaque here, and the supervisor never
decodes it.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from .base import Decoder, Message
from .types import Bytes16, Outcome, Reason

ActorName = Annotated[str, Meta(pattern="^[a-z]+(-[0-9a-f]{16})?$", max_length=64)]
KindName = Annotated[str, Meta(pattern="^[A-Z][A-Za-z]+$", max_length=64)]


LogKey = Annotated[str, Meta(pattern=r"^[a-z_]{1,32}\Z")]
LogValue = Annotated[str, Meta(max_length=1000)] | int | float | bool | None


class Outgoing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One envelope as its sender writes it; the supervisor adds the sender.

    `slot` (at most 80 bytes) matters for standing messages only. The supervisor keeps one message for each
    (sender, receiver, kind, slot), the latest, until it is withdrawn. `note` is for the log, at level debug.
    """

    to: ActorName
    kind: KindName
    id: Bytes16
    body: msgspec.Raw
    slot: Annotated[bytes, Meta(max_length=80)] = b""
    note: Annotated[dict[LogKey, LogValue], Meta(max_length=4)] | None = None


class Step(Message):
    """From a child: everything that one input leads to, applied completely or not at all.

    `input` is the number of the Deliver that caused it. It is 0 for a step that the actor's clock caused, and
    for everything that a live (not stepping) actor sends. `checkpoint` replaces the former one; None keeps
    it. If `end` is set, the actor has finished: the supervisor stops it and sends SessionEnded to those that
    must know.
    """

    input: Annotated[int, Meta(ge=0)]
    out: tuple[Outgoing, ...] = ()
    checkpoint: bytes | None = None
    end: Outcome | None = None


class Ready(Message):
    """From a child: it has started, has restored its checkpoint, and accepts messages."""


class Pong(Message):
    """From a child: the answer to Ping, which shows that it still handles messages."""


class Log(Message):
    """From a child: one log line, with at most 16 fields.

    The supervisor writes it, so that lines of different processes never interleave, and one place gives them
    their form.
    """

    level: Literal["debug", "info", "warning", "error"]
    event: Annotated[str, Meta(max_length=200)]
    fields: Annotated[dict[LogKey, LogValue], Meta(max_length=16)] = msgspec.field(default_factory=dict)


class Fatal(Message):
    """From a child that cannot do its work and ends, though nothing is defective; shown to the user.

    It ends the node only from a singleton that has not sent a Step in this incarnation. From any other it is
    a crash: an actor that was taken over must not end the node.
    """

    message: Annotated[str, Meta(max_length=1000)]
    is_temporary: bool = False


FromChild = Ready | Step | Pong | Log | Fatal


class Start(Message):
    """To a child, as its first frame: its name, its configuration, and the checkpoint it continues from.

    `incarnation` counts the processes that have run this actor, from 1. `debug`: the log has that level,
    until a LogLevel says otherwise.
    """

    name: ActorName
    incarnation: Annotated[int, Meta(ge=1)]
    config: msgspec.Raw
    checkpoint: bytes | None = None
    debug: bool = False


class Deliver(Message):
    """To a child: one envelope. The supervisor states `sender` and `incarnation`; nobody can claim them.

    `input` numbers the deliveries to this actor. A stepping actor repeats it in its Step; after a restart the
    same input comes again with the same number and id.
    """

    input: Annotated[int, Meta(ge=1)]
    sender: ActorName
    incarnation: Annotated[int, Meta(ge=0)]
    kind: KindName
    id: Bytes16
    body: msgspec.Raw


class Ping(Message):
    """To a child: the heartbeat. A child that does not answer in time is killed."""


class Stop(Message):
    """To a child: finish what is under way and exit. SIGKILL follows after the grace period."""

    reason: Reason = ""


class LogLevel(Message):
    """To a child that runs: whether the log has the level debug from now on."""

    debug: bool


ToChild = Start | Deliver | Ping | Stop | LogLevel

decode_from_child: Decoder[FromChild] = Decoder(FromChild)
decode_to_child: Decoder[ToChild] = Decoder(ToChild)
