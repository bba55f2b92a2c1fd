"""Senders and metrics count alike: a value's bucket, and that nothing is lost between the two."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacedrive_node.actors.histogram import Histogram, from_message
from spacedrive_node.messages.to_metrics import BUCKETS


@pytest.mark.parametrize(
    ("value", "bucket"),
    [(0.0, 0), (0.001, 0), (0.0011, 1), (3600.0, len(BUCKETS) - 1), (3601.0, len(BUCKETS))],
)
def test_a_bound_belongs_to_its_bucket(value: float, bucket: int) -> None:
    """As in Prometheus, where `le` means "at most"."""
    histogram = Histogram()
    histogram.observe(value)
    assert histogram.counts == {bucket: 1}


@given(st.lists(st.floats(0, 1000), max_size=30))
def test_a_report_says_all_that_was_observed(values: list[float]) -> None:
    """Message and back: the same histogram; its last cumulative count is the number of values."""
    histogram = Histogram()
    for value in values:
        histogram.observe(value)
    assert from_message(histogram.to_message("handshake_seconds", ("tcp", "ok"))) == histogram
    assert histogram.cumulative()[-1] == len(values)
    assert histogram.cumulative()[:-1] == [sum(value <= bound for value in values) for bound in BUCKETS]
