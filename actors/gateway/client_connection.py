"""One client of the control socket: reads its requests, runs them, and writes replies and events.

Owns the bounds for one client: frames of 64 KiB, how many requests are open, how long a write may take. Never
decides what a request does (handlers.py) or what is written next (outbox.py).
"""

from collections.abc import Callable
from typing import get_args

import msgspec
import trio

from ...messages.base import CONTROL_LIMIT, FrameReader, MalformedMessageError, Message
from ...messages.control_protocol import (
    Error,
    Request,
    SessionState,
    Subscribe,
    WatchDevices,
    decode_request,
)
from ..base import now
from .actor_requests import ActorClient
from .handlers import Settings, handle_request
from .outbox import Outbox

MAX_OPEN_REQUESTS = 64
"""Requests whose replies have not been written; while there are so many, no further request is read."""
_WRITE_TIMEOUT_SECONDS = 30.0
_LAST_WRITE_TIMEOUT_SECONDS = 2.0
_CHUNK_BYTES = 64 * 1024


class _RequestId(msgspec.Struct):
    """The one field of a malformed request that is needed to refuse it."""

    id: int = 0


_decode_request_id = msgspec.msgpack.Decoder(_RequestId)


class ClientConnection:
    """One client. `run` returns when the client has gone, or has broken the protocol.

    `allowed`: the requests that it may make; every other one is refused.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        actors: ActorClient,
        settings: Settings,
        *,
        allowed: tuple[type[Request], ...] = get_args(Request),
    ) -> None:
        self._stream = stream
        self._allowed = allowed
        self._actors = actors
        self._settings = settings
        self._outbox = Outbox(lambda: actors.state.subscription_limit)
        self._running_requests = 0
        self._outbox_filled = trio.Event()
        self._request_closed = trio.lowlevel.ParkingLot()
        self._stopping = False
        self._writing = False
        self._has_gone = False
        self._all_written = trio.lowlevel.ParkingLot()

    async def run(self) -> None:
        """Serve the client until it goes."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, nursery.cancel_scope)
                await self._read(lambda request: nursery.start_soon(self._serve, request))
                with trio.move_on_after(_LAST_WRITE_TIMEOUT_SECONDS):
                    # A malformed frame ends the connection: let its refusal reach the client.
                    await self.flush()
                nursery.cancel_scope.cancel()
        finally:
            await trio.aclose_forcefully(self._stream)

    def publish(self, state: SessionState) -> None:
        """Queue the new state of a session, if the client has subscribed to it."""
        self._outbox.publish(state)
        self._outbox_filled.set()

    def publish_device_change(self) -> None:
        """Queue that the devices may have changed, if the client watches them."""
        self._outbox.publish_device_change()
        self._outbox_filled.set()

    def stop(self) -> None:
        """Refuse requests from now on; those that are open may still be answered."""
        self._stopping = True

    async def flush(self) -> None:
        """Wait until everything in the outbox has been written, or the client has gone."""
        while not self._has_gone and (self._writing or self._outbox.pending):
            await self._all_written.park()

    async def _read(self, serve: Callable[[Request], None]) -> None:
        reader = FrameReader(CONTROL_LIMIT)
        while True:
            payload = None
            try:
                while (payload := reader.next_frame()) is None:
                    data = await self._stream.receive_some(_CHUNK_BYTES)
                    if not data:
                        return
                    reader.feed(data)
                request = decode_request(payload)
            except trio.BrokenResourceError:
                return
            except MalformedMessageError:
                id = 0 if payload is None else _id_of(payload)
                self._reply(
                    Error(id, "bad_request", "not a request as docs/control-protocol.md describes it")
                )
                return
            await self._begin(request, serve)

    async def _begin(self, request: Request, serve: Callable[[Request], None]) -> None:
        """Start to serve a request, and return when the next one may be read."""
        if self._stopping:
            self._reply(Error(request.id, "stopping", "the node is stopping"))
        elif not isinstance(request, self._allowed):
            self._reply(Error(request.id, "bad_request", "this client may not ask for that"))
        elif isinstance(request, Subscribe):
            self._subscribe(request)
        elif isinstance(request, WatchDevices):
            self._outbox.watch_devices(request)
            self._outbox_filled.set()
        else:
            self._running_requests += 1
            serve(request)
        while self._running_requests + self._outbox.reply_count >= MAX_OPEN_REQUESTS:
            await self._request_closed.park()

    def _subscribe(self, request: Subscribe) -> None:
        sessions = self._actors.state.sessions
        if request.session is None:
            current = list(sessions.states(now()))
        else:
            state = sessions.state(request.session, now())
            current = [] if state is None else [state]
        self._outbox.subscribe(request, current)
        self._outbox_filled.set()

    async def _serve(self, request: Request) -> None:
        try:
            self._reply(await handle_request(request, self._actors, self._settings))
        finally:
            self._running_requests -= 1
            self._request_closed.unpark_all()

    def _reply(self, message: Message) -> None:
        self._outbox.reply(message)
        self._outbox_filled.set()

    async def _write(self, scope: trio.CancelScope) -> None:
        """Write what the outbox holds, until the client is gone or takes nothing for too long."""
        while True:
            while data := self._outbox.pop_batch():
                self._request_closed.unpark_all()
                self._writing = True
                try:
                    with trio.fail_after(_WRITE_TIMEOUT_SECONDS):
                        await self._stream.send_all(data)
                except (trio.BrokenResourceError, trio.TooSlowError):
                    self._has_gone = True
                    self._all_written.unpark_all()
                    scope.cancel()
                    return
            self._writing = False
            self._all_written.unpark_all()
            self._outbox_filled = trio.Event()
            await self._outbox_filled.wait()


def _id_of(payload: bytes) -> int:
    """Return the id of a malformed request, so that its client knows which is refused; 0 if none."""
    try:
        id = _decode_request_id.decode(payload).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0
    return id if 0 <= id < 2**63 else 0
