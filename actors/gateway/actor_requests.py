"""How request handlers deal with the other actors: send messages, and wait for what comes of them.

Between actors there are only messages, so a request to another actor is answered in one of two forms:

- by a message with the request's number (`call`: the vault's and the supervisor's replies), or
- by a change of state only (`send_and_wait`). A session does not reply: its next SessionView shows that it
  exists or has taken a decision. So the handler waits for a predicate over the read model (node_state.py).

In both forms a handler parks until the next message of any kind, and then looks again. That is cheap, because
few requests wait at a time, and it needs no record of who waits for which change.

Owns the numbers and deadlines of requests to other actors, and the read model that their messages are
applied to. Never retries: a client repeats its request, and its key makes that harmless.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio

from ...messages.base import Message
from ...messages.errors import SpacedriveNodeError
from ...messages.from_supervisor import Alive, Undeliverable
from ...messages.to_gateway import (
    ActorInfo,
    Actors,
    DeviceChanged,
    Devices,
    GatewayInbox,
    Reloaded,
    VaultError,
)
from ...messages.to_supervisor import AreYouAlive
from ...messages.types import SessionId
from ..base import Incoming, Mailbox, Send
from .node_state import NodeState

REQUEST_TIMEOUT_SECONDS = 10.0
"""Time that another actor has to answer: it may be restarting."""
ALIVE_SECONDS = 1.0
"""Time that the supervisor has to answer AreYouAlive."""
_MAX_QUEUED_STEPS = 64

Answer = Devices | DeviceChanged | VaultError | Actors | Alive | Reloaded


class RequestRefusedError(SpacedriveNodeError):
    """The supervisor could not deliver what was sent."""

    def __init__(self, undeliverable: Undeliverable) -> None:
        super().__init__(undeliverable.reason)
        self.busy = undeliverable.busy
        self.reason = undeliverable.reason


@dataclass(slots=True, eq=False)
class _PendingCall:
    """A call without an answer. A client's request and its repetition have the same number and share one."""

    waiters: int = 0
    answer: Answer | None = None


class ActorClient:
    """Sends for the request handlers, and wakes them when a message has arrived."""

    def __init__(self, mailbox: Mailbox[GatewayInbox], state: NodeState) -> None:
        self.state = state
        self.last_list: tuple[ActorInfo, ...] = ()
        """The processes as last listed for a client, whose next pages are cut from it."""
        self._mailbox = mailbox
        self._calls: dict[int, _PendingCall] = {}
        # Random, so that a late answer to a former incarnation does not fit a call of this one.
        self._last_number = int.from_bytes(os.urandom(7), "big")
        self._refusals: dict[bytes, Undeliverable | None] = {}
        """The messages whose effect is waited for, by id; the supervisor's refusal, where there is one."""
        self._arrived = trio.lowlevel.ParkingLot()
        self._to_write, self._queue = trio.open_memory_channel[tuple[Sequence[Send], trio.Event]](
            _MAX_QUEUED_STEPS
        )

    async def run_writer(self) -> None:
        """Write what handlers send, until cancelled.

        A handler is cancelled when its client goes; if it wrote itself, that could cut a frame in two.
        """
        async for sends, written in self._queue:
            await self._mailbox.send_all(sends)
            written.set()

    def handle(self, incoming: Incoming[GatewayInbox]) -> tuple[SessionId, ...]:
        """Handle one message; return the sessions whose state changed."""
        message = incoming.message
        changed: tuple[SessionId, ...] = ()
        match message:
            case Devices() | DeviceChanged() | VaultError() | Actors() | Alive() | Reloaded():
                call = self._calls.get(message.request)
                if call is not None:
                    call.answer = message
            case Undeliverable(id=id):
                if id in self._refusals:
                    self._refusals[id] = message
            case _:
                changed = self.state.apply(incoming.sender, message)
        self._arrived.unpark_all()
        return changed

    async def send(self, *sends: Send) -> None:
        """Send messages as one step, and wait until it has been written."""
        written = trio.Event()
        await self._to_write.send((sends, written))
        await written.wait()

    async def wait_until(self, predicate: Callable[[], bool], seconds: float) -> bool:
        """Wait until `predicate()` holds; return whether it did within `seconds`."""
        with trio.move_on_after(seconds):
            while not predicate():
                await self._arrived.park()
            return True
        return False

    async def send_and_wait(self, sends: Sequence[Send], *, until: Callable[[], bool]) -> bool:
        """Send messages as one step, then wait until `until()` holds; False after REQUEST_TIMEOUT_SECONDS.

        Raises RequestRefusedError if the supervisor could not deliver one of those that have an id.
        """
        ids = [send.id for send in sends if send.id is not None]
        self._refusals.update(dict.fromkeys(ids))
        try:
            with trio.move_on_after(REQUEST_TIMEOUT_SECONDS):
                await self.send(*sends)
                while not until():
                    for id in ids:
                        refusal = self._refusals.get(id)
                        if refusal is not None:
                            raise RequestRefusedError(refusal)
                    await self._arrived.park()
                return True
            return False
        finally:
            for id in ids:
                self._refusals.pop(id, None)

    async def ask_supervisor(self) -> Alive | None:
        """Return which actors it misses; None if its loop does not run: then nothing is known to be so."""
        with trio.move_on_after(ALIVE_SECONDS):
            answer = await self.call("supervisor", AreYouAlive)
            return answer if isinstance(answer, Alive) else None
        return None

    async def call(
        self, to: str, make: Callable[[int], Message], *, number: int | None = None, id: bytes | None = None
    ) -> Answer | None:
        """Send the message that `make` returns for a request number; return its answer.

        None after REQUEST_TIMEOUT_SECONDS. Raises RequestRefusedError. `number` and `id` are given for
        requests that change something: a repetition has the same ones, also in the next incarnation of the
        gateway, and so the receiver answers it from its record, under the number that this one waits for.
        """
        if number is None:
            self._last_number += 1
            number = self._last_number
        call = self._calls.setdefault(number, _PendingCall())
        call.waiters += 1
        try:
            send = Send(to, make(number), id=os.urandom(16) if id is None else id)
            answered = await self.send_and_wait([send], until=lambda: call.answer is not None)
            return call.answer if answered else None
        finally:
            call.waiters -= 1
            if not call.waiters:
                del self._calls[number]
