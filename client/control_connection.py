"""One connection with a node's control socket that mends itself: frames, correlation, repetition.

Owns the socket, the requests that are open and the subscriptions. When the connection is lost it
connects again and repeats all of them; that is safe, for what changes something carries a key of its own
(docs/interfaces.md, "Control socket"). Never interprets a session's state.
"""

import errno
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import trio

from ..config.paths import NoNodeRunningError, check_length
from ..messages.base import CONTROL_LIMIT, FrameReader, MalformedMessageError, Message, encode, frame
from ..messages.control_protocol import Error, Reply, SessionEvent, SessionState, Subscribe, decode_reply
from . import errors
from .errors import ControlError, NodeGoneError, answer_of, check_request, gone, unanswered

_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 0.5
# A connection that lasted this long, or brought a frame, was no mere refusal.
_USEFUL = 1.0
_FIRST_PATIENCE = 5.0
_CHUNK = 64 * 1024
# Below the number that the node takes from one connection.
_OPEN_CALLS = 32
_R = TypeVar("_R", bound=Message)


@dataclass(slots=True, eq=False)
class _Call:
    request: Message
    absent: Message | None
    """The answer when nothing listens any more (None: keep waiting for a node)."""
    answered: trio.Event = field(default_factory=trio.Event)
    result: "Reply | Exception | None" = None

    def settle(self, result: "Reply | Exception") -> None:
        if self.result is None:
            self.result = result
            self.answered.set()


@dataclass(slots=True, eq=False)
class Subscription:
    """One session's states as they come; ends by itself after the outcome."""

    request: Subscribe
    take: Callable[[SessionState], None]
    fail: Callable[[Exception], None]
    seen: bool = False


class ControlLink:
    """The connection. `connect` once, then `run` in a task as long as it is used."""

    def __init__(self, control: Path) -> None:
        self._control = control
        self._stream: trio.SocketStream | None = None
        self._next_id = 0
        self._calls: dict[int, _Call] = {}
        self._subscriptions: dict[int, Subscription] = {}
        self._outgoing: deque[bytes] = deque()
        self._more = trio.Event()
        self._slots = trio.Semaphore(_OPEN_CALLS)
        self._gone = False
        self._received = 0
        self._up = True
        self.watch: Callable[[bool], None] | None = None
        """Told False when the connection is lost and True when a node answers again."""

    async def call(
        self, expected: type[_R], make: Callable[[int], Message], *, absent: _R | None = None
    ) -> _R:
        """Ask and return the answer; `make` builds the request from its id.

        `absent` is the answer to give when nothing listens on the socket any more.
        Raises ControlError, and NodeGoneError after PATIENCE seconds without a node.
        """
        async with self._slots:
            if self._gone:
                raise gone()
            id = self._new_id()
            request = make(id)
            check_request(request)
            call = self._calls[id] = _Call(request, absent)
            try:
                self._post(call.request)
                with trio.move_on_after(errors.ANSWER):
                    await call.answered.wait()
            finally:
                del self._calls[id]
        if call.result is None:
            raise unanswered()
        if isinstance(call.result, Exception):
            raise call.result
        return answer_of(call.result, expected)

    def subscribe(
        self, session: str, take: Callable[[SessionState], None], fail: Callable[[Exception], None]
    ) -> Subscription:
        """Have `take` called with each state of a session, across reconnections; `fail` at most once."""
        id = self._new_id()
        check_request(Subscribe(id, session))
        subscription = self._subscriptions[id] = Subscription(Subscribe(id, session), take, fail)
        if self._gone:
            self._drop(id, gone())
        else:
            self._post(subscription.request)
        return subscription

    async def connect(self) -> None:
        """Connect for the first time. Raises NoNodeRunningError."""
        deadline = trio.current_time() + _FIRST_PATIENCE
        while self._stream is None:
            try:
                self._stream = await _connect(self._control)
            except OSError as error:
                if isinstance(error, BlockingIOError) and trio.current_time() < deadline:
                    await trio.sleep(_FIRST_PAUSE)  # many connect at once: the listener's queue is full
                    continue
                raise NoNodeRunningError(
                    f"no node answers on {self._control} ({error.strerror or error}); "
                    f"start one with: sdnode up"
                ) from None

    async def run(self) -> None:
        """Carry frames, and reconnect for as long as it takes; returns only by cancellation."""
        down_since = trio.current_time()
        pause = _FIRST_PAUSE
        while True:
            stream, self._stream = self._stream, None
            if stream is None:
                with suppress(OSError):
                    stream = await self._try_again()
            if stream is not None and await self._carry(stream):
                down_since = trio.current_time()
                pause = _FIRST_PAUSE
                self._notice(False)
                continue
            if trio.current_time() - down_since > errors.PATIENCE:
                self._give_up()
            # The pause between two attempts is the backoff; nothing announces that a node is back.
            await trio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _notice(self, up: bool) -> None:
        if up != self._up:
            self._up = up
            if self.watch is not None:
                self.watch(up)

    async def aclose(self) -> None:
        """Close a connection that `run` has not taken over."""
        if self._stream is not None:
            await trio.aclose_forcefully(self._stream)

    async def _try_again(self) -> trio.SocketStream:
        try:
            stream = await _connect(self._control)
        except OSError as error:
            self._not_there(error)
            raise
        self._gone = False
        self._repeat_all()
        return stream

    async def _carry(self, stream: trio.SocketStream) -> bool:
        """Carry frames until the connection ends; say whether it was of any use."""
        begin, before = trio.current_time(), self._received
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, stream, nursery.cancel_scope)
                await self._read(stream)
                nursery.cancel_scope.cancel()
        finally:
            await trio.aclose_forcefully(stream)
        return self._received > before or trio.current_time() - begin > _USEFUL

    def _not_there(self, error: OSError) -> None:
        """Answer what is fulfilled by there being no node."""
        if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
            for call in self._calls.values():
                if call.absent is not None:
                    call.settle(call.absent)  # type: ignore[arg-type]

    def _give_up(self) -> None:
        self._gone = True
        for call in self._calls.values():
            call.settle(gone())
        for id in list(self._subscriptions):
            self._drop(id, gone())

    def _repeat_all(self) -> None:
        """On a new connection everything that is open is asked again, in the order of its first asking."""
        self._outgoing.clear()
        waiting = {id: call.request for id, call in self._calls.items() if call.result is None}
        waiting |= {id: subscription.request for id, subscription in self._subscriptions.items()}
        for id in sorted(waiting):
            self._post(waiting[id])

    async def _write(self, stream: trio.SocketStream, scope: trio.CancelScope) -> None:
        while True:
            while self._outgoing:
                try:
                    await stream.send_all(self._outgoing.popleft())
                except trio.BrokenResourceError:
                    scope.cancel()
                    return
            self._more = trio.Event()
            await self._more.wait()

    async def _read(self, stream: trio.SocketStream) -> None:
        """Take frames until the connection ends or breaks its format."""
        reader = FrameReader(CONTROL_LIMIT)
        while True:
            try:
                data = await stream.receive_some(_CHUNK)
                if not data:
                    return
                reader.feed(data)
                while (payload := reader.next_frame()) is not None:
                    self._received += 1
                    self._notice(True)
                    self._dispatch(decode_reply(payload))
            except (trio.BrokenResourceError, MalformedMessageError):
                return

    def _dispatch(self, reply: Reply) -> None:
        call = self._calls.get(reply.id)
        if call is not None:
            call.settle(reply)
            return
        subscription = self._subscriptions.get(reply.id)
        if subscription is None:
            if isinstance(reply, Error) and reply.code == "bad_request":
                # It could not even tell which request: asking all of them again would only repeat that.
                for call in self._calls.values():
                    call.settle(reply)
            return
        match reply:
            case SessionEvent(state=state):
                subscription.seen = True
                if state.outcome is not None:
                    del self._subscriptions[reply.id]
                subscription.take(state)
            case Error(code="no_such_session") if subscription.seen:
                self._drop(reply.id, NodeGoneError("the node was restarted and no longer knows this pairing"))
            case Error(code=code, message=message):
                self._drop(reply.id, ControlError(code, message))

    def _drop(self, id: int, error: Exception) -> None:
        self._subscriptions.pop(id).fail(error)

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id

    def _post(self, request: Message) -> None:
        """Hand a request to the writer; its queue holds no more than what is open."""
        self._outgoing.append(frame(encode(request), CONTROL_LIMIT))
        self._more.set()


async def _connect(control: Path) -> trio.SocketStream:
    """Connect or raise OSError; a full queue of the listener counts as failure, to be tried again."""
    check_length(control)
    sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        await sock.connect(str(control))
        _check_connected(sock)
    except BaseException:
        sock.close()
        raise
    return trio.SocketStream(sock)


def _check_connected(sock: trio.socket.SocketType) -> None:
    # A full queue gives EAGAIN on Unix sockets; trio takes it for a connection that is under way, and so
    # reports success on a socket that is not connected at all.
    try:
        sock.getpeername()
    except OSError as error:
        if error.errno != errno.ENOTCONN:
            raise
        raise BlockingIOError(errno.EAGAIN, "the node is busy") from None
