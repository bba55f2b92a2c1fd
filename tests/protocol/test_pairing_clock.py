"""Both sides put pairings in the same order, and nobody can spoil the clock."""

from hypothesis import given
from hypothesis import strategies as st

from spacedrive_node.protocol.pairing_clock import (
    MAX_CLOCK,
    MAX_RISE,
    clock_after,
    clock_in_version,
    order_of_pairing,
    version_with_clock,
)

CLOCKS = st.integers(0, MAX_CLOCK)


@given(version=st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), max_size=40), clock=CLOCKS)
def test_a_stated_clock_is_read_back_and_fits(version: str, clock: int) -> None:
    stated = version_with_clock(version, clock)
    assert clock_in_version(stated) == clock
    assert len(stated) <= 32


@given(one=CLOCKS, other=CLOCKS)
def test_both_sides_compute_the_same_order_greater_than_both_clocks(one: int, other: int) -> None:
    a, b = version_with_clock("1.0", one), version_with_clock("2.0-rc", other)
    assert order_of_pairing(a, b) == order_of_pairing(b, a) == max(one, other) + 1


@given(clock=CLOCKS, order=st.integers(1, MAX_CLOCK + 1))
def test_a_clock_never_falls_and_rises_by_a_bounded_step(clock: int, order: int) -> None:
    after = clock_after(clock, order)
    assert clock <= after <= min(clock + 1 + MAX_RISE, MAX_CLOCK)
    assert after >= min(order, MAX_CLOCK) or after == clock + 1 + MAX_RISE


def test_versions_without_a_clock_and_false_clocks() -> None:
    """A foreign version counts as 0; one far ahead counts as stated, and moves the own by a bounded step."""
    for version in ("1.0", "unknown", "1.0+beta", "1.0+", "1.0+99999999999", "+-3", "1.0+٣"):
        assert clock_in_version(version) == 0
    assert order_of_pairing("1.0+5", "9+999999999") == order_of_pairing("9+999999999", "1.0+5") == 10**9
    assert clock_after(5, 10**9) == 5 + 1 + MAX_RISE
    assert order_of_pairing(f"1+{MAX_CLOCK}", "1") == MAX_CLOCK + 1
    assert clock_after(MAX_CLOCK, MAX_CLOCK + 1) == MAX_CLOCK
