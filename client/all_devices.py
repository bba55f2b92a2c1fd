"""All devices of a node, followed by one subscription of a connection and read by any number of iterators.

The node only says that the devices may have changed (WatchDevices). They are listed when an iterator waits
for it, once for all that do, so that a reader which is slow, or has stopped reading, costs the node no list.
Each iterator yields a list only if it differs from its last. Owns the newest list, and the changes that it
covers.
"""

from collections.abc import AsyncIterator, Awaitable, Callable

import anyio

from ..messages.control_protocol import ErrorCode
from ..messages.errors import SpacedriveNodeError
from ..messages.to_gateway import Device
from .control_connection import ControlConnection, Subscription
from .errors import ControlError
from .tasks import Change

_RETRY_S = 1.0
_PASSING: tuple[ErrorCode, ...] = ("not_ready", "busy", "stopping")
"""Refusals of a list that mean "later": a vault that waits for its disk, a node that stops."""
_OLD_NODE = "this node is older than its client and does not say when devices change; list them now and then"


class AllDevices:
    """The devices of one node. Subscribes when they are first followed; `list_devices` lists them."""

    def __init__(
        self, connection: ControlConnection, list_devices: Callable[[], Awaitable[list[Device]]]
    ) -> None:
        self._connection = connection
        self._list_devices = list_devices
        self._subscription: Subscription | None = None
        self._change_count = 0
        self._devices: list[Device] | None = None
        self._covered = 0
        """Of so many changes `_devices` tells: it was asked for after them."""
        self._is_listing = False
        self._failure: Exception | None = None
        self._changed = Change()

    def follow(self) -> AsyncIterator[list[Device]]:
        """Yield the list of all devices, then each that differs from the last (NodeClient.all_devices)."""
        self._failure = None
        if self._subscription is None:
            self._devices = None
            # It may fail at once.
            self._subscription = self._connection.watch_devices(self.note_change, self._on_error)
            if self._failure is not None:
                self._subscription = None
        return _DeviceIterator(self)

    def note_change(self) -> None:
        """The devices may have changed."""
        self._change_count += 1
        self._changed.announce()

    async def other_than(self, known: list[Device] | None) -> list[Device]:
        """Wait until the devices are others than `known`, and return all of them."""
        # A list that was asked for before this call may be an old one. One asked for later will do, although
        # changes may have come since: a node whose devices change all the time is followed too.
        needed = self._change_count
        while True:
            if self._devices is not None and self._covered >= needed and self._devices != known:
                return list(self._devices)
            if self._failure is not None:
                raise self._failure
            if self._covered < self._change_count and not self._is_listing:
                self._is_listing = True
                # Not by the iterator itself: it may be cancelled, and others wait for the same list.
                self._connection.tasks.start_soon(self._list)
            await self._changed.wait()

    async def _list(self) -> None:
        subscription, number = self._subscription, self._change_count
        try:
            devices = await self._list_devices()
        except SpacedriveNodeError as error:
            if isinstance(error, ControlError) and error.code in _PASSING:
                with anyio.move_on_after(_RETRY_S):
                    await self._changed.wait()
            elif subscription is self._subscription:
                self._failure = error
        else:
            if subscription is self._subscription:
                self._devices, self._covered = devices, number
        finally:
            self._is_listing = False
        self._changed.announce()

    def _on_error(self, error: Exception) -> None:
        if isinstance(error, ControlError) and error.code == "bad_request":
            error = ControlError(error.code, _OLD_NODE)
        self._failure, self._subscription = error, None
        self._changed.announce()


class _DeviceIterator(AsyncIterator[list[Device]]):
    """The iterator of NodeClient.all_devices. Not an async generator: leaving its loop would not close it."""

    def __init__(self, devices: AllDevices) -> None:
        self._devices = devices
        self._last: list[Device] | None = None

    async def __anext__(self) -> list[Device]:
        while True:
            last = self._last
            found = await self._devices.other_than(last)
            if self._last is last:  # else another task, which waits at this iterator too, has returned it
                self._last = found
                return list(found)
