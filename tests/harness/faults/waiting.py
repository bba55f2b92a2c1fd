"""Waits for a condition with a deadline and without polling."""

from collections.abc import Callable

import trio


async def wait_until(changes: trio.lowlevel.ParkingLot, holds: Callable[[], bool], seconds: float) -> bool:
    """Wait until `holds` returns true, checked at each change. Return whether it did within `seconds`."""
    with trio.move_on_after(seconds):
        while not holds():
            await changes.park()
    return holds()
