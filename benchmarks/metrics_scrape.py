"""Values out of a node's own metrics, as Prometheus would read them."""

import trio
from prometheus_client.parser import text_string_to_metric_families

from ..client.embedded import Node

PREFIX = "spacedrive_node_"
_DEADLINE = 10.0


async def metric_value(node: Node, name: str, **labels: str) -> float:
    """Return the sum of the samples of a metric that have these labels; 0 when there are none.

    The node must have been started with `metrics_listen`.
    """
    assert node.metrics is not None
    text = await scrape(node.metrics)
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == PREFIX + name and labels.items() <= sample.labels.items()
    )


async def scrape(endpoint: str, accept: str = "text/plain") -> str:
    """Return the page of metrics."""
    host, _, port = endpoint.rpartition(":")
    received = bytearray()
    with trio.fail_after(_DEADLINE):
        async with await trio.open_tcp_stream(host.strip("[]"), int(port)) as stream:
            await stream.send_all(
                f"GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
                f"Accept: {accept}\r\n\r\n".encode()
            )
            while data := await stream.receive_some(1 << 16):
                received += data
    return received.partition(b"\r\n\r\n")[2].decode()
