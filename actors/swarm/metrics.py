"""The swarm's metrics. Pure.

Never puts a peer id or an address into a label (docs/interfaces.md, "Metrics").
"""

from collections import Counter
from collections.abc import Iterable
from itertools import product
from typing import Any, get_args

from ...messages.to_metrics import MetricName, Observed, Sample
from ...messages.types import ConnectionKind, Reachability, Transport
from ..histogram import Histogram
from .library.connections import connection_kind, transport_of


def udp_sample(is_blocked: bool) -> Sample:
    """Return whether UDP is blocked on this network."""
    return Sample("udp_blocked", (), float(is_blocked))


class Measurements:
    """Counts of this incarnation of the swarm."""

    def __init__(self) -> None:
        self._handshakes: dict[tuple[str, str], Histogram] = {}
        self._refusals: Counter[str] = Counter()
        self._counts: Counter[tuple[MetricName, str]] = Counter()

    def handshake(self, transport: str, seconds: float, succeeded: bool) -> None:
        """Count one set-up of a connection, in either direction."""
        labels = (transport, "ok" if succeeded else "failed")
        self._handshakes.setdefault(labels, Histogram()).observe(seconds)

    def refusal(self, reason: str) -> None:
        """Count one request that the swarm itself refused."""
        self._refusals[reason] += 1

    def count(self, metric: MetricName, outcome: str) -> None:
        """Count one event of a metric whose only label is its outcome."""
        self._counts[metric, outcome] += 1

    def observed(
        self,
        connections: Iterable[Any],
        dht_peers: int,
        reachability: Reachability = "unknown",
        more: Iterable[Sample] = (),
    ) -> Observed:
        """Return the present value of every metric, connections included, and `more`."""
        open_now: Counter[tuple[str, str, str]] = Counter(
            dict.fromkeys(product(("inbound", "outbound"), get_args(Transport), get_args(ConnectionKind)), 0)
        )
        for connection in connections:
            direction = "inbound" if str(connection.direction) == "inbound" else "outbound"
            open_now[(direction, transport_of(connection.muxed_conn), connection_kind(connection))] += 1
        samples = [Sample("connections", labels, float(count)) for labels, count in sorted(open_now.items())]
        samples.append(Sample("dht_routing_table_peers", (), float(dht_peers)))
        samples += [
            Sample("pairing_refusals_total", (why,), float(n)) for why, n in sorted(self._refusals.items())
        ]
        samples += [
            Sample("reachability", (state.replace(" ", "_"),), float(state == reachability))
            for state in get_args(Reachability)
        ]
        samples += [Sample(name, (outcome,), float(n)) for (name, outcome), n in self._counts.items()]
        samples += more
        distributions = [
            histogram.to_message("handshake_seconds", labels)
            for labels, histogram in sorted(self._handshakes.items())
        ]
        return Observed(tuple(samples), tuple(distributions))
