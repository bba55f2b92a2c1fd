"""HTTP/1.1 for scrapers and health checks: /metrics, /livez, /readyz. Nothing else, and read-only.

Owns the connections and their limits: each is bounded in size and time, and when all are taken the oldest is
closed. What is served comes from the machine and, whether the node is alive, from the supervisor. See
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

MAX_CONNECTIONS = 64
MAX_HEADER_BYTES = 8 * 1024
REQUEST_SECONDS = 5.0
"""From the first byte of a request to the last of its header; and for sending the answer."""
IDLE_SECONDS = 75.0
"""Between two requests: longer than the usual scrape interval of a minute."""
ALIVE_SECONDS = 1.0
"""Time that the supervisor has to answer AreYouAlive."""
_CHUNK_BYTES = 4096
_PLAIN_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP response."""

    status: int
    body: bytes
    content_type: str = _PLAIN_TEXT
    headers: tuple[tuple[str, str], ...] = ()


class HttpServer:
    """Serves a listening socket. `send` sends a message to another actor, as a step of its own."""

    def __init__(self, metrics: Metrics, send: Callable[[Send], Awaitable[None]]) -> None:
        self._metrics = metrics
        self._send = send
        self._numbers = itertools.count(1)
        self._connections: dict[int, trio.CancelScope] = {}
        self._rendered: dict[tuple[bool, bool], tuple[int, bytes, str]] = {}
        """The last page of each format: revision of the machine, body, content type."""

    async def serve(self, socket_fd: int) -> None:
        """Serve until cancelled. Duplicates the descriptor, which stays open for the caller."""
        listener = trio.SocketListener(
            trio.socket.from_stdlib_socket(socket.socket(fileno=os.dup(socket_fd)))
        )
        await trio.serve_listeners(self._serve_connection, [listener])

    async def _serve_connection(self, stream: trio.SocketStream) -> None:
        # The oldest connection gives way, so that clients that hold connections open lock nobody out.
        while len(self._connections) >= MAX_CONNECTIONS:
            self._connections.pop(next(iter(self._connections))).cancel()
        number = next(self._numbers)
        try:
            with trio.CancelScope() as self._connections[number]:
                await self._serve_requests(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client went away
        finally:
            self._connections.pop(number, None)
            await trio.aclose_forcefully(stream)

    async def _serve_requests(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER_BYTES)
        while True:
            try:
                request = await _receive_request(stream, connection)
            except h11.RemoteProtocolError as error:
                if connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                    refusal = Response(error.error_status_hint, b"bad request\n")
                    await _respond(stream, connection, refusal, True)
                return
            if request is None:
                return
            answer = await self._answer(request)
            # A body is never read: a client that sends one gets the answer and then the end of the
            # connection.
            close = connection.their_state is not h11.DONE
            await _respond(stream, connection, answer, close, head_only=request.method == b"HEAD")
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()

    async def _answer(self, request: h11.Request) -> Response:
        path = request.target.partition(b"?")[0]
        if path not in {b"/metrics", b"/livez", b"/readyz"}:
            return Response(404, b"try /metrics, /livez or /readyz\n")
        if request.method not in {b"GET", b"HEAD"}:
            return Response(405, b"only GET\n", headers=(("Allow", "GET, HEAD"),))
        match path:
            case b"/livez":
                return await self._livez()
            case b"/readyz":
                return await self._readyz()
        accepts = [value.lower() for name, value in request.headers if name == b"accept"]
        openmetrics = any(b"application/openmetrics-text" in value for value in accepts)
        return self._metrics_page(openmetrics, alive=await self._supervisor_answers())

    def _metrics_page(self, openmetrics: bool, *, alive: bool) -> Response:
        # Rendered once for each revision, so that frequent requests cost little.
        cached = self._rendered.get((openmetrics, alive))
        if cached is None or cached[0] != self._metrics.revision:
            metrics = self._metrics
            page = render(
                metrics.totals,
                metrics.version,
                openmetrics=openmetrics,
                alive=alive,
                ready=metrics.ready and alive,
                created=metrics.created,
            )
            cached = self._rendered[openmetrics, alive] = (self._metrics.revision, *page)
        return Response(200, cached[1], cached[2])

    async def _livez(self) -> Response:
        if await self._supervisor_answers():
            return Response(200, b"alive\n")
        return Response(503, b"the supervisor does not answer\n")

    async def _supervisor_answers(self) -> bool:
        request, event = next(self._numbers), trio.Event()
        self._metrics.alive_waiters[request] = event
        try:
            with trio.move_on_after(ALIVE_SECONDS):
                await self._send(Send("supervisor", AreYouAlive(request)))
                await event.wait()
        finally:
            del self._metrics.alive_waiters[request]
        return event.is_set()

    async def _readyz(self) -> Response:
        # What a supervisor that stands still has not passed on is not known here: not alive is not ready.
        alive = await self._supervisor_answers()
        lines = [] if alive else ["supervisor: not ready (it does not answer)\n"]
        for part, state in self._metrics.part_states().items():
            # The swarm, which says a part of this, may have been taken over: no control of a terminal.
            text = "".join(char if char.isprintable() else "?" for char in state.detail)
            detail = f" ({text})" if text else ""
            lines.append(f"{part}: {'ready' if state.ready else 'not ready'}{detail}\n")
        return Response(200 if alive and self._metrics.ready else 503, "".join(lines).encode())


async def _receive_request(stream: trio.SocketStream, connection: h11.Connection) -> h11.Request | None:
    """Return the header of the next request; None: none came in time, or the client has closed.

    Raises h11.RemoteProtocolError.
    """
    deadline = trio.current_time() + IDLE_SECONDS
    begun = False
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
        elif isinstance(event, h11.Request):
            connection.next_event()  # the end of the message, if it has no body
            return event
        else:
            return None


async def _respond(
    stream: trio.SocketStream,
    connection: h11.Connection,
    answer: Response,
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
