"""The Python client of a running node: everything that the control socket offers, as methods.

Never touches the socket itself (control_connection.py does); what one pairing does is pairing.py's. Runs on
trio and on asyncio, through anyio. Implements the client's side of docs/control-protocol.md.
"""

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from ..config.running_nodes import NoNodeRunningError
from ..messages.control_protocol import (
    ActorList,
    DeviceList,
    Done,
    ForgetDevice,
    JoinPairing,
    ListActors,
    ListDevices,
    ListSessions,
    NodeStatus,
    Reload,
    Reloaded,
    RenameDevice,
    Sessions,
    SessionStarted,
    SessionState,
    Shutdown,
    StartPairing,
    Status,
)
from ..messages.to_gateway import ActorInfo, Device, ReloadReport
from .all_devices import AllDevices
from .all_sessions import AllSessions
from .control_connection import ControlConnection
from .errors import ControlError, NodeGoneError, ReloadFailedError
from .pairing import Code, Confirmation, Pairing, PairingFailedError
from .tasks import background_tasks

__all__ = [
    "Code",
    "Confirmation",
    "ControlError",
    "NoNodeRunningError",
    "NodeClient",
    "NodeGoneError",
    "Pairing",
    "PairingFailedError",
    "ReloadFailedError",
    "open_client",
]

_LIST_ATTEMPTS = 4
"""Each time another client has the list made anew between two pages, it is asked for again."""


class NodeClient:
    """A connection with a running node; from :func:`open_client`. Usable by several tasks at once.

    Every method raises ControlError when the node refuses, and NodeGoneError when no node answers for 30 s.
    When the connection is lost it is made again, and what was under way is repeated without taking effect
    twice (control_connection.py).
    """

    def __init__(self, connection: ControlConnection) -> None:
        self._connection = connection
        self._all_sessions = AllSessions(connection)
        self._all_devices = AllDevices(connection, self.devices)

    def watch_connection(self, watch: Callable[[bool], None]) -> None:
        """Have `watch` called with False when the connection is lost, and with True when it is back."""
        self._connection.on_connection_change = watch

    async def start_pairing(self, lifetime: float | None = None) -> Pairing:
        """Show a new code that lives `lifetime` seconds (60 to 3600; None: as the node is configured)."""
        key = os.urandom(16)
        reply = await self._connection.call(SessionStarted, lambda id: StartPairing(id, key, lifetime))
        return await self.session(reply.session)

    # The node does the waiting, so `timeout` is not a cancellation.
    async def join_pairing(self, text: str, timeout: float = 60) -> Pairing:  # noqa: ASYNC109
        """Enter a code: twelve words or a QR text; search `timeout` seconds. ControlError `bad_code`."""
        key = os.urandom(16)
        reply = await self._connection.call(SessionStarted, lambda id: JoinPairing(id, key, text, timeout))
        return await self.session(reply.session)

    async def session(self, id: str) -> Pairing:
        """Return the session with that id, running or lately ended. ControlError `no_such_session`."""
        return await Pairing(self._connection, id)._open()

    async def sessions(self) -> list[SessionState]:
        """Return the sessions that run, oldest first, and those lately ended, without their QR texts.

        Beyond 128 the rest follows in order of id.
        """
        page = await self._connection.call(Sessions, ListSessions)
        found = {state.session: state for state in page.sessions}
        after = ""
        while page.more is True and page.sessions:
            page = await self._connection.call(Sessions, lambda id, after=after: ListSessions(id, after))  # type: ignore[misc]
            found |= {state.session: state for state in page.sessions}
            after = page.sessions[-1].session if page.sessions else after
        return list(found.values())

    def all_states(self) -> AsyncIterator[SessionState]:
        """Yield the present state of every session, and then each change of any of them, without an end.

        Sessions that other clients start are among them. No state comes twice, also across reconnections; of
        a session that changed more than once since it was last looked at, only the newest comes. A node that
        was started again knows nothing of its former sessions, and says nothing of them. Raises NodeGoneError
        when no node answers for 30 s. Devices are followed by :meth:`all_devices`.
        """
        return self._all_sessions.follow()

    async def devices(self) -> list[Device]:
        """Return every trusted device, in order of device id."""
        found: list[Device] = []
        while True:
            after = found[-1].device_id if found else b""
            page = await self._connection.call(DeviceList, lambda id, after=after: ListDevices(id, after))  # type: ignore[misc]
            found += page.devices
            if not page.more or not page.devices:
                return found

    def all_devices(self) -> AsyncIterator[list[Device]]:
        """Yield the list of all devices, as :meth:`devices` returns it, and again each time it has changed.

        Also by what other clients, the page and the other devices do. Without an end; no list comes twice in
        a row, also across reconnections. A reader that is slow misses lists in between, never the newest;
        one that does not wait for the next costs the node nothing. While the node cannot read its store it
        waits. Raises NodeGoneError when no node answers for 30 s, and ControlError `bad_request` when the
        node is too old to say that devices change.
        """
        return self._all_devices.follow()

    async def rename(self, device_id: bytes, name: str) -> None:
        """Give a trusted device another name. ControlError `no_such_device`, `invalid_name`."""
        key = os.urandom(16)
        await self._connection.call(Done, lambda id: RenameDevice(id, key, device_id, name))
        self._all_devices.note_change()

    async def forget(self, device_id: bytes) -> None:
        """Trust a device no longer. ControlError `no_such_device`."""
        key = os.urandom(16)
        await self._connection.call(Done, lambda id: ForgetDevice(id, key, device_id))
        self._all_devices.note_change()

    async def status(self) -> NodeStatus:
        """Return the node's addresses, reachability, sessions and readiness."""
        return await self._connection.call(NodeStatus, Status)

    async def actors(self) -> Sequence[ActorInfo]:
        """Return the processes of the node, in order of start."""
        for _ in range(_LIST_ATTEMPTS):
            try:
                return await self._actors()
            except ControlError as error:
                if error.code != "busy":
                    raise
        return await self._actors()

    async def _actors(self) -> list[ActorInfo]:
        page = await self._connection.call(ActorList, ListActors)
        found = list(page.actors)
        while page.more is True and page.actors:
            last = page.actors[-1].actor
            page = await self._connection.call(ActorList, lambda id, last=last: ListActors(id, last))  # type: ignore[misc]
            found += page.actors
        return found

    async def reload(self, *, check: bool = False) -> ReloadReport:
        """Have the node read its settings again and change what differs, all of it or nothing.

        Returns when that is done: `report.state` is `applied` or `unchanged`; with `check`, which changes
        nothing, `possible` or `unchanged`. No pairing is interrupted. Raises ReloadFailedError.
        """
        key = os.urandom(16)
        state = "running"
        while state == "running":  # the node answers within a second, however long it takes
            reply = await self._connection.call(Reloaded, lambda id: Reload(id, key, check))
            state = reply.report.state
        if state in ("refused", "undone"):
            raise ReloadFailedError(reply.report)
        return reply.report

    async def shutdown(self) -> None:
        """Drain and stop the node; returns when it has agreed, or is no longer there."""
        key = os.urandom(16)
        await self._connection.call(Done, lambda id: Shutdown(id, key), reply_if_gone=Done(0))


@asynccontextmanager
async def open_client(control: Path) -> AsyncIterator[NodeClient]:
    """Connect with the node whose control socket is `control`. Raises NoNodeRunningError."""
    async with open_connection(control) as connection:
        yield NodeClient(connection)


@asynccontextmanager
async def open_connection(control: Path) -> AsyncIterator[ControlConnection]:
    """Connect, and keep the connection alive while the block runs. Raises NoNodeRunningError.

    At its end everything that still waits, in other tasks, fails with NodeGoneError.
    """
    connection = ControlConnection(control)
    await connection.connect()
    try:
        async with background_tasks() as tasks:
            connection.tasks = tasks
            tasks.start_soon(connection.run)
            yield connection
    finally:
        await connection.aclose()
