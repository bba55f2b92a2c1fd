"""Tells when identify has run for a peer, and repeats an identify that failed."""

from collections.abc import Awaitable, Callable
from typing import Any

import trio

_RETRY_PAUSES_S = (0.5, 2.0, 8.0, 0.0)
"""Pause after each failure; the last one ends the attempts."""


def after_identify(host: Any, callback: Callable[[Any], Awaitable[None]]) -> None:
    """Await `callback(peer_id)` each time that identify has run or was given up; it may not wait long.

    Defect (0.8.1, host/basic_host.py:1212): there is no event for the end of identify, and so no moment to
    look at the protocols of a peer.
    Defect (0.8.1, same place): an identify that failed, because its stream was reset for example, is not
    repeated while the connection lasts, so that a DHT server is never known as one.
    Test: tests/swarm/test_identify.py.
    """
    identify = host._identify_peer

    async def identify_and_call_back(peer_id: Any, *, reason: str) -> None:
        for pause in _RETRY_PAUSES_S:
            await identify(peer_id, reason=reason)
            if peer_id in host._identified_peers or not host.get_network().get_connections(peer_id):
                break
            await trio.sleep(pause)
        await callback(peer_id)

    host._identify_peer = identify_and_call_back
