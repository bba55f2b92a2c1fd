"""What every actor stands on: start, receive, send, log; the same in a process and in a trio task.

Two forms. A *stepping* actor (vault, session, metrics) is a state machine; stepping.py drives it.
A *live* actor (swarm, discovery, gateway) has tasks of its own: it gets a :class:`Mailbox`.

Owns the child's half of messages/child_protocol.py. Never decides anything.
"""

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec
import trio

from ..messages.base import Decoder, MalformedMessageError, Message, encode
from ..messages.child_protocol import (
    Deliver,
    Fatal,
    Log,
    Outgoing,
    Ping,
    Pong,
    Ready,
    Start,
    Step,
    Stop,
    ToChild,
)
from ..messages.errors import SpacedriveNodeError
from ..messages.types import Instant, LogField, Outcome
from ..supervisor.channel import Channel

Inbox = TypeVar("Inbox")
InboxCo = TypeVar("InboxCo", covariant=True)
ActorChannel = Channel[ToChild]

INPUT_BUFFER = 4096
"""Deliveries that an actor reads ahead of what it does."""


class FatalActorError(SpacedriveNodeError):
    """The actor cannot do its work and a restart would not help; the text is for the user."""


def now() -> Instant:
    """Return the present on CLOCK_BOOTTIME, in seconds."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Incoming(Generic[InboxCo]):
    """One message as the actor gets it; `sender` and its `incarnation` are vouched for by the supervisor."""

    sender: str
    incarnation: int
    id: bytes
    message: InboxCo


@dataclass(frozen=True, slots=True)
class Send:
    """One message to send. `slot` tells standing messages apart; `id` defaults to a random one."""

    to: str
    message: Message
    slot: bytes = b""
    id: bytes | None = None


@dataclass(slots=True)
class Effects:
    """What one step does. `checkpoint` None: unchanged."""

    out: list[Send] = field(default_factory=list)
    checkpoint: bytes | None = None
    end: Outcome | None = None


def _outgoing(send: Send) -> Outgoing:
    return Outgoing(
        to=send.to,
        kind=type(send.message).__name__,
        id=os.urandom(16) if send.id is None else send.id,
        body=msgspec.Raw(encode(send.message)),
        slot=send.slot,
    )


def as_step(number: int, effects: Effects) -> Step:
    """Return the frame of what a step does; `number` is that of its input, 0: none."""
    return Step(
        input=number,
        out=tuple(_outgoing(send) for send in effects.out),
        checkpoint=effects.checkpoint,
        end=effects.end,
    )


def as_incoming(deliver: Deliver, decoder: Decoder[Inbox]) -> Incoming[Inbox] | None:
    """Decode a delivery; None if its body is malformed, or not of the kind that was allowed to come here."""
    try:
        message = decoder(deliver.body)
    except MalformedMessageError:
        return None
    if type(message).__name__ != deliver.kind:
        return None
    return Incoming(deliver.sender, deliver.incarnation, deliver.id, message)


def as_complaint(deliver: Deliver) -> Log:
    """Return the log line about a delivery that could not be decoded."""
    fields: dict[str, LogField] = {"kind": deliver.kind, "from": deliver.sender}
    return as_log("error", "malformed message dropped", fields)


Inputs = trio.MemoryReceiveChannel[tuple[int, Incoming[Inbox] | None]]
"""Deliveries by number; None: it was malformed."""


class Mailbox(Generic[Inbox]):
    """A live actor's connection with the rest of the node."""

    def __init__(self, channel: ActorChannel, start: Start, inputs: Inputs[Inbox]) -> None:
        self._channel = channel
        self._inputs = inputs
        self.name = start.name
        self.incarnation = start.incarnation

    async def receive(self) -> Incoming[Inbox]:
        """Return the next message; raises trio.EndOfChannel when the node stops."""
        while True:
            _number, incoming = await self._inputs.receive()
            if incoming is not None:
                return incoming

    async def __aiter__(self) -> AsyncIterator[Incoming[Inbox]]:
        async for _number, incoming in self._inputs:
            if incoming is not None:
                yield incoming

    async def send(self, to: str, message: Message, *, slot: bytes = b"", id: bytes | None = None) -> None:
        """Send one message."""
        await self.send_all([Send(to, message, slot, id)])

    async def send_all(self, sends: Sequence[Send]) -> None:
        """Send several messages as one step: the supervisor takes all of them, in this order, or none."""
        await self._channel.send(as_step(0, Effects(out=list(sends))))

    async def log(self, level: str, event: str, **fields: LogField) -> None:
        """Write one log line. Fields are bounded and never secret."""
        await self._channel.send(as_log(level, event, fields))


def as_log(level: str, event: str, fields: dict[str, LogField]) -> Log:
    """Return the frame of a log line, its texts cut to length."""
    short = {key: value[:300] if isinstance(value, str) else value for key, value in fields.items()}
    return Log(level=level, event=event[:200], fields=short)  # type: ignore[arg-type]


@asynccontextmanager
async def reading(channel: ActorChannel, decode_inbox: Decoder[Inbox]) -> AsyncIterator[Inputs[Inbox]]:
    """Read frames in the background: answer heartbeats at once, queue deliveries, end at Stop or end-of-file.

    When the actor does not keep up, the queue fills and reading stops: the supervisor's bounds hold from
    there on, and without Pongs an actor that stays so is a hang.
    """
    send, receive = trio.open_memory_channel[tuple[int, Incoming[Inbox] | None]](INPUT_BUFFER)

    async def read() -> None:
        with send:
            while True:
                try:
                    frame = await channel.receive()
                except trio.EndOfChannel:
                    return
                match frame:
                    case Deliver():
                        incoming = as_incoming(frame, decode_inbox)
                        if incoming is None:
                            await channel.send(as_complaint(frame))
                        await send.send((frame.input, incoming))
                    case Ping():
                        await channel.send(Pong())
                    case Stop():
                        return
                    case Start():
                        raise RuntimeError("a second Start")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        try:
            yield receive
        finally:
            nursery.cancel_scope.cancel()


def check_start(frame: ToChild) -> Start:
    """Return the first frame, which is a Start."""
    if not isinstance(frame, Start):
        raise RuntimeError(f"expected Start, got {type(frame).__name__}")
    return frame


async def run_live(
    channel: ActorChannel,
    decode_inbox: Decoder[Inbox],
    actor: Callable[[Mailbox[Inbox], Start], Awaitable[None]],
) -> None:
    """Run a live actor until it returns or the node stops; then its mailbox ends and it should return."""
    start = check_start(await channel.receive())
    try:
        async with reading(channel, decode_inbox) as inputs:
            await channel.send(Ready())
            await actor(Mailbox(channel, start, inputs), start)
    except BaseException as error:
        if not await last_words(channel, error):
            raise


async def last_words(channel: ActorChannel, error: BaseException) -> bool:
    """Tell the user's reason of an FatalActorError; False for a crash, which is the host's to report."""
    fatal = as_fatal(error)
    if fatal is None:
        return False
    gone = suppress(trio.BrokenResourceError, trio.ClosedResourceError)
    with trio.CancelScope(deadline=trio.current_time() + 1, shield=True), gone:
        await channel.send(fatal)
    return True


def as_fatal(error: BaseException) -> Fatal | None:
    """Return the last words of an actor that has failed; None: it has crashed."""
    failure = _find_failure(error)
    return None if failure is None else Fatal(message=str(failure)[:1000])


def _find_failure(error: BaseException) -> FatalActorError | None:
    if isinstance(error, FatalActorError):
        return error
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            found = _find_failure(inner)
            if found is not None:
                return found
    return None
