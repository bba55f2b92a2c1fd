"""A histogram over the buckets of messages/to_metrics.py, as every actor counts it and metrics adds it up.

One definition for the senders (discovery, the swarm, sessions) and for the receiver (metrics), so that both
sides put a value into the same bucket. Owns the sparse form, which is also what metrics keeps in its
checkpoint, and its conversion from and to the message `Distribution`. Pure; never sends anything.
"""

from bisect import bisect_left
from dataclasses import dataclass, field

from ..messages.to_metrics import BUCKETS, Distribution, MetricName


@dataclass(slots=True)
class Histogram:
    """Counts by bucket, only those that are not zero, and the sum of all values.

    Bucket `i` counts the values in (BUCKETS[i - 1], BUCKETS[i]]; the bucket len(BUCKETS) is +Inf.
    """

    counts: dict[int, int] = field(default_factory=dict)
    total: float = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        bucket = bisect_left(BUCKETS, value)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        self.total += value

    def add(self, other: "Histogram") -> None:
        """Add the values that another histogram has counted."""
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count
        self.total += other.total

    def raise_to(self, other: "Histogram") -> None:
        """Replace each number by that of a later report of the same incarnation; no number decreases."""
        for bucket, count in other.counts.items():
            self.counts[bucket] = max(self.counts.get(bucket, 0), count)
        self.total = max(self.total, other.total)

    def cumulative(self) -> list[int]:
        """Return, for each bound of BUCKETS and then +Inf, how many values are at most that bound."""
        running, result = 0, []
        for bucket in range(len(BUCKETS) + 1):
            running += self.counts.get(bucket, 0)
            result.append(running)
        return result

    def to_message(self, name: MetricName, labels: tuple[str, ...]) -> Distribution:
        """Return this histogram as an actor reports it: one count for each bucket, zeros included."""
        counts = tuple(self.counts.get(bucket, 0) for bucket in range(len(BUCKETS) + 1))
        return Distribution(name, labels, counts, self.total)


def from_message(message: Distribution) -> Histogram:
    """Return the histogram that an actor has reported."""
    return Histogram({bucket: count for bucket, count in enumerate(message.counts) if count}, message.total)
