"""What every page shows: the newest state of each session, the devices, the processes, the status.

Owns these, numbered in order of change: a page that reads slowly misses states in between and never makes a
queue grow. Keeps a bounded number of sessions. Never asks the node anything.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import trio

MAX_ENDED_SESSIONS = 128
MAX_SESSIONS = 2048
Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that is shown: `name` is the event by which a page gets it, `make` its body now."""

    number: int
    name: str
    make: Callable[[], Body]
    compared: object


class LiveState:
    """The items by key, in order of their last change."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self._ended: dict[str, None] = {}
        self._last_number = 0
        self._changed = trio.Event()

    def put(self, key: str, name: str, make: Callable[[], Body], compared: object) -> None:
        """Show an item, in place of the former of that key; nothing changes if `compared` is the same."""
        known = self._items.get(key)
        if known is not None and known.compared == compared:
            return
        self._last_number += 1
        self._items.pop(key, None)
        self._items[key] = Item(self._last_number, name, make, compared)
        self._changed.set()
        self._changed = trio.Event()

    def put_session(self, session: str, make: Callable[[], Body], compared: object, *, ended: bool) -> None:
        """Show a session; those that ended long ago, and what is more than can be shown, are dropped."""
        self.put(session, "session", make, compared)
        if ended:
            self._ended[session] = None
            if len(self._ended) > MAX_ENDED_SESSIONS:
                self._drop(next(iter(self._ended)))
        sessions = [key for key, item in self._items.items() if item.name == "session"]
        if len(sessions) > MAX_SESSIONS:
            self._drop(sessions[0])

    def drop_sessions(self) -> None:
        """Show no session any more."""
        for key in [key for key, item in self._items.items() if item.name == "session"]:
            self._drop(key)

    def _drop(self, session: str) -> None:
        self._ended.pop(session, None)
        self._items.pop(session, None)

    async def after(self, number: int) -> list[Item]:
        """Wait until there are items with a higher number, and return them in order."""
        while not (items := [item for item in self._items.values() if item.number > number]):
            await self._changed.wait()
        return items
