"""One client of the control socket: reads its requests, runs them, writes what it is owed.

Owns the bounds for one client: frames of 64 KiB, how many requests are open, how long a write may take.
"""

from collections.abc import Callable

import msgspec
import trio

from ...messages.base import CONTROL_LIMIT, FrameReader, MalformedMessageError, Message
from ...messages.control_protocol import Error, Request, SessionState, Subscribe, decode_request
from ..base import now
from .actor_requests import Exchange
from .handlers import Settings, answer
from .outbox import Outbox

OPEN_REQUESTS = 64
"""More are not read until some have been answered and the answers written."""
_WRITE = 30.0
_LAST_WRITE = 2.0
_CHUNK = 64 * 1024


class _Named(msgspec.Struct):
    """The one field of a request that is needed to refuse it."""

    id: int = 0


_decode_named = msgspec.msgpack.Decoder(_Named)


class Connection:
    """One client. `run` returns when it has gone or must go."""

    def __init__(self, stream: trio.SocketStream, exchange: Exchange, settings: Settings) -> None:
        self._stream = stream
        self._exchange = exchange
        self._settings = settings
        self._outbox = Outbox()
        self._running = 0
        self._more = trio.Event()
        self._fewer = trio.lowlevel.ParkingLot()
        self._stopping = False
        self._writing = False
        self._idle = trio.lowlevel.ParkingLot()

    async def run(self) -> None:
        """Serve the client to its end."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, nursery.cancel_scope)
                await self._read(lambda request: nursery.start_soon(self._serve, request))
                with trio.move_on_after(_LAST_WRITE):
                    # The refusal of the frame that ends the connection, above all.
                    await self.written()
                nursery.cancel_scope.cancel()
        finally:
            await trio.aclose_forcefully(self._stream)

    def publish(self, state: SessionState) -> None:
        """Queue a session's new state, if the client has subscribed to it."""
        self._outbox.publish(state)
        self._more.set()

    def stop(self) -> None:
        """Refuse requests from now on; what is open may still be answered."""
        self._stopping = True

    async def written(self) -> None:
        """Wait until all that is owed at present has been written."""
        while self._writing or self._outbox.waiting:
            await self._idle.park()

    async def _read(self, serve: Callable[[Request], None]) -> None:
        reader = FrameReader(CONTROL_LIMIT)
        while True:
            payload = None
            try:
                while (payload := reader.next_frame()) is None:
                    data = await self._stream.receive_some(_CHUNK)
                    if not data:
                        return
                    reader.feed(data)
                request = decode_request(payload)
            except trio.BrokenResourceError:
                return
            except MalformedMessageError:
                id = 0 if payload is None else _id_of(payload)
                self._reply(Error(id, "bad_request", "not a request as docs/interfaces.md describes it"))
                return
            await self._begin(request, serve)

    async def _begin(self, request: Request, serve: Callable[[Request], None]) -> None:
        if self._stopping:
            self._reply(Error(request.id, "stopping", "the node is stopping"))
        elif isinstance(request, Subscribe):
            self._subscribe(request)
        else:
            self._running += 1
            serve(request)
        while self._running + self._outbox.replies >= OPEN_REQUESTS:
            await self._fewer.park()

    def _subscribe(self, request: Subscribe) -> None:
        board = self._exchange.board
        if request.session is None:
            present = list(board.states(now()))
        else:
            state = board.state(request.session, now())
            present = [] if state is None else [state]
        self._outbox.subscribe(request, present)
        self._more.set()

    async def _serve(self, request: Request) -> None:
        try:
            self._reply(await answer(request, self._exchange, self._settings))
        finally:
            self._running -= 1
            self._fewer.unpark_all()

    def _reply(self, message: Message) -> None:
        self._outbox.reply(message)
        self._more.set()

    async def _write(self, scope: trio.CancelScope) -> None:
        """Write until the client is gone, or takes nothing for so long that it counts as gone."""
        while True:
            while data := self._outbox.take():
                self._fewer.unpark_all()
                self._writing = True
                try:
                    with trio.fail_after(_WRITE):
                        await self._stream.send_all(data)
                except (trio.BrokenResourceError, trio.TooSlowError):
                    scope.cancel()
                    return
            self._writing = False
            self._idle.unpark_all()
            self._more = trio.Event()
            await self._more.wait()


def _id_of(payload: bytes) -> int:
    """Return the id of a request that is otherwise wrong, so that its client knows which; else 0."""
    try:
        id = _decode_named.decode(payload).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0
    return id if 0 <= id < 2**63 else 0
