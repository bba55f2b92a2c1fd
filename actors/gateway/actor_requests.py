"""The gateway's dealings with the rest of the node: send, and wait for what comes of it.

Owns correlation and deadlines towards the other actors, and the board that their messages are folded
into. Never retries anything: a client repeats its request, and keys make that safe.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import trio

from ...messages.base import Message
from ...messages.errors import SpacedriveNodeError
from ...messages.from_supervisor import Undeliverable
from ...messages.to_gateway import Actors, DeviceChanged, Devices, GatewayInbox, VaultError
from ...messages.types import SessionId
from ..base import Incoming, Mailbox, Send
from .node_state import Board

DEADLINE = 10.0
"""Seconds that another actor has to answer: it may be restarting."""
_QUEUE = 64

Answer = Devices | DeviceChanged | VaultError | Actors
_T = TypeVar("_T")


class RequestRefusedError(SpacedriveNodeError):
    """The supervisor could not deliver what was sent."""

    def __init__(self, undeliverable: Undeliverable) -> None:
        super().__init__(undeliverable.reason)
        self.busy = undeliverable.busy
        self.reason = undeliverable.reason


@dataclass(slots=True, eq=False)
class _Question:
    """Waits for one answer; several requests share it when they are repeats of one another."""

    waiting: int = 0
    answer: Answer | None = None


class Exchange:
    """Sends for the request handlers and wakes them when something has come."""

    def __init__(self, mailbox: Mailbox[GatewayInbox], board: Board) -> None:
        self.board = board
        self._mailbox = mailbox
        self._questions: dict[int, _Question] = {}
        # Random, so that an answer to a former incarnation's question is not taken for one to ours.
        self._number = int.from_bytes(os.urandom(7), "big")
        self._watched: dict[bytes, Undeliverable | None] = {}
        self._changed = trio.lowlevel.ParkingLot()
        self._sending, self._to_send = trio.open_memory_channel[tuple[Sequence[Send], trio.Event]](_QUEUE)

    async def pump(self) -> None:
        """Write what is sent, one after the other: a handler that is cancelled never cuts a frame in two."""
        async for sends, written in self._to_send:
            await self._mailbox.send_all(sends)
            written.set()

    def take(self, incoming: Incoming[GatewayInbox]) -> tuple[SessionId, ...]:
        """Take one message; return the sessions whose state is another now."""
        message = incoming.message
        changed: tuple[SessionId, ...] = ()
        match message:
            case Devices() | DeviceChanged() | VaultError() | Actors():
                question = self._questions.get(message.request)
                if question is not None:
                    question.answer = message
            case Undeliverable(id=id):
                if id in self._watched:
                    self._watched[id] = message
            case _:
                changed = self.board.fold(incoming.sender, message)
        self._changed.unpark_all()
        return changed

    async def send(self, *sends: Send) -> None:
        """Send as one step, and wait until it has been written."""
        written = trio.Event()
        await self._sending.send((sends, written))
        await written.wait()

    async def until(self, ready: Callable[[], bool], seconds: float) -> bool:
        """Wait until `ready()`; say whether it came true within `seconds`."""
        with trio.move_on_after(seconds):
            while not ready():
                await self._changed.park()
            return True
        return False

    async def send_until(self, sends: Sequence[Send], result: Callable[[], _T | None]) -> _T | None:
        """Send, then wait for `result()` to be something; None after DEADLINE. Raises RequestRefusedError."""
        ids = [send.id for send in sends if send.id is not None]
        self._watched.update(dict.fromkeys(ids))
        try:
            with trio.move_on_after(DEADLINE):
                await self.send(*sends)
                while (found := result()) is None:
                    for id in ids:
                        refusal = self._watched.get(id)
                        if refusal is not None:
                            raise RequestRefusedError(refusal)
                    await self._changed.park()
                return found
            return None
        finally:
            for id in ids:
                self._watched.pop(id, None)

    async def ask(
        self, to: str, make: Callable[[int], Message], *, number: int | None = None, id: bytes | None = None
    ) -> Answer | None:
        """Send a question and return its answer; None after DEADLINE. Raises RequestRefusedError.

        `number` and `id` are given for what takes effect: the answer to a repeat carries the number of
        the first, which may have been asked by a former incarnation of the gateway.
        """
        if number is None:
            self._number += 1
            number = self._number
        question = self._questions.setdefault(number, _Question())
        question.waiting += 1
        try:
            send = Send(to, make(number), id=os.urandom(16) if id is None else id)
            return await self.send_until([send], lambda: question.answer)
        finally:
            question.waiting -= 1
            if not question.waiting:
                del self._questions[number]
