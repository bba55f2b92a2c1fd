"""What an open page is sent: server-sent events, each with the newest state of one thing that has changed.

Owns how many pages may be open, and the form of an event. The oldest page gives way to one too many; a page
that reads slowly gets the newest state only (live_state.py), or is closed (actors/http_server.py).
"""

import itertools

import msgspec
import trio

from ..http_server import SendPart
from .live_state import LiveState
from .watcher import Watcher

MAX_OPEN_PAGES = 16
HEARTBEAT_SECONDS = 10.0
"""A page that hears nothing for longer takes the connection for lost (page/node.js)."""
_PART_BYTES = 16 * 1024
"""Of events that are sent together: little enough for a slow line to take in time (actors/http_server.py)."""
_HEARTBEAT = b": \n\n"


class EventStreams:
    """The open pages. `run` names this run of the node: what a page knows of another one is void."""

    def __init__(self, live: LiveState, watcher: Watcher, run: str) -> None:
        self._live = live
        self._watcher = watcher
        self._run = run
        self._numbers = itertools.count(1)
        self._open: dict[int, trio.CancelScope] = {}

    async def stream(self, send: SendPart) -> None:
        """Send events until the page is closed, or another one takes its place."""
        while len(self._open) >= MAX_OPEN_PAGES:
            self._open.pop(next(iter(self._open))).cancel()
        number = next(self._numbers)
        self._watcher.page_opened()
        try:
            with trio.CancelScope() as self._open[number]:
                await self._send_events(send)
        finally:
            self._open.pop(number, None)
            self._watcher.page_closed()

    async def _send_events(self, send: SendPart) -> None:
        # The page is connected, whatever the node has to say.
        await send(event("run", {"run": self._run}))
        last = 0
        while True:
            with trio.move_on_after(HEARTBEAT_SECONDS) as waiting:
                items = await self._live.after(last)
            if waiting.cancelled_caught:
                await send(_HEARTBEAT)
                continue
            part = bytearray()
            for item in items:
                part += event(item.name, item.make())
                if len(part) >= _PART_BYTES or item is items[-1]:
                    await send(bytes(part))
                    part.clear()
                last = item.number


def event(name: str, body: dict[str, object]) -> bytes:
    """Return one event; JSON has no line break of its own."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(body))
