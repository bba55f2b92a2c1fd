"""What is being dialled right now, so that no second dial to the same address runs beside the first.

Owns the patience with somebody else's dial: to the same address it is waited for until it ends, for a
second one gains nothing; to another address of the same peer only a little, for that may be a dead one. The
deadline of a dial is its race's (race.py), and so is that of whoever waits.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

from .addresses import Endpoint

OTHER_ADDRESS_TIMEOUT_S: Final = 0.5


class DialsUnderWay:
    """The dials of one host, by peer and address. Holds nothing of a dial that has ended."""

    def __init__(self) -> None:
        self._over: dict[bytes, dict[Endpoint, trio.Event]] = {}

    async def wait(self, peer: bytes, endpoint: Endpoint) -> None:
        """Wait for a dial of somebody else, if there is one, until it makes sense to begin another."""
        dials = self._over.get(peer)
        if not dials:
            return
        is_same = endpoint in dials
        over = dials[endpoint] if is_same else next(iter(dials.values()))
        with trio.move_on_after(math.inf if is_same else OTHER_ADDRESS_TIMEOUT_S):
            await over.wait()

    @contextmanager
    def entered(self, peer: bytes, endpoint: Endpoint) -> Iterator[None]:
        """While this is open, others wait for it."""
        over = trio.Event()
        dials = self._over.setdefault(peer, {})
        dials[endpoint] = over
        try:
            yield
        finally:
            over.set()
            if dials.get(endpoint) is over:
                del dials[endpoint]
            if not dials and self._over.get(peer) is dials:
                del self._over[peer]
