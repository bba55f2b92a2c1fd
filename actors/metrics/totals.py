"""Adds up the values of all senders, so that no counter goes back when an actor restarts, metrics included.

What a sender reports is cumulative within its incarnation, which the supervisor stamps on every message. So
the total is the sum over the ended incarnations and the present one (docs/architecture.md, "Steps").

Owns the totals and their form in the checkpoint. Bounded: senders, series of one metric, numbers; what
exceeds a bound is ignored. Sans-IO.
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
MAX_NUMBERS = 25_000
"""Numbers kept for running senders, some 15 bytes each in the checkpoint; one session takes about 30."""

_GRID = float(1 << 20)

Series = tuple[str, tuple[str, ...]]
"""A metric's name, without prefix, and the values of its labels."""


@dataclass(slots=True)
class Values:
    """The values of one incarnation of one sender, or the sum of all incarnations that have ended.

    Keys are the numbers of series.
    """

    counters: dict[int, float] = field(default_factory=dict)
    histograms: dict[int, Histogram] = field(default_factory=dict)
    gauges: dict[int, float] = field(default_factory=dict)
    incarnation: int = 0

    def count_numbers(self) -> int:
        """Return how many numbers these values consist of."""
        return (
            len(self.counters) + len(self.gauges) + sum(2 + len(h.counts) for h in self.histograms.values())
        )

    def add_ended(self, ended: "Values") -> None:
        """Add what an ended incarnation has counted; its gauges are dropped."""
        for series, value in ended.counters.items():
            self.counters[series] = self.counters.get(series, 0.0) + value
        for series, histogram in ended.histograms.items():
            self.histograms.setdefault(series, Histogram()).add(histogram)


@dataclass(slots=True)
class _State:
    """The checkpoint. Series are numbered, so that a name is stored once, not once for each session."""

    series: list[Series] = field(default_factory=list)
    ended: Values = field(default_factory=Values)
    present: dict[str, Values] = field(default_factory=dict)
    """The values of the running incarnation of each sender."""


_decode: Decoder[_State] = Decoder(_State)


class Totals:
    """The sums over all senders, restored from a checkpoint if there is one."""

    def __init__(self, checkpoint: bytes | None = None) -> None:
        self._state = _State() if checkpoint is None else _decode(checkpoint)
        self._numbers = {series: number for number, series in enumerate(self._state.series)}
        self._number_count = sum(values.count_numbers() for values in self._state.present.values())

    def checkpoint(self) -> bytes:
        """Return everything, encoded."""
        return msgspec.msgpack.encode(self._state)

    def observe(self, sender: str, incarnation: int, observed: Observed) -> None:
        """Apply a report of an incarnation of a sender; what does not fit the catalogue is ignored."""
        kind = sender.partition("-")[0]
        values = self._values(sender, incarnation)
        # Only sessions parse the bytes of strangers, so only they could have been taken over to fill the
        # table.
        if values is None or (kind == "session" and self._number_count >= MAX_NUMBERS):
            return
        self._number_count -= values.count_numbers()
        self._apply(values, kind, observed)
        self._number_count += values.count_numbers()

    def _values(self, sender: str, incarnation: int) -> Values | None:
        """Return the values of this incarnation; None: a later one has reported, or there is no room."""
        present = self._state.present
        values = present.get(sender)
        if values is None:
            if len(present) >= MAX_SENDERS:
                return None
        elif incarnation < values.incarnation:
            return None
        elif incarnation > values.incarnation:
            self.end_sender(sender)
        else:
            return values
        return present.setdefault(sender, Values(incarnation=incarnation))

    def _apply(self, values: Values, kind: str, observed: Observed) -> None:
        values.gauges = {}
        for sample in observed.samples:
            if not math.isfinite(sample.value):
                continue
            if may_report(sample.name, "gauge", sample.labels, kind):
                if (number := self._series_number(sample.name, sample.labels)) is not None:
                    values.gauges[number] = sample.value
            elif (
                sample.value >= 0
                and may_report(sample.name, "counter", sample.labels, kind)
                and (number := self._series_number(sample.name, sample.labels)) is not None
            ):
                values.counters[number] = max(values.counters.get(number, 0.0), _on_grid(sample.value))
        for item in observed.distributions:
            if (
                math.isfinite(item.total)
                and item.total >= 0
                and min(item.counts) >= 0
                and may_report(item.name, "histogram", item.labels, kind)
                and (number := self._series_number(item.name, item.labels)) is not None
            ):
                reported = from_message(item)
                reported.total = _on_grid(reported.total)
                values.histograms.setdefault(number, Histogram()).raise_to(reported)

    def end_sender(self, sender: str) -> None:
        """Add the values of a sender's present incarnation to the ended ones: it has ended."""
        values = self._state.present.pop(sender, None)
        if values is not None:
            self._number_count -= values.count_numbers()
            self._state.ended.add_ended(values)

    def end_gauges(self, sender: str) -> None:
        """Drop the gauges of a sender that has ended: they said what was then."""
        values = self._state.present.get(sender)
        if values is not None:
            self._number_count -= len(values.gauges)
            values.gauges = {}

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

    def _series_number(self, name: str, labels: tuple[str, ...]) -> int | None:
        """Return the number of a series, a new one if need be; None: its metric has too many series."""
        series = (name, labels)
        number = self._numbers.get(series)
        if number is None:
            if sum(1 for known, _ in self._state.series if known == name) >= MAX_SERIES_OF_METRIC:
                return None
            number = self._numbers[series] = len(self._state.series)
            self._state.series.append(series)
        return number


def _on_grid(value: float) -> float:
    """Return a number of a counter as a multiple of a 2^-20th, not greater: sums of these are exact.

    Otherwise a sum would depend on its order, and a counter go back by the last digit when an incarnation
    ends. Prometheus takes that for a restart at zero.
    """
    return math.floor(value * _GRID) / _GRID
