"""Rates, and the tables that keep them, as pure functions of time."""

import pytest

from spacedrive_node.actors.swarm.pairing.rate_limits import Pace, RateWindow, RepeatLimit
from spacedrive_node.actors.swarm.pairing.recent_table import RecentTable


def test_ten_repeats_in_a_second_are_allowed() -> None:
    """The eleventh after the first frame is too often, and a second later it is not."""
    repeats = RepeatLimit()
    assert not any(repeats.record(b"attempt", 5.0) for _ in range(11))
    assert repeats.record(b"attempt", 5.5)
    assert not repeats.record(b"other", 5.5)
    assert not repeats.record(b"attempt", 7.0)


def test_tables_are_bounded() -> None:
    """The least recently used entry goes; a rate window holds one more than it allows."""
    table: RecentTable[int, int] = RecentTable(2)
    table.store(1, 1)
    table.store(2, 2)
    assert table.get(1) == 1
    table.store(3, 3)
    assert (table.get(1), table.get(2), table.get(3), len(table)) == (1, None, 3, 2)
    window: RateWindow[int] = RateWindow(3, 10.0)
    assert [window.record(1, float(time)) for time in range(6)] == [False, False, False, True, True, True]


def test_a_window_keeps_nobody_whose_events_have_left_it() -> None:
    """A thousand attempts, one after another, leave only the last ones: there is one for each pairing."""
    window: RateWindow[int] = RateWindow(3, 10.0)
    for attempt in range(1000):
        window.record(attempt, float(attempt))
        window.record(attempt - 1, float(attempt))
    assert len(window) < 15
    assert not window.record(998, 1000.0)
    assert window.record(998, 1000.0)


def test_what_comes_too_fast_waits_for_its_turn() -> None:
    """A burst, then so many in a second for each key; after a rest the burst is there again."""
    pace: Pace[str] = Pace(per_second=10, burst=5)
    waits = [pace.wait_before("a", 7.0) for _ in range(9)]
    assert [wait > 1e-9 for wait in waits] == [False] * 6 + [True] * 3
    assert waits[-1] == pytest.approx(0.3)
    assert pace.wait_before("b", 7.0) <= 0
    assert pace.wait_before("a", 7.5) == pytest.approx(-0.1)
    assert pace.wait_before("a", 9.0) == -0.5
