"""What discovery measures: durations in the buckets of messages/to_metrics.py, cumulative since its start."""

import math
from bisect import bisect_left
from dataclasses import dataclass, field

from ...messages.to_metrics import BUCKETS, Distribution, MetricName, Observed
from ...messages.types import Instant

REPORT_EVERY = 1.0
"""Seconds between reports, when something has changed."""


@dataclass(slots=True)
class _Histogram:
    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0


@dataclass(slots=True)
class Measurements:
    """Histograms by name and labels; labels come from closed lists, so their number is bounded."""

    _histograms: dict[tuple[MetricName, tuple[str, ...]], _Histogram] = field(default_factory=dict)
    _changed: bool = False
    _reported: Instant = -math.inf

    def observe(self, name: MetricName, labels: tuple[str, ...], seconds: float) -> None:
        """Count one duration."""
        histogram = self._histograms.setdefault((name, labels), _Histogram())
        value = max(seconds, 0.0)
        histogram.counts[bisect_left(BUCKETS, value)] += 1
        histogram.total += value
        self._changed = True

    def wake_at(self) -> Instant:
        """Return when a report is due; inf: nothing has changed."""
        return self._reported + REPORT_EVERY if self._changed else math.inf

    def report(self, now: Instant) -> Observed | None:
        """Return all present values if a report is due."""
        if not self._changed or now < self._reported + REPORT_EVERY:
            return None
        self._changed = False
        self._reported = now
        return Observed(
            distributions=tuple(
                Distribution(name, labels, tuple(histogram.counts), histogram.total)
                for (name, labels), histogram in self._histograms.items()
            )
        )
