"""A client of the gateway whose connection is messages through the supervisor: requests, replies, states.

Owns the requests that have no reply yet, the two subscriptions (all sessions, the devices), and how soon the
gateway may send again: of states that change quickly only the last is worth a message. When the gateway was
restarted, all that is open is sent again on a new connection, in its first order; that is safe for the reason
that docs/control-protocol.md gives: each request that changes something carries a key. Never knows a browser.
"""

import os
from collections import deque
from collections.abc import Callable
from math import inf
from typing import TypeVar

import trio

from ...messages.base import CONTROL_LIMIT, FrameReader, Message, encode, frame
from ...messages.control_protocol import (
    DevicesChanged,
    Error,
    ErrorCode,
    Reply,
    SessionEvent,
    SessionState,
    Subscribe,
    WatchDevices,
    decode_reply,
)
from ...messages.errors import SpacedriveNodeError
from ...messages.from_supervisor import ActorRestarted, Undeliverable
from ...messages.to_gateway import FramesRead, PageFrames
from ...messages.to_web import GatewayFrames, WebInbox
from ..base import Mailbox

REPLY_SECONDS = 30.0
"""For one reply, a restart of the gateway included; it replies to every request within about 20."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 1.0
"""Between two batches of states, unless a reply is due.

The first is that after a quiet second; while they keep coming each is twice the former. So a person sees a
stage at once, and programs that pair many times a second cost the node one batch a second.
"""
_MAX_OPEN_CALLS = 32
"""Below the number of open requests that the gateway takes from one connection."""
_UNDELIVERED_PAUSE_SECONDS = 1.0
_R = TypeVar("_R", bound=Message)


class RefusedError(SpacedriveNodeError):
    """The node refused a request, or did not answer; `code` and the text are for the page."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code: ErrorCode = code
        self.message = message


class _Call:
    __slots__ = ("done", "reply", "request")

    def __init__(self, request: Message) -> None:
        self.request = request
        self.done = trio.Event()
        self.reply: Reply | None = None


class GatewayClient:
    """The client. `on_state` is called with each state of each session; after a reconnection with all.

    `on_device_change` is called when the devices may have changed, and after a reconnection.
    """

    def __init__(
        self,
        mailbox: Mailbox[WebInbox],
        on_state: Callable[[SessionState], None],
        on_device_change: Callable[[], None],
    ) -> None:
        self._mailbox = mailbox
        self._on_state = on_state
        self._on_device_change = on_device_change
        self._last_id = 0
        self._subscriptions: tuple[Message, ...] = ()
        self._calls: dict[int, _Call] = {}
        self._reply_is_due = trio.Event()
        self._pause = inf
        self._taken_at = -inf
        self._call_slots = trio.Semaphore(_MAX_OPEN_CALLS)
        self._outgoing: deque[PageFrames | FramesRead] = deque()
        self._has_outgoing = trio.Event()
        self._begin_connection()

    def subscribe(self) -> None:
        """Have both functions called from now on, first with the present state of every session."""
        self._subscriptions = Subscribe(self._next_id()), WatchDevices(self._next_id())
        self._enqueue_subscriptions()

    def unsubscribe(self) -> None:
        """Have them called no more. Only a new connection is without the subscriptions of the former."""
        self._subscriptions = ()
        self._connect()

    async def run(self) -> None:
        """Read what arrives, until the node stops."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write)
            async for incoming in self._mailbox:
                match incoming.message:
                    case GatewayFrames() as arrived if arrived.connection == self._connection:
                        self._read(arrived.frames)
                        nursery.start_soon(self._take_more, self._connection)
                    case ActorRestarted(actor="gateway"):
                        self._connect()
                    case Undeliverable():  # the gateway has too much to do, or is not there yet
                        nursery.start_soon(self._connect_later, self._connection)
            nursery.cancel_scope.cancel()

    async def call(self, expected: type[_R], make: Callable[[int], Message]) -> _R:
        """Send the request that `make` returns for an id; return its reply. Raises RefusedError."""
        async with self._call_slots:
            id = self._next_id()
            call = self._calls[id] = _Call(make(id))
            self._reply_is_due.set()
            try:
                self._enqueue(self._framed(call.request))
                with trio.move_on_after(REPLY_SECONDS):
                    await call.done.wait()
            finally:
                del self._calls[id]
                self._note_whether_a_reply_is_due()
        if call.reply is None:
            self._connect()  # the gateway may have given the former connection up
            raise RefusedError("not_ready", "the node does not answer; try again")
        if isinstance(call.reply, Error):
            raise RefusedError(call.reply.code, call.reply.message)
        if not isinstance(call.reply, expected):
            raise RefusedError("internal", "the node's answer is not of the kind that was asked for")
        return call.reply

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _begin_connection(self) -> None:
        self._connection = int.from_bytes(os.urandom(7), "big")
        self._reader = FrameReader(CONTROL_LIMIT)
        self._outgoing.clear()

    def _connect(self) -> None:
        """Begin a connection: subscribe, and send again what is open."""
        self._begin_connection()
        self._enqueue_subscriptions()
        for call in self._calls.values():
            self._enqueue(self._framed(call.request))

    def _enqueue_subscriptions(self) -> None:
        for subscription in self._subscriptions:
            self._enqueue(self._framed(subscription))

    async def _connect_later(self, connection: int) -> None:
        await trio.sleep(_UNDELIVERED_PAUSE_SECONDS)
        if connection == self._connection:
            self._connect()

    async def _take_more(self, connection: int) -> None:
        """Let the gateway send the next batch: at once if a reply is due, otherwise a moment later."""
        is_quiet = trio.current_time() - self._taken_at > LONGEST_PAUSE_SECONDS
        self._pause = FIRST_PAUSE_SECONDS if is_quiet else min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        with trio.move_on_after(self._pause):
            await self._reply_is_due.wait()
        if connection == self._connection:
            self._taken_at = trio.current_time()
            self._enqueue(FramesRead(connection))

    def _note_whether_a_reply_is_due(self) -> None:
        if self._reply_is_due.is_set() and all(call.reply is not None for call in self._calls.values()):
            self._reply_is_due = trio.Event()

    def _framed(self, request: Message) -> PageFrames:
        return PageFrames(self._connection, frame(encode(request), CONTROL_LIMIT))

    def _enqueue(self, message: PageFrames | FramesRead) -> None:
        """Hand a message to the writer, whose queue is bounded by the calls that are open."""
        self._outgoing.append(message)
        self._has_outgoing.set()

    async def _write(self) -> None:
        # In a task of its own: a caller that is cancelled must not cut a frame in two.
        while True:
            while self._outgoing:
                await self._mailbox.send("gateway", self._outgoing.popleft())
            self._has_outgoing = trio.Event()
            await self._has_outgoing.wait()

    def _read(self, frames: bytes) -> None:
        self._reader.feed(frames)
        while (payload := self._reader.next_frame()) is not None:
            self._take(decode_reply(payload))

    def _take(self, reply: Reply) -> None:
        if isinstance(reply, SessionEvent):
            self._on_state(reply.state)
            return
        if isinstance(reply, DevicesChanged):
            self._on_device_change()
            return
        call = self._calls.get(reply.id)
        if call is not None and call.reply is None:
            call.reply = reply
            call.done.set()
            self._note_whether_a_reply_is_due()
