"""Asks the node for devices, processes and status, and has sessions and changes told, while a page is open.

Owns how often. Devices are listed when the gateway says that they may have changed, for all open pages once.
Without an open page it asks nothing and hears of nothing, so that the page costs a node nothing then.
"""

from collections.abc import Awaitable, Callable

import trio

from ...messages.control_protocol import ActorList, DeviceList, ListActors, ListDevices, NodeStatus, Status
from ...messages.to_gateway import ActorInfo, Device
from .gateway_client import GatewayClient, RefusedError
from .live_state import LiveState
from .page_json import MAX_SHOWN_DEVICES, MAX_SHOWN_PROCESSES, devices_body, processes_body, status_body
from .shown_sessions import ShownSessions

STATUS_SECONDS = 2.0
PROCESSES_SECONDS = 10.0
"""If the status misses no other parts than before: to read the memory of all processes takes 10 ms."""
DEVICES_SECONDS = 1.0
"""Between two lists of devices, so that many changes have one together."""
REFUSED_DEVICES_SECONDS = 15.0
"""After a list that was refused, if the gateway does not say before that the vault is back."""


class Watcher:
    """Keeps the live state up to date while `open_pages` is more than 0."""

    def __init__(self, client: GatewayClient, live: LiveState, sessions: ShownSessions) -> None:
        self._client = client
        self._live = live
        self._sessions = sessions
        self._open_pages = 0
        self._page_opened = trio.lowlevel.ParkingLot()
        self._devices_changed = trio.Event()
        self._missing: tuple[str, ...] = ()
        self._parts_changed = trio.Event()

    def page_opened(self) -> None:
        """One more page is open."""
        self._open_pages += 1
        if self._open_pages == 1:
            self._client.subscribe()
        self._page_opened.unpark_all()

    def page_closed(self) -> None:
        """One page less is open."""
        self._open_pages -= 1
        if not self._open_pages:
            self._client.unsubscribe()
            self._sessions.forget()

    def devices_may_have_changed(self) -> None:
        """List the devices: now, if the last list is not of a moment ago."""
        self._devices_changed.set()

    async def run(self) -> None:
        """Ask, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._repeat, self._ask_status, STATUS_SECONDS, trio.sleep_forever)
            nursery.start_soon(self._repeat, self._ask_processes, PROCESSES_SECONDS, self._wait_for_parts)
            nursery.start_soon(self._follow_devices)

    async def _repeat(
        self, ask: Callable[[], Awaitable[None]], seconds: float, news: Callable[[], Awaitable[None]]
    ) -> None:
        while True:
            await self._try(ask)
            with trio.move_on_after(seconds):
                await news()

    async def _follow_devices(self) -> None:
        while True:
            await self._devices_changed.wait()
            self._devices_changed = trio.Event()
            if not await self._try(self._ask_devices):
                with trio.move_on_after(REFUSED_DEVICES_SECONDS):
                    await self._devices_changed.wait()
                self._devices_changed.set()
            await trio.sleep(DEVICES_SECONDS)

    async def _try(self, ask: Callable[[], Awaitable[None]]) -> bool:
        """Ask once a page is open; return whether the node has answered, which pages are shown too."""
        while not self._open_pages:
            await self._page_opened.park()
        try:
            await ask()
        except RefusedError as error:
            body = {"answers": False, "message": error.message}
            self._live.put("answers", "answers", lambda: body, False)
            return False
        self._live.put("answers", "answers", lambda: {"answers": True, "message": ""}, True)
        return True

    async def _wait_for_parts(self) -> None:
        await self._parts_changed.wait()
        self._parts_changed = trio.Event()

    async def _ask_status(self) -> None:
        status = await self._client.call(NodeStatus, Status)
        if status.missing != self._missing:
            self._missing = status.missing
            self._parts_changed.set()
        body = status_body(status)
        self._live.put("status", "status", lambda: body, body)

    async def _ask_processes(self) -> None:
        page = await self._client.call(ActorList, ListActors)
        found: list[ActorInfo] = list(page.actors)
        while page.more is True and page.actors and len(found) < MAX_SHOWN_PROCESSES:
            last = page.actors[-1].actor
            page = await self._client.call(ActorList, lambda id, last=last: ListActors(id, last))  # type: ignore[misc]
            found += page.actors
        body = processes_body(found)
        self._live.put("processes", "processes", lambda: body, body)

    async def _ask_devices(self) -> None:
        found: list[Device] = []
        more = True
        while more and len(found) <= MAX_SHOWN_DEVICES:
            after = found[-1].device_id if found else b""
            page = await self._client.call(DeviceList, lambda id, after=after: ListDevices(id, after))  # type: ignore[misc]
            found += page.devices
            more = page.more and bool(page.devices)
        body = devices_body(found)
        self._live.put("devices", "devices", lambda: body, body)
