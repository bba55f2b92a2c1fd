"""Writes totals as Prometheus text or OpenMetrics, by means of prometheus_client.

Pure: reads the totals and returns the body; http_server.py sends it.
"""

from collections.abc import Iterable, Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from ...messages.to_metrics import BUCKETS
from .catalogue import CATALOGUE, PREFIX
from .totals import Totals

_OPENMETRICS = "application/openmetrics-text; version=1.0.0"
_BOUNDS = (*(str(bound) for bound in BUCKETS), "+Inf")


class TotalsCollector(Collector):
    """Passes the totals to prometheus_client: every metric of the catalogue, in its order."""

    def __init__(self, totals: Totals, version: str) -> None:
        self._totals = totals
        self._version = version

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client."""
        yield InfoMetricFamily(f"{PREFIX}build", "The program that runs.", {"version": self._version})
        yield from self._families()

    def _families(self) -> Iterator[Metric]:
        numbers, histograms = self._totals.numbers(), self._totals.histograms()
        for metric in CATALOGUE:
            name = PREFIX + metric.name
            if metric.kind == "histogram":
                family = HistogramMetricFamily(name, metric.help, labels=metric.labels)
                for (known, labels), histogram in histograms.items():
                    if known == metric.name:
                        buckets = list(zip(_BOUNDS, histogram.cumulative(), strict=True))
                        family.add_metric(labels, buckets, histogram.total)
                yield family
                continue
            make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            values = make(name, metric.help, labels=metric.labels)
            present = {labels: value for (known, labels), value in numbers.items() if known == metric.name}
            if metric.name == "pairing_sessions_active":  # both roles are known: 0 if no session reports it
                present = {("initiator",): 0.0, ("joiner",): 0.0} | present
            for labels, value in present.items():
                values.add_metric(labels, value)
            yield values


def render(totals: Totals, version: str, *, openmetrics: bool) -> tuple[bytes, str]:
    """Return the body and its content type: OpenMetrics 1.0.0 or Prometheus text."""
    # Not the client's Accept header itself: prometheus_client copies parameters of it into the answer.
    encode, content_type = choose_encoder(_OPENMETRICS if openmetrics else "")
    return encode(TotalsCollector(totals, version)), content_type
