"""The actor's side of its channel: start, receive, send, log; the same in a process and in a trio task.

There are two kinds of actors. A *stepping* actor (vault, session, metrics) is a state machine that
stepping.py drives: it has a checkpoint, and the supervisor repeats an input that a crash cut off. A *live*
actor (swarm, discovery, gateway) has tasks of its own and no checkpoint: it reads and sends through a
:class:`Mailbox`.

Owns the child's half of messages/child_protocol.py. Never decides anything.
"""

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec
import trio

from ..messages.base import Decoder, MalformedMessageError, Message, encode
from ..messages.child_protocol import (
    Deliver,
    Fatal,
    Log,
    LogLevel,
    Outgoing,
    Ping,
    Pong,
    Ready,
    Start,
    Step,
    Stop,
    ToChild,
)
from ..messages.errors import ReportedError
from ..messages.types import Instant, LogField, Outcome
from ..supervisor.channel import Channel
from ..supervisor.process_title import set_title

Inbox = TypeVar("Inbox")
InboxCo = TypeVar("InboxCo", covariant=True)
ActorChannel = Channel[ToChild]

MAX_BUFFERED_INPUTS = 4096
"""Deliveries that an actor reads ahead of the one that it handles."""
IDENTITY_IN_USE = "another node has this node's identity: stop one of them"
"""Said by whoever notices it: discovery on this host, the swarm anywhere else."""


@dataclass(slots=True)
class _Logging:
    """Whether the log has the level debug: what Start or the last LogLevel has said."""

    is_debug: bool = False


_logging: ContextVar[_Logging] = ContextVar("logging", default=_Logging())  # noqa: B039 (never changed)
"""One for all tasks of an actor, though each has a context of its own; Start sets it."""


class FatalActorError(ReportedError):
    """The actor cannot do its work, and its restart would not help; it ends a node that is starting."""


def now() -> Instant:
    """Return the time on CLOCK_BOOTTIME, in seconds."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Incoming(Generic[InboxCo]):
    """One message as the actor gets it; the supervisor has stamped it with `sender` and `incarnation`."""

    sender: str
    incarnation: int
    id: bytes
    message: InboxCo


@dataclass(frozen=True, slots=True)
class Send:
    """One message to send.

    `slot` distinguishes standing messages of one kind; `id` defaults to 16 random bytes.
    """

    to: str
    message: Message
    slot: bytes = b""
    id: bytes | None = None


@dataclass(slots=True)
class Effects:
    """What one step of an actor does: the messages it sends, its new checkpoint, perhaps its end."""

    out: list[Send] = field(default_factory=list)
    checkpoint: bytes | None = None
    """None: unchanged."""
    end: Outcome | None = None
    """Set when a session ends."""
    logs: list[Log] = field(default_factory=list)
    """Lines for the node's log, written before the step takes effect. After a crash they may come twice."""


def _envelope(send: Send) -> Outgoing:
    return Outgoing(
        to=send.to,
        kind=type(send.message).__name__,
        id=os.urandom(16) if send.id is None else send.id,
        body=msgspec.Raw(encode(send.message)),
        slot=send.slot,
        note=_note(send.message) if _logging.get().is_debug else None,
    )


def _note(message: Message) -> dict[str, LogField] | None:
    """Return what the log is to show of a message."""
    values = {name: getattr(message, name) for name in message._logged}
    texts = {name: " ".join(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return {name: value for name, value in texts.items() if value is not None} or None


def step_frame(number: int, effects: Effects) -> Step:
    """Return the frame for the effects of a step; `number` is that of the input it acknowledges, 0: none."""
    return Step(
        input=number,
        out=tuple(_envelope(send) for send in effects.out),
        checkpoint=effects.checkpoint,
        end=effects.end,
    )


def decode_delivery(deliver: Deliver, decoder: Decoder[Inbox]) -> Incoming[Inbox] | None:
    """Decode a delivery. Return None if its body is malformed or not of the kind that its envelope names.

    The supervisor has checked the kind against its routes but never decodes a body, so a sender could name an
    allowed kind and put another message in.
    """
    try:
        message = decoder(deliver.body)
    except MalformedMessageError:
        return None
    if type(message).__name__ != deliver.kind:
        return None
    return Incoming(deliver.sender, deliver.incarnation, deliver.id, message)


def malformed_delivery_log(deliver: Deliver) -> Log:
    """Return the log line about a delivery that decode_delivery has rejected."""
    fields: dict[str, LogField] = {"kind": deliver.kind, "from": deliver.sender}
    return log_frame("error", "malformed message dropped", fields)


Inputs = trio.MemoryReceiveChannel[tuple[int, Incoming[Inbox] | None]]
"""Deliveries with their numbers; None: it was malformed."""


class Mailbox(Generic[Inbox]):
    """A live actor's connection with the rest of the node: receive, send, log."""

    def __init__(self, channel: ActorChannel, start: Start, inputs: Inputs[Inbox]) -> None:
        self._channel = channel
        self._inputs = inputs
        self.name = start.name
        self.incarnation = start.incarnation

    async def receive(self) -> Incoming[Inbox]:
        """Return the next message. Raises trio.EndOfChannel when the node stops."""
        while True:
            _number, incoming = await self._inputs.receive()
            if incoming is not None:
                return incoming

    def receive_nowait(self) -> Incoming[Inbox] | None:
        """Return the next message if one has arrived, else None. Raises trio.EndOfChannel."""
        with suppress(trio.WouldBlock):
            while True:
                _number, incoming = self._inputs.receive_nowait()
                if incoming is not None:
                    return incoming
        return None

    async def __aiter__(self) -> AsyncIterator[Incoming[Inbox]]:
        async for _number, incoming in self._inputs:
            if incoming is not None:
                yield incoming

    async def send(self, to: str, message: Message, *, slot: bytes = b"", id: bytes | None = None) -> None:
        """Send one message."""
        await self.send_all([Send(to, message, slot, id)])

    async def send_all(self, sends: Sequence[Send]) -> None:
        """Send several messages as one step: the supervisor applies all of them, in this order, or none."""
        await self._channel.send(step_frame(0, Effects(out=list(sends))))

    async def log(self, level: str, event: str, /, **fields: LogField) -> None:
        """Write one log line. Fields are bounded and never secret."""
        await self._channel.send(log_frame(level, event, fields))


def log_frame(level: str, event: str, fields: dict[str, LogField]) -> Log:
    """Return the frame of a log line, with its texts cut to length."""
    short = {key: value[:300] if isinstance(value, str) else value for key, value in fields.items()}
    return Log(level=level, event=event[:200], fields=short)  # type: ignore[arg-type]


@asynccontextmanager
async def reading_inputs(channel: ActorChannel, decode_inbox: Decoder[Inbox]) -> AsyncIterator[Inputs[Inbox]]:
    """Read frames in the background: answer heartbeats at once, queue deliveries, end at Stop or end-of-file.

    When the actor does not keep up, the queue fills and this stops reading. The supervisor then bounds what
    waits, and an actor that stays behind sends no Pong and is killed as hanging.
    """
    send, receive = trio.open_memory_channel[tuple[int, Incoming[Inbox] | None]](MAX_BUFFERED_INPUTS)

    async def read() -> None:
        with send:
            while True:
                try:
                    frame = await channel.receive()
                except trio.EndOfChannel:
                    return
                match frame:
                    case Deliver():
                        incoming = decode_delivery(frame, decode_inbox)
                        if incoming is None:
                            await channel.send(malformed_delivery_log(frame))
                        item = frame.input, incoming
                        try:  # no turn of the loop for each of many that have come together
                            send.send_nowait(item)
                        except trio.WouldBlock:
                            await send.send(item)
                    case Ping():
                        await channel.send(Pong())
                    case Stop():
                        return
                    case LogLevel(debug=debug):
                        set_log_level(debug)
                    case Start():
                        raise RuntimeError("a second Start")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        try:
            yield receive
        finally:
            nursery.cancel_scope.cancel()


async def receive_start(channel: ActorChannel) -> Start:
    """Return the Start. Until it comes, a spare answers heartbeats. Raises RuntimeError for other frames."""
    while isinstance(frame := await channel.receive(), Ping):
        await channel.send(Pong())
    return require_start(frame)


def require_start(frame: ToChild) -> Start:
    """Return a frame that is to be the Start, by whose name this process is shown from now on.

    Raises RuntimeError if it is none.
    """
    if not isinstance(frame, Start):
        raise RuntimeError(f"expected Start, got {type(frame).__name__}")
    set_title(frame.name)
    _logging.set(_Logging(frame.debug))
    return frame


def set_log_level(debug: bool) -> None:
    """Note beside messages what the log is to show of them, or do not."""
    _logging.get().is_debug = debug


async def run_live_actor(
    channel: ActorChannel,
    decode_inbox: Decoder[Inbox],
    actor: Callable[[Mailbox[Inbox], Start], Awaitable[None]],
) -> None:
    """Run a live actor until it returns. When the node stops, its mailbox ends and it should return."""
    start = await receive_start(channel)
    try:
        async with reading_inputs(channel, decode_inbox) as inputs:
            await channel.send(Ready())
            await actor(Mailbox(channel, start, inputs), start)
    except BaseException as error:
        if not await report_fatal(channel, error):
            raise


async def report_fatal(channel: ActorChannel, error: BaseException) -> bool:
    """Send the text of a FatalActorError to the supervisor, which shows it to the user.

    Return False for any other exception: it is a crash, which the caller of the actor reports.
    """
    fatal = fatal_frame(error)
    if fatal is None:
        return False
    gone = suppress(trio.BrokenResourceError, trio.ClosedResourceError)
    with trio.CancelScope(deadline=trio.current_time() + 1, shield=True), gone:
        await channel.send(fatal)
    return True


def fatal_frame(error: BaseException) -> Fatal | None:
    """Return the frame for a FatalActorError, also within a group; None for any other exception."""
    failure = _find_fatal_error(error)
    return None if failure is None else Fatal(str(failure)[:1000], failure.is_temporary)


def _find_fatal_error(error: BaseException) -> FatalActorError | None:
    if isinstance(error, FatalActorError):
        return error
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            found = _find_fatal_error(inner)
            if found is not None:
                return found
    return None
