"""Notices that this host is in another network, or was suspended: then much of what the node holds is dead.

The kernel tells changes over netlink; how long the host slept, the difference between two looks at the clock.
Owns the netlink socket and the moment at which the node is told. What follows is node.py's and its parts'.
Implements docs/protocol.md, "Interruptions".
"""

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from .. import netlink
from ..base import now
from .dial import interfaces, links
from .dial.links import Networks

SETTLE_S: Final = 0.2
"""A network comes in several steps, link, address and route: after one change, those that follow are waited
for."""
RETRY_S: Final = 1.0
"""Before the kernel is asked again that could not be."""
LOOK_INTERVAL_S: Final = 2.0
"""Between two looks at the clock."""
SLEPT_S: Final = 5.0
"""A look that is later by so much comes after a sleep."""
_GROUPS: Final = netlink.INTERFACE_CHANGES | netlink.IPV4_ROUTE_CHANGES | netlink.IPV6_ROUTE_CHANGES


class NetworkWatch:
    """Calls `changed` when the node is in another network, the same one again, or awake again."""

    def __init__(self, changed: Callable[[], Awaitable[None]]) -> None:
        self._changed = changed
        self._networks: Networks | None = None
        self._is_interrupted = False
        """Something has changed since the node was told last."""

    async def run(self) -> None:
        """Watch, until cancelled. Where the kernel does not tell, sleep alone is noticed."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_clock)
            try:
                watch = netlink.ChangeWatch(_GROUPS)
            except OSError:
                return
            try:
                self._networks = _read()
                while True:
                    await trio.lowlevel.wait_readable(watch.socket)
                    await trio.sleep(SETTLE_S)  # not a wait for an event: see there
                    changes = watch.drain()
                    while not await self._look(changes):  # noqa: ASYNC110, there is no event
                        await trio.sleep(RETRY_S)
            finally:
                watch.close()

    async def _look(self, changes: list[bytes] | None) -> bool:
        """Compare the networks with those of before. Without any there is nothing to be done yet.

        Return whether the kernel has said which there are: it does not where no descriptor is left.
        """
        found = _read()
        if found is None:
            return False
        former, self._networks = self._networks, found
        interfaces.set_ranks(found.ranks)
        known = frozenset[int]() if former is None else former.interfaces
        self._is_interrupted |= (
            former is None
            or found.marks != former.marks
            or changes is None
            or any(links.is_interruption(one, known) for one in changes)
        )
        if found.leads_anywhere and self._is_interrupted:
            self._is_interrupted = False
            await self._changed()
        return True

    async def _watch_clock(self) -> None:
        while True:
            looked_at = now()
            await trio.sleep(LOOK_INTERVAL_S)  # not a wait for an event: sleep makes none
            if now() - looked_at > LOOK_INTERVAL_S + SLEPT_S:
                await self._changed()


def _read() -> Networks | None:
    try:
        return links.parse(netlink.ask(*links.requests()))
    except OSError:
        return None
