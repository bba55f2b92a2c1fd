"""Asks the node for what it does not report by itself: devices, processes and status, while a page is open.

Owns how often. Without an open page it asks nothing, so that the page costs a node nothing then.
"""

from collections.abc import Awaitable, Callable

import trio

from ...messages.control_protocol import ActorList, DeviceList, ListActors, ListDevices, NodeStatus, Status
from ...messages.to_gateway import ActorInfo, Device
from .gateway_client import GatewayClient, RefusedError
from .live_state import LiveState
from .page_json import MAX_SHOWN_DEVICES, MAX_SHOWN_PROCESSES, devices_body, processes_body, status_body

STATUS_SECONDS = 2.0
DEVICES_SECONDS = 15.0
"""Between two lists of devices if nothing here has changed them: another client may have."""


class Watcher:
    """Keeps the live state up to date while `open_pages` is more than 0."""

    def __init__(self, client: GatewayClient, live: LiveState) -> None:
        self._client = client
        self._live = live
        self._open_pages = 0
        self._page_opened = trio.lowlevel.ParkingLot()
        self._devices_changed = trio.Event()

    def page_opened(self) -> None:
        """One more page is open."""
        self._open_pages += 1
        self._page_opened.unpark_all()
        self.devices_may_have_changed()

    def page_closed(self) -> None:
        """One page less is open."""
        self._open_pages -= 1

    def devices_may_have_changed(self) -> None:
        """List the devices now."""
        self._devices_changed.set()

    async def run(self) -> None:
        """Ask, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._repeat, self._ask_status, STATUS_SECONDS, trio.sleep_forever)
            nursery.start_soon(self._repeat, self._ask_processes, STATUS_SECONDS, trio.sleep_forever)
            nursery.start_soon(self._repeat, self._ask_devices, DEVICES_SECONDS, self._wait_for_change)

    async def _repeat(
        self, ask: Callable[[], Awaitable[None]], seconds: float, news: Callable[[], Awaitable[None]]
    ) -> None:
        while True:
            while not self._open_pages:
                await self._page_opened.park()
            try:
                await ask()
            except RefusedError as error:
                body = {"answers": False, "message": error.message}
                self._live.put("answers", "answers", lambda body=body: body, False)  # type: ignore[misc]
            else:
                self._live.put("answers", "answers", lambda: {"answers": True, "message": ""}, True)
            with trio.move_on_after(seconds):
                await news()

    async def _wait_for_change(self) -> None:
        await self._devices_changed.wait()

    async def _ask_status(self) -> None:
        body = status_body(await self._client.call(NodeStatus, Status))
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
        self._devices_changed = trio.Event()
        found: list[Device] = []
        more = True
        while more and len(found) <= MAX_SHOWN_DEVICES:
            after = found[-1].device_id if found else b""
            page = await self._client.call(DeviceList, lambda id, after=after: ListDevices(id, after))  # type: ignore[misc]
            found += page.devices
            more = page.more and bool(page.devices)
        body = devices_body(found)
        self._live.put("devices", "devices", lambda: body, body)
