"""docs/operations.md, "Watching", lists every metric that /metrics shows: type, labels, and when it moves."""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from spacedrive_node.actors.metrics.catalogue import CATALOGUE, PREFIX
from spacedrive_node.actors.metrics.exposition import render
from spacedrive_node.actors.metrics.machine import Metrics

OPERATIONS = Path(__file__).parents[2] / "docs/operations.md"
ROW = re.compile(
    r"^\| `(?P<name>[a-z_]+)` \| (?P<type>[a-z]+) \| (?P<labels>[a-z, ]*?) ?"
    r"\| (?P<says>[^|]+) \| (?P<moves>[^|]+) \|$",
    re.MULTILINE,
)


def test_the_table_of_metrics_is_that_of_the_node() -> None:
    """What is in one and not in the other is named; no row leaves out when the metric moves."""
    rows = {row["name"]: row for row in ROW.finditer(OPERATIONS.read_text())}
    page = render(Metrics("1").totals, "1", openmetrics=False)[0].decode()
    shown = {
        family.name.removeprefix(PREFIX) + "_total" * (family.type == "counter")
        for family in text_string_to_metric_families(page)
    }
    assert set(rows) == shown
    for metric in CATALOGUE:
        row = rows[metric.name]
        assert (row["type"], row["labels"]) == (metric.kind, ", ".join(metric.labels))
    assert all(row["says"].strip() and row["moves"].strip() for row in rows.values())
