"""Requests to other actors that wait for an answer: numbered, bounded, and each answered by whom it asked.

Numbers carry the incarnation, so that an answer to a former swarm's request never fits a new one.
"""

import itertools
import os
from dataclasses import dataclass, field
from typing import Any

import trio

from ....messages.base import Message
from ....messages.errors import SpacedriveNodeError
from ...base import Mailbox, Send

_MOST = 1024


class NoAnswerError(SpacedriveNodeError):
    """The actor did not answer."""


class ActorBusyError(NoAnswerError):
    """The actor's queue is full."""


class ActorGoneError(NoAnswerError):
    """There is no such actor (any more)."""


@dataclass(slots=True, eq=False)
class _Open:
    actor: str
    envelope: bytes
    done: trio.Event = field(default_factory=trio.Event)
    frame: bytes | None = None
    failure: type[NoAnswerError] = ActorGoneError


class Requests:
    """Open requests to sessions and the vault."""

    def __init__(self, mailbox: Mailbox[Any]) -> None:
        self._mailbox = mailbox
        self._numbers = itertools.count((mailbox.incarnation & 0x3FFFFF) << 40 | 1)
        self._open: dict[int, _Open] = {}

    def number(self) -> int:
        """Return the next request number."""
        return next(self._numbers)

    async def ask(
        self, number: int, actor: str, message: Message, deadline: float, before: list[Send]
    ) -> bytes:
        """Send `message` to `actor`, after `before` and in the same step, and wait for its frame.

        Raises NoAnswerError: ActorBusyError, ActorGoneError, or after `deadline` seconds NoAnswerError
        itself.
        """
        if len(self._open) >= _MOST:
            raise ActorBusyError("too many open requests")
        entry = _Open(actor, os.urandom(16))
        self._open[number] = entry
        try:
            with trio.move_on_after(deadline):
                await self._mailbox.send_all([*before, Send(actor, message, id=entry.envelope)])
                await entry.done.wait()
                if entry.frame is None:
                    raise entry.failure(actor)
                return entry.frame
        finally:
            del self._open[number]
        raise NoAnswerError(actor)

    def answer(self, number: int, sender: str, frame: bytes) -> None:
        """Take an answer; one that `sender` was not asked for is ignored."""
        entry = self._open.get(number)
        if entry is not None and entry.actor == sender:
            entry.frame = frame
            entry.done.set()

    def undeliverable(self, envelope: bytes, busy: bool) -> None:
        """Note that an envelope was not taken."""
        for entry in self._open.values():
            if entry.envelope == envelope:
                entry.failure = ActorBusyError if busy else ActorGoneError
                entry.done.set()

    def actor_ended(self, actor: str) -> None:
        """Give up what an actor has not answered."""
        for entry in self._open.values():
            if entry.actor == actor:
                entry.done.set()
