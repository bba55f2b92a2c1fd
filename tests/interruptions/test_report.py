"""The document of what was measured."""

from spacedrive_node.tests.harness.interruption_report import PROPERTY, Measured, Return, report


def test_the_report_has_the_median_and_the_slowest_of_each() -> None:
    """In the order in which they were measured; what was not tried is a dash."""
    gaps = [Measured("cable", "found", seconds) for seconds in (1.0, 2.0, 9.5)]
    text = report([*gaps, Measured("router", "goes on", 0.25)], away_s=60.0)
    assert "gone for 60 s" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows[2:] == ["| cable | 3 | – | – | 2.0 s, 9.5 s |", "| router | 1 | 0.2 s, 0.2 s | – | – |"]


def test_what_a_return_notes_is_what_the_report_reads() -> None:
    """As pytest carries it from one process to another."""
    noted: list[tuple[str, object]] = []
    Return("cable", lambda name, value: noted.append((name, value))).note("found")
    [(name, value)] = noted
    assert name == PROPERTY
    assert isinstance(value, tuple)
    assert "| cable | 1 | – | – |" in report([Measured(*value)], 1.0)
