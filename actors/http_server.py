"""HTTP/1.1 on a listening socket, for the actors that answer it: metrics and web.

Owns the connections and their limits: each is bounded in size and time, and when all are taken the oldest
gives way. What is answered, and to whom, is the actor's (the function that it gives to HttpServer).
"""

import itertools
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import h11
import trio

MAX_CONNECTIONS = 64
MAX_HEADER_BYTES = 8 * 1024
REQUEST_SECONDS = 5.0
"""From the first byte of a request to its last; and for sending the answer, or one part of a stream."""
IDLE_SECONDS = 75.0
"""Between two requests: longer than the usual scrape interval of a minute."""
_CHUNK_BYTES = 4096
PLAIN_TEXT = "text/plain; charset=utf-8"

Header = tuple[str, str]
SendPart = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Request:
    """One request: its method, its target, its headers with lower-case names, and its body."""

    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    body: bytes = field(default=b"", repr=False)

    @property
    def path(self) -> bytes:
        """The target without its query."""
        return self.target.partition(b"?")[0]

    def header(self, name: bytes) -> bytes | None:
        """Return the first header of that lower-case name."""
        return next((value for key, value in self.headers if key == name), None)


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP response: `body`, or a `stream` that sends part after part until it returns.

    A stream is cancelled when the client goes, or does not take a part within REQUEST_SECONDS.
    """

    status: int
    body: bytes = b""
    content_type: str = PLAIN_TEXT
    headers: tuple[Header, ...] = ()
    stream: Callable[[SendPart], Awaitable[None]] | None = None


@dataclass(slots=True)
class _Connection:
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    is_streaming: bool = False


class HttpServer:
    """Serves a listening socket. `answer` returns the response to a request.

    `headers` go with every response, also with those that `answer` does not make. A request may have a body
    of `max_body_bytes`; 0: a body is never read, and its connection ends after the answer.
    """

    def __init__(
        self,
        answer: Callable[[Request], Awaitable[Response]],
        *,
        headers: tuple[Header, ...] = (),
        max_body_bytes: int = 0,
    ) -> None:
        self._answer = answer
        self._headers = headers
        self._max_body_bytes = max_body_bytes
        self._numbers = itertools.count(1)
        self._connections: dict[int, _Connection] = {}

    async def serve(self, socket_fd: int) -> None:
        """Serve until cancelled. Duplicates the descriptor, which stays open for the caller."""
        listener = trio.SocketListener(
            trio.socket.from_stdlib_socket(socket.socket(fileno=os.dup(socket_fd)))
        )
        await trio.serve_listeners(self._serve_connection, [listener])

    async def _serve_connection(self, stream: trio.SocketStream) -> None:
        # The oldest connection gives way, so that clients that hold connections open lock nobody out.
        while len(self._connections) >= MAX_CONNECTIONS:
            self._connections.pop(self._oldest()).scope.cancel()
        number = next(self._numbers)
        own = self._connections[number] = _Connection()
        try:
            with own.scope:
                await self._serve_requests(stream, own)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client went away
        finally:
            self._connections.pop(number, None)
            await trio.aclose_forcefully(stream)

    def _oldest(self) -> int:
        """Return the connection that gives way: a stream, whose number its actor bounds, comes last."""
        numbers = [number for number, one in self._connections.items() if not one.is_streaming]
        return numbers[0] if numbers else next(iter(self._connections))

    async def _serve_requests(self, stream: trio.SocketStream, own: _Connection) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER_BYTES)
        while True:
            try:
                request = await self._receive_request(stream, connection)
            except h11.RemoteProtocolError as error:
                if connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                    refusal = Response(error.error_status_hint, b"bad request\n")
                    await self._respond(stream, connection, refusal, True)
                return
            if request is None:
                return
            too_large = connection.their_state is h11.SEND_BODY and self._max_body_bytes > 0
            answer = Response(413, b"too large\n") if too_large else await self._answer(request)
            if answer.stream is not None:
                own.is_streaming = True
                await self._respond_with_stream(stream, connection, answer)
                return
            # A body that was not read: its client gets the answer and then the end of the connection.
            close = connection.their_state is not h11.DONE
            await self._respond(stream, connection, answer, close, head_only=request.method == b"HEAD")
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()

    async def _receive_request(self, stream: trio.SocketStream, connection: h11.Connection) -> Request | None:
        """Return the next request; None: none came in time, or the client has closed.

        Of a body that is too large the rest stays unread. Raises h11.RemoteProtocolError.
        """
        deadline = trio.current_time() + IDLE_SECONDS
        begun = False
        head: h11.Request | None = None
        body = bytearray()
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                with trio.move_on_at(deadline) as scope:
                    data = await stream.receive_some(_CHUNK_BYTES)
                if scope.cancelled_caught:
                    return None
                if not begun:
                    begun, deadline = True, trio.current_time() + REQUEST_SECONDS
                connection.receive_data(data)
                continue
            if isinstance(event, h11.Request):
                head = event
                if self._max_body_bytes:
                    continue
                connection.next_event()  # the end of the message, if it has no body
            elif isinstance(event, h11.Data) and head is not None:
                body += event.data
                if len(body) <= self._max_body_bytes:
                    continue
            elif not isinstance(event, h11.EndOfMessage) or head is None:
                return None
            return Request(head.method, head.target, tuple(head.headers), bytes(body))

    def _head(self, answer: Response, *own: Header) -> h11.Response:
        headers = [
            ("Content-Type", answer.content_type),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            *self._headers,
            *answer.headers,
            *own,
        ]
        return h11.Response(status_code=answer.status, headers=headers)

    async def _respond(
        self,
        stream: trio.SocketStream,
        connection: h11.Connection,
        answer: Response,
        close: bool,
        *,
        head_only: bool = False,
    ) -> None:
        own = [("Content-Length", str(len(answer.body))), *([("Connection", "close")] if close else [])]
        data = connection.send(self._head(answer, *own)) or b""
        if not head_only:
            data += connection.send(h11.Data(data=answer.body)) or b""
        data += connection.send(h11.EndOfMessage()) or b""
        await _send(stream, data)

    async def _respond_with_stream(
        self, stream: trio.SocketStream, connection: h11.Connection, answer: Response
    ) -> None:
        assert answer.stream is not None
        await _send(stream, connection.send(self._head(answer, ("Connection", "close"))) or b"")

        async def send(part: bytes) -> None:
            await _send(stream, connection.send(h11.Data(data=part)) or b"")

        async def watch(scope: trio.CancelScope) -> None:
            # A client that has asked for a stream says nothing more. Whatever comes is its end.
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await stream.receive_some(1)
            scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch, nursery.cancel_scope)
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # the client went away
                await answer.stream(send)
                await _send(stream, connection.send(h11.EndOfMessage()) or b"")
            nursery.cancel_scope.cancel()


async def _send(stream: trio.SocketStream, data: bytes) -> None:
    """Send all of `data`. Raises trio.BrokenResourceError also if the client does not read it in time."""
    with trio.move_on_after(REQUEST_SECONDS) as scope:
        await stream.send_all(data)
    if scope.cancelled_caught:
        raise trio.BrokenResourceError("the client does not read")
