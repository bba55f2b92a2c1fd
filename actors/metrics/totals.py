"""Values of all senders added up, so that no restart of anyone makes a counter go back.

Sans-IO. Each sender's values are cumulative within its incarnation, which the supervisor stamps:
total = ended incarnations + the present one (docs/architecture.md, "Restarts that nobody notices").
Bounded: senders, series, series of one metric; what goes beyond is ignored and counted nowhere.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from ...messages.base import Decoder
from ...messages.to_metrics import Observed
from ..histogram import Histogram, from_message
from .catalogue import may_report

MAX_SENDERS = 2048
MAX_SERIES_OF_METRIC = 64
MAX_CELLS = 25_000
"""Numbers kept for present senders, some 15 bytes each in the checkpoint; a whole session takes about 30."""

Series = tuple[str, tuple[str, ...]]
"""A metric's name (without prefix) and the values of its labels."""


@dataclass(slots=True)
class Values:
    """What one incarnation of one sender said, or the sum of those that have ended."""

    counters: dict[int, float] = field(default_factory=dict)
    histograms: dict[int, Histogram] = field(default_factory=dict)
    gauges: dict[int, float] = field(default_factory=dict)
    incarnation: int = 0

    def cells(self) -> int:
        """Return how many numbers this holds."""
        return (
            len(self.counters) + len(self.gauges) + sum(2 + len(h.counts) for h in self.histograms.values())
        )

    def fold(self, ended: "Values") -> None:
        """Add what an ended incarnation counted; its gauges end with it."""
        for series, value in ended.counters.items():
            self.counters[series] = self.counters.get(series, 0.0) + value
        for series, histogram in ended.histograms.items():
            self.histograms.setdefault(series, Histogram()).add(histogram)


@dataclass(slots=True)
class _State:
    """The checkpoint. Series are numbered, so that hundreds of sessions take a few bytes each."""

    series: list[Series] = field(default_factory=list)
    ended: Values = field(default_factory=Values)
    present: dict[str, Values] = field(default_factory=dict)


_decode: Decoder[_State] = Decoder(_State)


class Totals:
    """The sums, restored from a checkpoint."""

    def __init__(self, checkpoint: bytes | None = None) -> None:
        self._state = _State() if checkpoint is None else _decode(checkpoint)
        self._numbers = {series: number for number, series in enumerate(self._state.series)}
        self._cells = sum(values.cells() for values in self._state.present.values())

    def checkpoint(self) -> bytes:
        """Return everything, encoded."""
        return msgspec.msgpack.encode(self._state)

    def observe(self, sender: str, incarnation: int, observed: Observed) -> None:
        """Take what an incarnation of a sender says; what does not fit the catalogue is ignored."""
        kind = sender.partition("-")[0]
        values = self._values(sender, incarnation)
        # Only sessions parse strangers' bytes, so only they may be out to fill the table.
        if values is None or (kind == "session" and self._cells >= MAX_CELLS):
            return
        self._cells -= values.cells()
        self._take(values, kind, observed)
        self._cells += values.cells()

    def _values(self, sender: str, incarnation: int) -> Values | None:
        """Return where this incarnation's values go; None: it is late, or there is no room."""
        present = self._state.present
        values = present.get(sender)
        if values is None:
            if len(present) >= MAX_SENDERS:
                return None
        elif incarnation < values.incarnation:
            return None
        elif incarnation > values.incarnation:
            self.end(sender)
        else:
            return values
        return present.setdefault(sender, Values(incarnation=incarnation))

    def _take(self, values: Values, kind: str, observed: Observed) -> None:
        values.gauges = {}
        for sample in observed.samples:
            if not math.isfinite(sample.value):
                continue
            if may_report(sample.name, "gauge", sample.labels, kind):
                if (number := self._number(sample.name, sample.labels)) is not None:
                    values.gauges[number] = sample.value
            elif (
                sample.value >= 0
                and may_report(sample.name, "counter", sample.labels, kind)
                and (number := self._number(sample.name, sample.labels)) is not None
            ):
                values.counters[number] = max(values.counters.get(number, 0.0), sample.value)
        for item in observed.distributions:
            if (
                math.isfinite(item.total)
                and item.total >= 0
                and min(item.counts) >= 0
                and may_report(item.name, "histogram", item.labels, kind)
                and (number := self._number(item.name, item.labels)) is not None
            ):
                values.histograms.setdefault(number, Histogram()).raise_to(from_message(item))

    def end(self, sender: str) -> None:
        """Fold an incarnation that has ended, if it had reported anything."""
        values = self._state.present.pop(sender, None)
        if values is not None:
            self._cells -= values.cells()
            self._state.ended.fold(values)

    def numbers(self) -> dict[Series, float]:
        """Return all counters and gauges, added over senders."""
        sums: dict[int, float] = {}
        for values in self._all():
            for part in (values.counters, values.gauges):
                for number, value in part.items():
                    sums[number] = sums.get(number, 0.0) + value
        return {self._state.series[number]: value for number, value in sorted(sums.items())}

    def histograms(self) -> dict[Series, Histogram]:
        """Return all histograms, added over senders."""
        sums: dict[int, Histogram] = {}
        for values in self._all():
            for number, histogram in values.histograms.items():
                sums.setdefault(number, Histogram()).add(histogram)
        return {self._state.series[number]: histogram for number, histogram in sorted(sums.items())}

    def _all(self) -> Iterator[Values]:
        yield self._state.ended
        yield from self._state.present.values()

    def _number(self, name: str, labels: tuple[str, ...]) -> int | None:
        series = (name, labels)
        number = self._numbers.get(series)
        if number is None:
            if sum(1 for known, _ in self._state.series if known == name) >= MAX_SERIES_OF_METRIC:
                return None
            number = self._numbers[series] = len(self._state.series)
            self._state.series.append(series)
        return number
