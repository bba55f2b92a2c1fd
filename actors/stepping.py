"""Drives a stepping actor: one input, one Step, so that the supervisor can replay whatever a crash cut off.

A state machine that waits for nothing but its channel and the time needs no event loop: in a process of its
own it is *served*, by a loop over a socket that blocks. The same machine runs on trio, as a task in tests,
and where something runs beside it (metrics). docs/architecture.md, "Steps"; docs/decisions/0007.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import trio

from ..messages.base import Decoder
from ..messages.child_protocol import Deliver, Ping, Pong, Ready, Start, Step, Stop, ToChild
from ..messages.types import Instant
from ..supervisor.channel import BlockingChannel
from .base import (
    INPUT_BUFFER,
    ActorChannel,
    Effects,
    Inbox,
    Incoming,
    Inputs,
    Send,
    as_complaint,
    as_fatal,
    as_incoming,
    as_step,
    check_start,
    last_words,
    now,
    reading,
)

InboxContra = TypeVar("InboxContra", contravariant=True)

# A timer never sleeps longer than this, so that time spent in suspend (which poll(2) and trio's clock do not
# count) is noticed.
_LONGEST_SLEEP = 5.0


class Stepper(Protocol[InboxContra]):
    """A stepping actor: a state machine that its host drives. Restored by its constructor."""

    def step(self, incoming: Incoming[InboxContra], now: Instant) -> Effects:
        """Take one input and return its whole effect."""
        ...

    def tick(self, now: Instant) -> Effects | None:
        """Take the passing of time; None: nothing is due. Called at `wake_at` and now and then."""
        ...

    def wake_at(self) -> Instant:
        """Return when `tick` has something to do next; math.inf for never."""
        ...


First = Callable[[Any, Instant], Effects]
Background = Callable[[Any, Callable[[Send], Awaitable[None]]], Awaitable[None]]


@dataclass(frozen=True)
class Stepping(Generic[Inbox]):
    """The entry of a stepping actor. Called, it runs on trio; served, it needs no event loop.

    decode   its inbox
    opened   restores the machine from Start, and closes at the end what it has opened
    first    gives effects to send at every start (standing messages of the vault, say)
    """

    decode: Decoder[Inbox]
    opened: Callable[[Start], AbstractContextManager[Stepper[Inbox]]]
    first: First | None = None

    async def __call__(self, channel: ActorChannel) -> None:
        """Run until it ends or the node stops, as a task."""
        await _run(channel, self, None)

    def serve(self, channel: BlockingChannel[ToChild]) -> None:
        """Run until it ends or the node stops, in a process that does nothing else."""
        try:
            start = check_start(channel.first())
            with self.opened(start) as machine:
                channel.send(Ready())
                if self.first is not None:
                    channel.send(as_step(0, self.first(machine, now())))
                self._serve(channel, machine)
        except trio.EndOfChannel:
            return  # the supervisor is gone
        except Exception as error:  # told from a crash: it may be a failure, whose reason users are told
            fatal = as_fatal(error)
            if fatal is None:
                raise
            channel.send(fatal)

    def _serve(self, channel: BlockingChannel[ToChild], machine: Stepper[Inbox]) -> None:
        waiting: deque[Deliver] = deque()
        stopping = False
        while waiting or not stopping:
            if len(waiting) < INPUT_BUFFER:
                for frame in channel.receive(0.0 if waiting else _pause(machine)):
                    match frame:
                        case Deliver():
                            waiting.append(frame)
                        case Ping():
                            channel.send(Pong())
                        case Stop():
                            stopping = True
                        case Start():
                            raise RuntimeError("a second Start")
            if not waiting:
                step = _tick(machine)
            else:
                deliver = waiting.popleft()
                incoming = as_incoming(deliver, self.decode)
                if incoming is None:
                    channel.send(as_complaint(deliver))
                step = _step(machine, deliver.input, incoming)
            if step is not None:
                channel.send(step)
                if step.end is not None:
                    return


async def run_stepping(
    channel: ActorChannel,
    decode: Decoder[Inbox],
    make: Callable[[Start], Stepper[Inbox]],
    *,
    background: Background | None = None,
) -> None:
    """Run a stepping actor on trio until it ends or the node stops.

    `make` restores it from Start; `background` runs beside it (the HTTP server of metrics, say), with a
    function that sends one message as a step of its own, and must not change the machine's state.
    """
    await _run(channel, Stepping(decode, lambda start: nullcontext(make(start))), background)


async def _run(channel: ActorChannel, actor: Stepping[Inbox], background: Background | None) -> None:
    async def send(message: Send) -> None:
        await channel.send(as_step(0, Effects(out=[message])))

    try:
        start = check_start(await channel.receive())
        with actor.opened(start) as machine:
            async with reading(channel, actor.decode) as inputs, trio.open_nursery() as nursery:
                if background is not None:
                    nursery.start_soon(background, machine, send)
                await channel.send(Ready())
                if actor.first is not None:
                    await channel.send(as_step(0, actor.first(machine, now())))
                await _loop(channel, inputs, machine)
                nursery.cancel_scope.cancel()
    except BaseException as error:
        if not await last_words(channel, error):
            raise


async def _loop(
    channel: ActorChannel,
    inputs: Inputs[Inbox],
    machine: Stepper[Inbox],
) -> None:
    while True:
        step: Step | None = None
        with trio.move_on_after(_pause(machine)) as limit:
            try:
                step = _step(machine, *await inputs.receive())
            except trio.EndOfChannel:
                return
        if limit.cancelled_caught:
            step = _tick(machine)
        if step is not None:
            await channel.send(step)
            if step.end is not None:
                return


def _pause(machine: Stepper[Inbox]) -> float:
    """Return for how many seconds to wait for an input."""
    return min(max(machine.wake_at() - now(), 0.0), _LONGEST_SLEEP)


def _step(machine: Stepper[Inbox], number: int, incoming: Incoming[Inbox] | None) -> Step:
    """Take one input, which is None if it was malformed."""
    return as_step(number, Effects() if incoming is None else machine.step(incoming, now()))


def _tick(machine: Stepper[Inbox]) -> Step | None:
    effects = machine.tick(now())
    return None if effects is None else as_step(0, effects)
