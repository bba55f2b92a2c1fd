"""HTTP/1.1 for scrapers and health checks: /metrics, /livez, /readyz. Nothing else, and read-only.

Owns connections and their limits; what is true comes from the machine and, for /livez, from the supervisor.
Nobody who connects can hold more than one bounded connection, and when all are taken the oldest gives way.
docs/operations.md, "Watching".
"""

import itertools
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import h11
import trio

from ...messages.to_supervisor import AreYouAlive
from ..base import Send
from .exposition import render
from .machine import Metrics

CONNECTIONS = 64
HEADER_BYTES = 8 * 1024
REQUEST_SECONDS = 5.0
"""From the first byte of a request to the last of its header, and again for sending the answer."""
IDLE_SECONDS = 75.0
"""Between two requests: longer than the usual scrape interval of a minute."""
ALIVE_SECONDS = 1.0
_CHUNK = 4096
_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP response."""

    status: int
    body: bytes
    content_type: str = _TEXT
    headers: tuple[tuple[str, str], ...] = ()


class HttpServer:
    """Answers on a listening socket; `send` reaches the supervisor."""

    def __init__(self, metrics: Metrics, send: Callable[[Send], Awaitable[None]]) -> None:
        self._metrics = metrics
        self._send = send
        self._requests = itertools.count(1)
        self._connections: dict[int, trio.CancelScope] = {}
        self._rendered: dict[bool, tuple[int, bytes, str]] = {}

    async def serve(self, socket_fd: int) -> None:
        """Serve until cancelled. The descriptor is duplicated: it stays the caller's."""
        listener = trio.SocketListener(
            trio.socket.from_stdlib_socket(socket.socket(fileno=os.dup(socket_fd)))
        )
        await trio.serve_listeners(self._connection, [listener])

    async def _connection(self, stream: trio.SocketStream) -> None:
        while len(self._connections) >= CONNECTIONS:
            self._connections.pop(next(iter(self._connections))).cancel()
        number = next(self._requests)
        try:
            with trio.CancelScope() as self._connections[number]:
                await self._requests_of(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client went away
        finally:
            self._connections.pop(number, None)
            await trio.aclose_forcefully(stream)

    async def _requests_of(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEADER_BYTES)
        while True:
            try:
                request = await _receive_request(stream, connection)
            except h11.RemoteProtocolError as error:
                if connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                    refusal = Answer(error.error_status_hint, b"bad request\n")
                    await _respond(stream, connection, refusal, True)
                return
            if request is None:
                return
            answer = await self._answer(request)
            # A body is never read: whoever sends one gets the answer and the end of the connection.
            close = connection.their_state is not h11.DONE
            await _respond(stream, connection, answer, close, head_only=request.method == b"HEAD")
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()

    async def _answer(self, request: h11.Request) -> Answer:
        path = request.target.partition(b"?")[0]
        if path not in {b"/metrics", b"/livez", b"/readyz"}:
            return Answer(404, b"try /metrics, /livez or /readyz\n")
        if request.method not in {b"GET", b"HEAD"}:
            return Answer(405, b"only GET\n", headers=(("Allow", "GET, HEAD"),))
        match path:
            case b"/livez":
                return await self._livez()
            case b"/readyz":
                return self._readyz()
        accepts = [value.lower() for name, value in request.headers if name == b"accept"]
        return self._metrics_page(any(b"application/openmetrics-text" in value for value in accepts))

    def _metrics_page(self, openmetrics: bool) -> Answer:
        # Rendered once for each state, so that asking often costs little.
        kept = self._rendered.get(openmetrics)
        if kept is None or kept[0] != self._metrics.revision:
            page = render(self._metrics.totals, self._metrics.version, openmetrics=openmetrics)
            kept = self._rendered[openmetrics] = (self._metrics.revision, *page)
        return Answer(200, kept[1], kept[2])

    async def _livez(self) -> Answer:
        request, event = next(self._requests), trio.Event()
        self._metrics.waiting[request] = event
        try:
            with trio.move_on_after(ALIVE_SECONDS):
                await self._send(Send("supervisor", AreYouAlive(request)))
                await event.wait()
        finally:
            del self._metrics.waiting[request]
        return Answer(200, b"alive\n") if event.is_set() else Answer(503, b"the supervisor does not answer\n")

    def _readyz(self) -> Answer:
        lines = []
        for part, state in self._metrics.parts.items():
            detail = f" ({state.detail})" if state.detail else ""
            lines.append(f"{part}: {'ready' if state.ready else 'not ready'}{detail}\n")
        return Answer(200 if self._metrics.ready else 503, "".join(lines).encode())


async def _receive_request(stream: trio.SocketStream, connection: h11.Connection) -> h11.Request | None:
    """Return the next request's header, None when there is none in time. Raises h11.RemoteProtocolError."""
    deadline = trio.current_time() + IDLE_SECONDS
    begun = False
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            with trio.move_on_at(deadline) as scope:
                data = await stream.receive_some(_CHUNK)
            if scope.cancelled_caught:
                return None
            if not begun:
                begun, deadline = True, trio.current_time() + REQUEST_SECONDS
            connection.receive_data(data)
        elif isinstance(event, h11.Request):
            connection.next_event()  # the end of the message, if it has no body
            return event
        else:
            return None  # the client has closed


async def _respond(
    stream: trio.SocketStream,
    connection: h11.Connection,
    answer: Answer,
    close: bool,
    *,
    head_only: bool = False,
) -> None:
    headers = [
        ("Content-Type", answer.content_type),
        ("Content-Length", str(len(answer.body))),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        *answer.headers,
    ]
    if close:
        headers.append(("Connection", "close"))
    data = connection.send(h11.Response(status_code=answer.status, headers=headers)) or b""
    if not head_only:
        data += connection.send(h11.Data(data=answer.body)) or b""
    data += connection.send(h11.EndOfMessage()) or b""
    with trio.move_on_after(REQUEST_SECONDS) as scope:
        await stream.send_all(data)
    if scope.cancelled_caught:
        raise trio.BrokenResourceError("the client does not read")
