"""How many devices are stored, for metrics: reported at the start and soon after the number has changed.

Owns what was reported last. Never looks into a record, and never reports which devices they are.
"""

import sqlite3

from ...messages.to_metrics import Observed, Sample
from ..base import Send
from .device_store import DeviceStore


class DeviceCounts:
    """The number of devices by state, as `sdnode devices` shows them."""

    def __init__(self, store: DeviceStore) -> None:
        self._store = store
        self._counted_at = -1
        self._reported: dict[str, int] | None = None

    def report(self) -> list[Send]:
        """Return what to send, nothing if the numbers are those of the last report."""
        changes = self._store.change_count
        if changes == self._counted_at:
            return []
        try:
            counts = self._store.count_devices()
        except sqlite3.OperationalError:
            return []  # the store's health says so; counted again when it works
        self._counted_at = changes
        if counts == self._reported:
            return []
        self._reported = counts
        samples = tuple(Sample("devices", (state,), float(count)) for state, count in counts.items())
        return [Send("metrics", Observed(samples=samples))]
