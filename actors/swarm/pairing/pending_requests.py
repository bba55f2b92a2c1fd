"""Requests to sessions and the vault that wait for their reply.

The reply comes as a message of its own, into the actor's mailbox; its number leads back to the task that
waits. Numbers contain the incarnation, so that a reply to a former swarm process never fits a new request.
"""

import itertools
import os
from dataclasses import dataclass, field
from typing import Any

import trio

from ....messages.base import Message
from ....messages.errors import SpacedriveNodeError
from ...base import Mailbox, Send

_MAX_REQUESTS = 1024


class NoAnswerError(SpacedriveNodeError):
    """The actor did not answer."""


class ActorBusyError(NoAnswerError):
    """The actor's queue is full."""


class ActorGoneError(NoAnswerError):
    """There is no such actor, or it has ended."""


@dataclass(slots=True, eq=False)
class _PendingRequest:
    """One request; `envelope` is the id by which the supervisor reports that it was not delivered."""

    actor: str
    envelope: bytes
    done: trio.Event = field(default_factory=trio.Event)
    frame: bytes | None = None
    failure: type[NoAnswerError] = ActorGoneError


class PendingRequests:
    """The requests of one swarm actor, by number; at most 1024."""

    def __init__(self, mailbox: Mailbox[Any]) -> None:
        self._mailbox = mailbox
        self._numbers = itertools.count((mailbox.incarnation & 0x3FFFFF) << 40 | 1)
        self._requests: dict[int, _PendingRequest] = {}

    def next_number(self) -> int:
        """Return the number of the next request."""
        return next(self._numbers)

    async def call(
        self, number: int, actor: str, message: Message, seconds: float, before: list[Send]
    ) -> bytes:
        """Send `message` to `actor` and return the frame of its reply.

        `before` are messages that go out in the same step, ahead of the request. Raises ActorBusyError,
        ActorGoneError, or NoAnswerError itself when no reply has come after `seconds`.
        """
        if len(self._requests) >= _MAX_REQUESTS:
            raise ActorBusyError("too many open requests")
        pending = _PendingRequest(actor, os.urandom(16))
        self._requests[number] = pending
        try:
            with trio.move_on_after(seconds):
                await self._mailbox.send_all([*before, Send(actor, message, id=pending.envelope)])
                await pending.done.wait()
                if pending.frame is None:
                    raise pending.failure(actor)
                return pending.frame
        finally:
            del self._requests[number]
        raise NoAnswerError(actor)

    def handle_reply(self, number: int, sender: str, frame: bytes) -> None:
        """Wake the task that waits for this reply; ignore it if another actor sent it than was called."""
        pending = self._requests.get(number)
        if pending is not None and pending.actor == sender:
            pending.frame = frame
            pending.done.set()

    def handle_undeliverable(self, envelope: bytes, busy: bool) -> None:
        """Fail the request in this envelope, which the supervisor could not deliver."""
        for pending in self._requests.values():
            if pending.envelope == envelope:
                pending.failure = ActorBusyError if busy else ActorGoneError
                pending.done.set()

    def handle_actor_ended(self, actor: str) -> None:
        """Fail every request to an actor that has ended."""
        for pending in self._requests.values():
            if pending.actor == actor:
                pending.done.set()
