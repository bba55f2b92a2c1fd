"""Writes totals as Prometheus text or OpenMetrics, by means of prometheus_client.

Pure: reads the totals and returns the body; http_server.py sends it.
"""

from collections.abc import Iterable, Iterator

from ...import_stubs import stub_unused_modules
from ..histogram import Histogram
from .catalogue import CATALOGUE, KNOWN_SERIES, PREFIX
from .totals import Totals

# What prometheus_client's own servers and clients need; http_server.py serves.
with stub_unused_modules(("http.server", "urllib.request", "wsgiref")):
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        InfoMetricFamily,
        Metric,
    )
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.registry import Collector

_OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class TotalsCollector(Collector):
    """Passes the totals to prometheus_client: every metric of the catalogue, in its order.

    `alive` is whether the supervisor answers, `ready` whether the node is. `created` is the Unix time at
    which counting began, None to leave it out: only OpenMetrics has a place for it.
    """

    def __init__(
        self, totals: Totals, version: str, *, alive: bool, ready: bool, created: float | None
    ) -> None:
        self._totals = totals
        self._version = version
        self._alive = alive
        self._ready = ready
        self._created = created

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client."""
        yield InfoMetricFamily(f"{PREFIX}build", "The program that runs.", {"version": self._version})
        yield GaugeMetricFamily(
            f"{PREFIX}alive", "Whether the supervisor answers, as /livez says.", float(self._alive)
        )
        yield GaugeMetricFamily(
            f"{PREFIX}ready", "Whether the node is ready, as /readyz says.", float(self._ready)
        )
        yield from self._families()

    def _families(self) -> Iterator[Metric]:
        numbers, histograms = self._totals.numbers(), self._totals.histograms()
        for metric in CATALOGUE:
            name, known = metric.full_name, KNOWN_SERIES.get(metric.name, ())
            if metric.kind == "histogram":
                family = HistogramMetricFamily(name, metric.help, labels=metric.labels, unit=metric.unit)
                counted = {labels: h for (of, labels), h in histograms.items() if of == metric.name}
                for labels, histogram in (dict.fromkeys(known, Histogram()) | counted).items():
                    running = histogram.cumulative()
                    buckets = [(bound, running[index]) for index, bound in metric.bounds]
                    family.add_metric(labels, buckets, histogram.total)
                    if self._created is not None:
                        names = dict(zip(metric.labels, labels, strict=True))
                        family.add_sample(f"{name}_created", names, self._created)
                yield family
                continue
            present = {labels: value for (of, labels), value in numbers.items() if of == metric.name}
            values = dict.fromkeys(known, 0.0) | present
            if metric.kind == "counter":
                counter = CounterMetricFamily(name, metric.help, labels=metric.labels, unit=metric.unit)
                for labels, value in values.items():
                    counter.add_metric(labels, value, created=self._created)
                yield counter
                continue
            gauge = GaugeMetricFamily(name, metric.help, labels=metric.labels, unit=metric.unit)
            for labels, value in values.items():
                gauge.add_metric(labels, value)
            yield gauge


def render(
    totals: Totals,
    version: str,
    *,
    openmetrics: bool,
    alive: bool = False,
    ready: bool = False,
    created: float = 0.0,
) -> tuple[bytes, str]:
    """Return the body and its content type: OpenMetrics 1.0.0 or Prometheus text."""
    # Not the client's Accept header itself: prometheus_client copies parameters of it into the answer.
    encode, content_type = choose_encoder(_OPENMETRICS if openmetrics else "")
    collector = TotalsCollector(
        totals, version, alive=alive, ready=ready, created=created if openmetrics else None
    )
    return encode(collector), content_type
