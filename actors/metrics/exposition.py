"""Writes totals as Prometheus text (0.0.4) or OpenMetrics (1.0.0).

By itself, because a scrape is made of a thousand lines: what a series is called is put together once, and a
scrape only writes values behind names. Pure: reads the totals and returns the body; http_server.py sends it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from ..histogram import Histogram
from .catalogue import BY_NAME, CATALOGUE, KNOWN_SERIES, PREFIX
from .totals import Totals

_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_MAX_NAMES = 4096
"""More than there can be: totals.py bounds the series of each metric."""


def render(
    totals: Totals,
    version: str,
    *,
    openmetrics: bool,
    alive: bool = False,
    ready: bool = False,
    created: float = 0.0,
) -> tuple[bytes, str]:
    """Return the body and its content type: OpenMetrics 1.0.0 or Prometheus text.

    `alive` is whether the supervisor answers, `ready` whether the node is. `created` is the Unix time at
    which counting began: only OpenMetrics has a place for it.
    """
    lines = [
        *_of_the_node(version, alive=alive, ready=ready, openmetrics=openmetrics),
        *_of_the_totals(totals, created if openmetrics else None),
    ]
    if openmetrics:
        lines.append("# EOF")
    return "\n".join((*lines, "")).encode(), _OPENMETRICS if openmetrics else _TEXT


def _of_the_node(version: str, *, alive: bool, ready: bool, openmetrics: bool) -> Iterator[str]:
    name = f"{PREFIX}build" if openmetrics else f"{PREFIX}build_info"
    yield f"# HELP {name} The program that runs."
    yield f"# TYPE {name} {'info' if openmetrics else 'gauge'}"
    yield f"{PREFIX}build_info{_labels(('version',), (version,))} 1.0"
    yield f"# HELP {PREFIX}alive Whether the supervisor answers, as /livez says."
    yield f"# TYPE {PREFIX}alive gauge"
    yield f"{PREFIX}alive {float(alive)}"
    yield f"# HELP {PREFIX}ready Whether the node is ready, as /readyz says."
    yield f"# TYPE {PREFIX}ready gauge"
    yield f"{PREFIX}ready {float(ready)}"


def _of_the_totals(totals: Totals, created: float | None) -> Iterator[str]:
    """Write every metric of the catalogue, in its order; `created` is None in Prometheus text."""
    numbers: dict[str, dict[tuple[str, ...], float]] = {}
    for (name, labels), value in totals.numbers().items():
        numbers.setdefault(name, {})[labels] = value
    histograms: dict[str, dict[tuple[str, ...], Histogram]] = {}
    for (name, labels), histogram in totals.histograms().items():
        histograms.setdefault(name, {})[labels] = histogram
    for metric in CATALOGUE:
        known = KNOWN_SERIES.get(metric.name, ())
        yield _head(metric.name, created is not None)
        if metric.kind == "histogram":
            counted = dict.fromkeys(known, Histogram()) | histograms.get(metric.name, {})
            for labels, histogram in counted.items():
                yield from _histogram(_histogram_names(metric.name, labels), histogram, created)
            continue
        for labels, value in (dict.fromkeys(known, 0.0) | numbers.get(metric.name, {})).items():
            names = _number_names(metric.name, labels)
            yield f"{names.value} {float(value)!r}"
            if created is not None and metric.kind == "counter":
                yield f"{names.created} {created!r}"


@dataclass(frozen=True, slots=True)
class _NumberNames:
    """What stands before the values of one series: its names with its labels."""

    value: str
    created: str


@dataclass(frozen=True, slots=True)
class _HistogramNames:
    """The same of a histogram, whose buckets are each an index of Histogram.cumulative and a name."""

    buckets: tuple[tuple[int, str], ...]
    count: str
    total: str
    created: str


def _histogram(names: _HistogramNames, histogram: Histogram, created: float | None) -> Iterator[str]:
    running = histogram.cumulative()
    for index, name in names.buckets:
        yield f"{name} {float(running[index])!r}"
    yield f"{names.count} {float(running[-1])!r}"
    yield f"{names.total} {float(histogram.total)!r}"
    if created is not None:
        yield f"{names.created} {created!r}"


@lru_cache(_MAX_NAMES)
def _head(metric_name: str, openmetrics: bool) -> str:
    metric = BY_NAME[metric_name]
    name = metric.full_name.removesuffix("_total") if openmetrics else metric.full_name
    unit = f"\n# UNIT {name} {metric.unit}" if openmetrics and metric.unit else ""
    return f"# HELP {name} {metric.help}\n# TYPE {name} {metric.kind}{unit}"


@lru_cache(_MAX_NAMES)
def _number_names(metric_name: str, labels: tuple[str, ...]) -> _NumberNames:
    metric = BY_NAME[metric_name]
    of = _labels(metric.labels, labels)
    return _NumberNames(metric.full_name + of, metric.full_name.removesuffix("_total") + "_created" + of)


@lru_cache(_MAX_NAMES)
def _histogram_names(metric_name: str, labels: tuple[str, ...]) -> _HistogramNames:
    metric = BY_NAME[metric_name]
    name, of = metric.full_name, _labels(metric.labels, labels)
    buckets = tuple(
        (index, f"{name}_bucket{_labels((*metric.labels, 'le'), (*labels, bound))}")
        for index, bound in metric.bounds
    )
    return _HistogramNames(buckets, f"{name}_count{of}", f"{name}_sum{of}", f"{name}_created{of}")


def _labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    """Return the labels as both formats write them, in order of their names; nothing, if there are none."""
    escaped = [value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"") for value in values]
    pairs = sorted(zip(names, escaped, strict=True))
    return "{" + ",".join(f'{name}="{value}"' for name, value in pairs) + "}" if pairs else ""
