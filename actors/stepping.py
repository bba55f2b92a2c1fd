"""Runs a stepping actor: one input in, one Step out, so that the supervisor can repeat what a crash cut off.

The actor itself is a state machine (StepMachine). There are two loops around it. One runs on trio: for
metrics, which has an HTTP server as well, and for any actor that a test runs as a task. The other needs no
event loop: the machines of session and vault wait for nothing but their channel and the time, so in a
process of their own a loop over a blocking socket is enough, and starts faster. fork_server.py chooses, by
whether the entry has `serve`.

Owns both loops. Never decides what a step does. docs/architecture.md, "Steps"; docs/decisions/0007.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import trio

from ..messages.base import Decoder
from ..messages.child_protocol import Deliver, Log, LogLevel, Ping, Pong, Ready, Start, Step, Stop, ToChild
from ..messages.types import Instant
from ..supervisor.channel import BlockingChannel
from .base import (
    MAX_BUFFERED_INPUTS,
    ActorChannel,
    Effects,
    Inbox,
    Incoming,
    Inputs,
    Send,
    decode_delivery,
    fatal_frame,
    malformed_delivery_log,
    now,
    reading_inputs,
    receive_start,
    report_fatal,
    require_start,
    set_log_level,
    step_frame,
)

InboxContra = TypeVar("InboxContra", contravariant=True)

# No wait is longer than this, so that time spent in suspend, which poll(2) and trio's clock do not count, is
# noticed.
_MAX_WAIT_S = 5.0


class StepMachine(Protocol[InboxContra]):
    """The state machine of a stepping actor. Its constructor restores it from a checkpoint."""

    def step(self, incoming: Incoming[InboxContra], now: Instant) -> Effects:
        """Handle one input and return all its effects."""
        ...

    def tick(self, now: Instant) -> Effects | None:
        """Handle expired timers; return None if there are none. Called at `wake_at`, and at other times."""
        ...

    def wake_at(self) -> Instant:
        """Return the time of the next timer; math.inf if there is none."""
        ...


OnStart = Callable[[Any, Instant], Effects]
"""Called with the machine and the time."""
Background = Callable[[Any, Callable[[Send], Awaitable[None]]], Awaitable[None]]
"""Called with the machine and a function that sends one message as a step of its own."""


@dataclass(frozen=True)
class SteppingEntry(Generic[Inbox]):
    """The entry of a stepping actor (`actors.<kind>:main`), which can run in both loops.

    Called, as a coroutine function, it runs on trio; `serve` runs it without an event loop.

    decode     decodes its inbox
    restore    gives the machine, restored from Start, and closes at the end what it has opened
    on_start   gives effects to send at every start, such as the standing messages of the vault
    """

    decode: Decoder[Inbox]
    restore: Callable[[Start], AbstractContextManager[StepMachine[Inbox]]]
    on_start: OnStart | None = None

    async def __call__(self, channel: ActorChannel) -> None:
        """Run on trio until it ends or the node stops."""
        await _run_on_trio(channel, self, None)

    def serve(self, channel: BlockingChannel[ToChild]) -> None:
        """Run until it ends or the node stops, in a process that does nothing else."""
        try:
            while isinstance(first := channel.receive(), Ping):
                channel.send(Pong())  # a spare answers heartbeats until its Start comes
            start = require_start(first)
            with self.restore(start) as machine:
                channel.send(Ready())
                if self.on_start is not None:
                    for frame in _frames(0, self.on_start(machine, now())):
                        channel.send(frame)
                self._loop(channel, machine)
        except trio.EndOfChannel:
            return  # the supervisor is gone
        except Exception as error:  # a FatalActorError, maybe within a group; anything else is raised again
            fatal = fatal_frame(error)
            if fatal is None:
                raise
            channel.send(fatal)

    def _loop(self, channel: BlockingChannel[ToChild], machine: StepMachine[Inbox]) -> None:
        """Alternate between reading what has come and handling one input.

        Frames are read between any two inputs, without waiting while there are inputs, so that a Ping is
        answered even if many deliveries came before it. At Stop the inputs that have come are still handled.
        """
        waiting: deque[Deliver] = deque()
        stopping = False
        while waiting or not stopping:
            if len(waiting) < MAX_BUFFERED_INPUTS:
                for frame in channel.receive_batch(0.0 if waiting else _seconds_to_wait(machine)):
                    match frame:
                        case Deliver():
                            waiting.append(frame)
                        case Ping():
                            channel.send(Pong())
                        case LogLevel(debug=debug):
                            set_log_level(debug)
                        case Stop():
                            stopping = True
                        case Start():
                            raise RuntimeError("a second Start")
            if not waiting:
                frames = _handle_timers(machine)
            else:
                deliver = waiting.popleft()
                incoming = decode_delivery(deliver, self.decode)
                if incoming is None:
                    channel.send(malformed_delivery_log(deliver))
                frames = _handle_input(machine, deliver.input, incoming)
            for answer in frames:
                channel.send(answer)
                if isinstance(answer, Step) and answer.end is not None:
                    return


async def run_stepping_actor(
    channel: ActorChannel,
    decode: Decoder[Inbox],
    make: Callable[[Start], StepMachine[Inbox]],
    *,
    background: Background | None = None,
) -> None:
    """Run a stepping actor on trio until it ends or the node stops.

    `make` restores it from Start. `background` runs at the same time (such as the HTTP server of metrics) and
    must not change the machine's state.
    """
    await _run_on_trio(channel, SteppingEntry(decode, lambda start: nullcontext(make(start))), background)


async def _run_on_trio(
    channel: ActorChannel, actor: SteppingEntry[Inbox], background: Background | None
) -> None:
    async def send(message: Send) -> None:
        await channel.send(step_frame(0, Effects(out=[message])))

    try:
        start = await receive_start(channel)
        with actor.restore(start) as machine:
            async with reading_inputs(channel, actor.decode) as inputs, trio.open_nursery() as nursery:
                if background is not None:
                    nursery.start_soon(background, machine, send)
                await channel.send(Ready())
                if actor.on_start is not None:
                    for frame in _frames(0, actor.on_start(machine, now())):
                        await channel.send(frame)
                await _loop_on_trio(channel, inputs, machine)
                nursery.cancel_scope.cancel()
    except BaseException as error:
        if not await report_fatal(channel, error):
            raise


async def _loop_on_trio(
    channel: ActorChannel,
    inputs: Inputs[Inbox],
    machine: StepMachine[Inbox],
) -> None:
    while True:
        frames: list[Log | Step] = []
        with trio.move_on_after(_seconds_to_wait(machine)) as limit:
            try:
                frames = _handle_input(machine, *await inputs.receive())
            except trio.EndOfChannel:
                return
        if limit.cancelled_caught:
            frames = _handle_timers(machine)
        for frame in frames:
            await channel.send(frame)
            if isinstance(frame, Step) and frame.end is not None:
                return


def _seconds_to_wait(machine: StepMachine[Inbox]) -> float:
    """Return how long to wait for an input."""
    return min(max(machine.wake_at() - now(), 0.0), _MAX_WAIT_S)


def _handle_input(
    machine: StepMachine[Inbox], number: int, incoming: Incoming[Inbox] | None
) -> list[Log | Step]:
    """Return the frames for one input. A malformed one (None) is acknowledged and has no effect."""
    return _frames(number, Effects() if incoming is None else machine.step(incoming, now()))


def _handle_timers(machine: StepMachine[Inbox]) -> list[Log | Step]:
    effects = machine.tick(now())
    return [] if effects is None else _frames(0, effects)


def _frames(number: int, effects: Effects) -> list[Log | Step]:
    return [*effects.logs, step_frame(number, effects)]
