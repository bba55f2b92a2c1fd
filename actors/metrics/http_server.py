"""What is served to scrapers and health checks: /metrics, /livez, /readyz. Nothing else, and read-only.

Owns the rendered pages. What is served comes from the machine and, whether the node is alive, from the
supervisor; the connections are actors/http_server.py's. See docs/operations.md, "Watching".
"""

import itertools
from collections.abc import Awaitable, Callable

import trio

from ...messages.to_supervisor import AreYouAlive
from ..base import Send
from ..http_server import Request, Response
from .exposition import render
from .machine import Metrics

ALIVE_SECONDS = 1.0
"""Time that the supervisor has to answer AreYouAlive."""


class MetricsPages:
    """Answers the requests. `send` sends a message to another actor, as a step of its own."""

    def __init__(self, metrics: Metrics, send: Callable[[Send], Awaitable[None]]) -> None:
        self._metrics = metrics
        self._send = send
        self._numbers = itertools.count(1)
        self._rendered: dict[tuple[bool, bool], tuple[int, bytes, str]] = {}
        """The last page of each format: revision of the machine, body, content type."""

    async def answer(self, request: Request) -> Response:
        """Return the response to any request."""
        path = request.path
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
