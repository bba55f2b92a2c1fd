"""The swarm's metrics, and the reachability in its status. Pure.

Never puts a peer id or an address into a label (docs/interfaces.md, "Metrics").
"""

from collections import Counter
from collections.abc import Iterable
from itertools import product
from typing import Any, get_args

from ...messages.to_metrics import Observed, Sample
from ...messages.types import ConnectionKind, Transport
from ..histogram import Histogram
from .dial import addresses
from .dial.addresses import Endpoint
from .library.connections import connection_kind, transport_of


class Measurements:
    """Counts of this incarnation of the swarm."""

    def __init__(self) -> None:
        self._handshakes: dict[tuple[str, str], Histogram] = {}
        self._refusals: Counter[str] = Counter()

    def handshake(self, transport: str, seconds: float, succeeded: bool) -> None:
        """Count one set-up of a connection, in either direction."""
        labels = (transport, "ok" if succeeded else "failed")
        self._handshakes.setdefault(labels, Histogram()).observe(seconds)

    def refusal(self, reason: str) -> None:
        """Count one request that the swarm itself refused."""
        self._refusals[reason] += 1

    def observed(self, connections: Iterable[Any], dht_peers: int, more: Iterable[Sample] = ()) -> Observed:
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
        samples += more
        distributions = [
            histogram.to_message("handshake_seconds", labels)
            for labels, histogram in sorted(self._handshakes.items())
        ]
        return Observed(tuple(samples), tuple(distributions))


def reachability(texts: Iterable[str]) -> str:
    """Return from where the announced addresses can be reached, judged by the addresses alone."""
    endpoints: list[Endpoint] = addresses.usable(texts)
    ips = [endpoint.ip for endpoint in endpoints if endpoint.relay is None]
    if any(ip is None or not addresses.is_local_network(ip) for ip in ips):
        return "public"
    if len(ips) < len(endpoints):
        return "relayed"
    if any(ip is not None and not ip.is_loopback for ip in ips):
        return "private"
    return "this host"
