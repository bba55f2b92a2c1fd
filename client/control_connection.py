"""One connection with a node's control socket that survives restarts: frames, correlation, repetition.

Owns the socket, the requests that have no reply yet and the subscriptions. Never interprets a session's
state.

How it survives: the supervisor keeps the listening socket while the gateway restarts, so a client only has to
connect again. Nothing says which requests the former gateway had carried out, so on the new connection
*all* that are open are sent again, in their first order and with their first bytes. That is safe: a request
that changes something carries a key of 16 random bytes, chosen once, and the node answers a repeated key
without doing it again (docs/interfaces.md, "Control socket"); a repeated Subscribe brings the present state
first, and a repeated WatchDevices a DevicesChanged. What waits fails only after RECONNECT_TIMEOUT_S without a
node.
"""

import errno
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import anyio
from anyio.abc import TaskGroup, UNIXSocketStream

from ..config.paths import check_socket_path
from ..messages.base import CONTROL_LIMIT, FrameReader, MalformedMessageError, Message, encode, frame
from ..messages.control_protocol import (
    DevicesChanged,
    Error,
    Reply,
    SessionEvent,
    SessionState,
    Subscribe,
    WatchDevices,
    decode_reply,
)
from . import errors
from .errors import ControlError, NodeGoneError, check_request, no_reply_error, result_of

_FIRST_PAUSE_S = 0.02
_MAX_PAUSE_S = 0.5
_USEFUL_CONNECTION_S = 1.0
"""A connection that lasted so long, or brought an answer, was more than a refusal: backoff begins anew."""
_CONNECT_TIMEOUT_S = 5.0
_CHUNK_BYTES = 64 * 1024
_MAX_OPEN_CALLS = 32
"""Below the number of open requests that the gateway takes from one connection."""
_R = TypeVar("_R", bound=Message)


@dataclass(slots=True, eq=False)
class _PendingCall:
    """A request that has no reply yet."""

    request: Message
    reply_if_gone: Message | None
    """The reply when nothing listens any more (None: keep waiting for a node)."""
    done: anyio.Event = field(default_factory=anyio.Event)
    result: "Reply | Exception | None" = None

    def resolve(self, result: "Reply | Exception") -> None:
        """Wake the caller with this result; the first counts."""
        if self.result is None:
            self.result = result
            self.done.set()


@dataclass(slots=True, eq=False)
class Subscription:
    """The callbacks for the states of one session, up to its outcome, or of all, or for device changes."""

    request: Subscribe | WatchDevices
    on_event: Callable[[SessionEvent | DevicesChanged], None]
    on_error: Callable[[Exception], None]
    has_received: bool = False


class ControlConnection:
    """The connection. Call `connect` once, then `run` in a task for as long as it is used."""

    def __init__(self, control: Path) -> None:
        self._control = control
        self._stream: UNIXSocketStream | None = None
        self._last_id = 0
        self._calls: dict[int, _PendingCall] = {}
        self._subscriptions: dict[int, Subscription] = {}
        self._outgoing: deque[bytes] = deque()
        self._has_outgoing = anyio.Event()
        self._call_slots = anyio.Semaphore(_MAX_OPEN_CALLS)
        self._given_up = False
        self._refusal: Error | None = None  # of the last connection itself, by a node that has too many
        self._end_error: Callable[[], Exception] | None = None
        self._node_has_ended = False
        self._answers_received = 0
        self._is_connected = True
        self.on_connection_change: Callable[[bool], None] | None = None
        """Called with False when the connection is lost and with True when a node answers again."""
        self.tasks: TaskGroup
        """Those beside `run`; set by whoever runs that (node_client.open_connection)."""

    # -- What callers use ------------------------------------------------------------------------------

    async def call(
        self, expected: type[_R], make: Callable[[int], Message], *, reply_if_gone: _R | None = None
    ) -> _R:
        """Send a request and return its reply, of the type `expected`; `make` builds the request from its id.

        `reply_if_gone` is returned when nothing listens on the socket any more. Raises ControlError when the
        node refuses, and NodeGoneError after RECONNECT_TIMEOUT_S without a node or REPLY_TIMEOUT_S without a
        reply.
        """
        async with self._call_slots:
            if self._node_has_ended and reply_if_gone is not None:
                return reply_if_gone
            if self._given_up:
                raise self._gone_error()
            id = self._next_id()
            request = make(id)
            check_request(request)
            call = self._calls[id] = _PendingCall(request, reply_if_gone)
            try:
                self._enqueue(call.request)
                with anyio.move_on_after(errors.REPLY_TIMEOUT_S):
                    await call.done.wait()
            finally:
                del self._calls[id]
        if call.result is None:
            raise no_reply_error()
        if isinstance(call.result, Exception):
            raise call.result
        return result_of(call.result, expected)

    def subscribe(
        self,
        session: str | None,
        on_state: Callable[[SessionState], None],
        on_error: Callable[[Exception], None],
    ) -> Subscription:
        """Have `on_state` called with each state of a session (None: of all), across reconnections.

        `on_error` is called at most once, and ends it. After a reconnection the present state comes again.
        Raises ControlError for what is no session id.
        """

        def on_event(event: SessionEvent | DevicesChanged) -> None:
            if isinstance(event, SessionEvent):
                on_state(event.state)

        request = Subscribe(self._next_id(), session)
        check_request(request)
        return self._open_subscription(Subscription(request, on_event, on_error))

    def watch_devices(
        self, on_change: Callable[[], None], on_error: Callable[[Exception], None]
    ) -> Subscription:
        """Have `on_change` called now, at each change of the devices, and after each reconnection.

        `on_error` is called at most once, and ends it.
        """

        def on_event(event: SessionEvent | DevicesChanged) -> None:
            if isinstance(event, DevicesChanged):
                on_change()

        return self._open_subscription(Subscription(WatchDevices(self._next_id()), on_event, on_error))

    def unsubscribe(self, subscription: Subscription) -> None:
        """Call its functions no more, and do not make it again; the node may still send what nobody reads."""
        self._subscriptions.pop(subscription.request.id, None)

    def _open_subscription(self, subscription: Subscription) -> Subscription:
        id = subscription.request.id
        self._subscriptions[id] = subscription
        if self._given_up:
            self._fail_subscription(id, self._gone_error())
        else:
            self._enqueue(subscription.request)
        return subscription

    def end(self, make_error: Callable[[], Exception]) -> None:
        """Fail everything that waits, and all that comes, with this error: the node will not come back."""
        self._end_error, self._node_has_ended = make_error, True
        for call in self._calls.values():
            if call.reply_if_gone is not None:
                call.resolve(call.reply_if_gone)  # type: ignore[arg-type]
        self._give_up()
        self._report_connected(False)

    # -- The life of the connection --------------------------------------------------------------------

    async def connect(self) -> None:
        """Connect for the first time. Raises NoNodeRunningError."""
        deadline = anyio.current_time() + _CONNECT_TIMEOUT_S
        while self._stream is None:
            try:
                self._stream = await _connect(self._control)
            except OSError as error:
                if isinstance(error, BlockingIOError) and anyio.current_time() < deadline:
                    await anyio.sleep(_FIRST_PAUSE_S)  # many connect at once: the listener's queue is full
                    continue
                raise errors.nobody_there_error(self._control, error) from None

    async def run(self) -> None:
        """Exchange frames, and reconnect for as long as it takes; returns only by cancellation."""
        down_since = anyio.current_time()
        pause = _FIRST_PAUSE_S
        while True:
            stream, self._stream = self._stream, None
            if self._end_error is not None:
                await anyio.sleep_forever()
            if stream is None:
                with suppress(OSError):
                    stream = await self._reconnect()
            if stream is not None:
                is_useful, is_breach = await self._exchange_frames(stream)
                self._report_connected(False)
                if is_useful:
                    down_since = anyio.current_time()
                    if not is_breach:
                        # A node that restarts is back within moments: try at once.
                        pause = _FIRST_PAUSE_S
                        continue
            if anyio.current_time() - down_since > errors.RECONNECT_TIMEOUT_S:
                # Everything that waits fails. Attempts go on: a later call may find the node running again.
                self._give_up()
            # The pause between two attempts is the backoff; nothing announces that a node is back.
            await anyio.sleep(pause)
            pause = min(pause * 2, _MAX_PAUSE_S)

    async def aclose(self) -> None:
        """Fail what still waits, and close a connection that `run` has not taken over."""
        if self._end_error is None:
            self._end_error = lambda: NodeGoneError("this client is closed")
            self._give_up()
        if self._stream is not None:
            await anyio.aclose_forcefully(self._stream)

    async def _reconnect(self) -> UNIXSocketStream:
        """Connect and queue everything that is open once more. Raises OSError."""
        try:
            stream = await _connect(self._control)
        except OSError as error:
            self._refusal = None
            self._resolve_if_gone(error)
            raise
        self._given_up = self._end_error is not None
        self._repeat_all()
        return stream

    def _repeat_all(self) -> None:
        """Queue every request without a reply and every subscription again, in the order of their ids.

        They are sent with the ids and keys that they had. What the lost connection had not written is among
        them, so its queue is dropped.
        """
        self._outgoing.clear()
        open_requests = {id: call.request for id, call in self._calls.items() if call.result is None}
        open_requests |= {id: subscription.request for id, subscription in self._subscriptions.items()}
        for id in sorted(open_requests):
            self._enqueue(open_requests[id])

    def _resolve_if_gone(self, error: OSError) -> None:
        """Answer the calls that are fulfilled by there being no node (a Shutdown), when that is sure."""
        if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
            for call in self._calls.values():
                if call.reply_if_gone is not None:
                    call.resolve(call.reply_if_gone)  # type: ignore[arg-type]

    def _give_up(self) -> None:
        """Fail everything that waits; new requests fail at once until a connection is made."""
        self._given_up = True
        for call in self._calls.values():
            call.resolve(self._gone_error())
        for id in list(self._subscriptions):
            self._fail_subscription(id, self._gone_error())

    def _gone_error(self) -> Exception:
        return errors.node_gone_error(self._refusal) if self._end_error is None else self._end_error()

    def _report_connected(self, is_connected: bool) -> None:
        if is_connected != self._is_connected:
            self._is_connected = is_connected
            if self.on_connection_change is not None:
                self.on_connection_change(is_connected)

    # -- Frames ----------------------------------------------------------------------------------------

    async def _exchange_frames(self, stream: UNIXSocketStream) -> tuple[bool, bool]:
        """Write and read frames until the connection ends.

        Return whether it was of use, and whether the node broke the format, which a repeat may bring again.
        """
        begin, answers_before = anyio.current_time(), self._answers_received
        is_breach = False
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._write, stream, tasks.cancel_scope)
                is_breach = await self._read(stream)
                tasks.cancel_scope.cancel()
        finally:
            await anyio.aclose_forcefully(stream)
        has_lasted = anyio.current_time() - begin > _USEFUL_CONNECTION_S
        return self._answers_received > answers_before or has_lasted, is_breach

    async def _write(self, stream: UNIXSocketStream, scope: anyio.CancelScope) -> None:
        while True:
            while self._outgoing:
                try:
                    await stream.send(self._outgoing.popleft())
                except anyio.BrokenResourceError:
                    scope.cancel()
                    return
            self._has_outgoing = anyio.Event()
            await self._has_outgoing.wait()

    async def _read(self, stream: UNIXSocketStream) -> bool:
        """Handle frames until the connection ends; return whether it did so by breaking its format."""
        reader = FrameReader(CONTROL_LIMIT)
        while True:
            try:
                reader.feed(await stream.receive(_CHUNK_BYTES))
                while (payload := reader.next_frame()) is not None:
                    reply = decode_reply(payload)
                    self._refusal = reply if reply.id == 0 and isinstance(reply, Error) else None
                    if reply.id != 0:
                        self._answers_received += 1
                        self._report_connected(True)
                    self._dispatch(reply)
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return False
            except MalformedMessageError:
                return True

    def _dispatch(self, reply: Reply) -> None:
        """Hand a reply to the call or the subscription that has its id."""
        call = self._calls.get(reply.id)
        if call is not None:
            call.resolve(reply)
            return
        subscription = self._subscriptions.get(reply.id)
        if subscription is None:
            if isinstance(reply, Error) and reply.code == "bad_request":
                # The node could not read even the id of what it refuses. It ends the connection now;
                # repeating all calls on another one would only bring the same refusal, so all of them end
                # with this one.
                for call in self._calls.values():
                    call.resolve(reply)
            return
        match reply:
            case SessionEvent() | DevicesChanged():
                subscription.has_received = True
                if _is_last(reply, subscription.request):
                    del self._subscriptions[reply.id]
                subscription.on_event(reply)
            case Error(code="no_such_session") if subscription.has_received:
                error = NodeGoneError("the node was restarted and no longer knows this pairing")
                self._fail_subscription(reply.id, error)
            case Error(code=code, message=message):
                self._fail_subscription(reply.id, ControlError(code, message))

    def _fail_subscription(self, id: int, error: Exception) -> None:
        self._subscriptions.pop(id).on_error(error)

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _enqueue(self, request: Message) -> None:
        """Hand a request to the writer; its queue holds no more than what is open."""
        self._outgoing.append(frame(encode(request), CONTROL_LIMIT))
        self._has_outgoing.set()


def _is_last(event: SessionEvent | DevicesChanged, request: Subscribe | WatchDevices) -> bool:
    """Return whether the subscription that this request made ends with the event."""
    return (
        isinstance(event, SessionEvent)
        and event.state.outcome is not None
        and isinstance(request, Subscribe)
        and request.session is not None
    )


async def _connect(control: Path) -> UNIXSocketStream:
    """Connect. Raises OSError: BlockingIOError when the listener's queue is full, which is worth a retry."""
    check_socket_path(control)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        # On a Unix socket this succeeds or fails at once. An event loop's own connect would take a full queue
        # (EAGAIN) for a connection that is under way.
        sock.connect(str(control))
        return await UNIXSocketStream.from_socket(sock)
    except BaseException:
        sock.close()
        raise
