"""The library's events of connections, passed on as two plain callbacks."""

from collections.abc import Callable
from typing import Any

from libp2p.abc import INotifee


class ConnectionEvents(INotifee):  # type: ignore[misc]
    """Calls back when a connection was made or has ended; the library's other events are ignored.

    The callbacks are synchronous because the library waits for a notifee.
    """

    def __init__(self, connected: Callable[[Any], None], disconnected: Callable[[Any], None]) -> None:
        self._connected = connected
        self._disconnected = disconnected

    async def connected(self, network: Any, conn: Any) -> None:
        """Pass the event on."""
        self._connected(conn)

    async def disconnected(self, network: Any, conn: Any) -> None:
        """Pass the event on."""
        self._disconnected(conn)

    async def opened_stream(self, network: Any, stream: Any) -> None:
        """Ignore the event."""
        return

    async def closed_stream(self, network: Any, stream: Any) -> None:
        """Ignore the event."""
        return

    async def listen(self, network: Any, multiaddr: Any) -> None:
        """Ignore the event."""
        return

    async def listen_close(self, network: Any, multiaddr: Any) -> None:
        """Ignore the event."""
        return


def leave_out_stream_events(network: Any) -> None:
    """Tell nobody of streams that open and end.

    Defect (0.8.1, network/swarm.py:3169): for each of these two events, a nursery is opened and a task
    started for every notifee. All that there are ignore them.
    Test: tests/swarm/test_locks.py, test_an_exchange_takes_few_turns.
    """
    notify = network._notify

    async def notify_of_connections(method: str, *args: Any) -> None:
        if method not in ("opened_stream", "closed_stream"):
            await notify(method, *args)

    network._notify = notify_of_connections
