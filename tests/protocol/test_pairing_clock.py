"""Both sides put pairings in the same order, and nobody can spoil the clock."""

from hypothesis import given
from hypothesis import strategies as st

from spacedrive_node.protocol.pairing_clock import (
    AHEAD_LIMIT,
    CLOCK_LIMIT,
    order_of,
    state_clock,
    stated_clock,
)

CLOCKS = st.integers(0, CLOCK_LIMIT)


@given(version=st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), max_size=40), clock=CLOCKS)
def test_a_stated_clock_is_read_back_and_fits(version: str, clock: int) -> None:
    stated = state_clock(version, clock)
    assert stated_clock(stated) == clock
    assert len(stated) <= 32


@given(one=st.integers(0, AHEAD_LIMIT), other=st.integers(0, AHEAD_LIMIT))
def test_both_sides_compute_the_same_order_greater_than_both_clocks(one: int, other: int) -> None:
    a, b = state_clock("1.0", one), state_clock("2.0-rc", other)
    assert order_of(a, b) == order_of(b, a) == max(one, other) + 1


def test_versions_without_a_clock_and_false_clocks() -> None:
    """A foreign version counts as 0; a clock far ahead moves the own by a bounded step."""
    for version in ("1.0", "unknown", "1.0+beta", "1.0+", "1.0+99999999999", "+-3", "1.0+٣"):
        assert stated_clock(version) == 0
    assert order_of("1.0+5", "9+999999999") == 5 + AHEAD_LIMIT + 1
    assert order_of(f"1+{CLOCK_LIMIT}", "1") == CLOCK_LIMIT
