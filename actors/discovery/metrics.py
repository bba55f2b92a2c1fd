"""What discovery measures and reports to metrics: durations, cumulative since this process began.

Owns the histograms and the pace of reports. Never sends; core.py sends what `report` returns.
"""

import math
from dataclasses import dataclass, field

from ...messages.to_metrics import MetricName, Observed
from ...messages.types import Instant
from ..histogram import Histogram

REPORT_INTERVAL_SECONDS = 1.0
"""The least time between two reports; nothing is reported when nothing has changed."""


@dataclass(slots=True)
class DiscoveryMetrics:
    """Histograms by name and labels. Labels come from closed lists, so their number is bounded."""

    _histograms: dict[tuple[MetricName, tuple[str, ...]], Histogram] = field(default_factory=dict)
    _changed: bool = False
    _reported_at: Instant = -math.inf

    def observe(self, name: MetricName, labels: tuple[str, ...], seconds: float) -> None:
        """Count one duration."""
        self._histograms.setdefault((name, labels), Histogram()).observe(max(seconds, 0.0))
        self._changed = True

    def wake_at(self) -> Instant:
        """Return when the next report can be made; inf: nothing has changed since the last one."""
        return self._reported_at + REPORT_INTERVAL_SECONDS if self._changed else math.inf

    def report(self, now: Instant) -> Observed | None:
        """Return all values metrics so far, or None if none has changed or the last report is too recent."""
        if now < self.wake_at():
            return None
        self._changed = False
        self._reported_at = now
        return Observed(
            distributions=tuple(
                histogram.to_message(name, labels) for (name, labels), histogram in self._histograms.items()
            )
        )
