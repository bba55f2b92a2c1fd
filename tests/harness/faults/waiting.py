"""Waiting for what others tell of: no polling, and never without a deadline."""

from collections.abc import Callable

import trio


async def until(news: trio.lowlevel.ParkingLot, holds: Callable[[], bool], seconds: float) -> bool:
    """Wait until `holds`, looking again at each news; say whether it came to be in time."""
    with trio.move_on_after(seconds):
        while not holds():
            await news.park()
    return holds()
