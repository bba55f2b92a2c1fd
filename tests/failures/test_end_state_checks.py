"""The judgement of the failures sees what is wrong: outcomes, lateness, disagreement, things left over."""

from pathlib import Path

import pytest
import trio

from spacedrive_node.tests.harness.device_database import DeviceDatabase
from spacedrive_node.tests.harness.faults.device_pair import files_left
from spacedrive_node.tests.harness.faults.end_state_checks import SLACK, SideEnd, disagreement, wrong_ends
from spacedrive_node.tests.harness.faults.failure_points import (
    FAILURE_POINTS,
    Duration,
    FailureCase,
    Manner,
    Side,
)

LATEST: dict[Side, float] = {"initiator": 10.0, "joiner": 10.0}


def wrong_ends_of(manner: Manner, duration: Duration, one: SideEnd, other: SideEnd) -> list[str]:
    """Judge a pairing whose joiner vanished."""
    case = FailureCase("joiner", manner, duration, FAILURE_POINTS[:1], first_shows=True)
    return wrong_ends(case, FAILURE_POINTS[0], {"initiator": one, "joiner": other}, LATEST)


def paired(fingerprint: str = "a" * 16, ended: float = 5.0) -> SideEnd:
    return SideEnd(outcome="paired", fingerprint=fingerprint, shown=1.0, ended=ended)


def ended(outcome: str, *, shown: bool, at: float = 5.0) -> SideEnd:
    return SideEnd(outcome=outcome, shown=1.0 if shown else None, ended=at)


@pytest.mark.parametrize("manner", ["stop", "cable"])
def test_after_ten_seconds_both_are_paired(manner: Manner) -> None:
    assert wrong_ends_of(manner, "ten", paired(), paired()) == []
    assert wrong_ends_of(manner, "ten", paired(), ended("lost_contact", shown=True))
    assert wrong_ends_of(manner, "ten", ended("lost_contact", shown=True), ended("lost_contact", shown=True))
    assert wrong_ends_of(manner, "ten", paired(), SideEnd())
    assert wrong_ends_of(manner, "ten", paired(), paired("b" * 16))
    assert wrong_ends_of(manner, "ten", paired(), paired(ended=10.0 + SLACK + 0.1))


@pytest.mark.parametrize("manner", ["kill", "stop", "cable"])
def test_the_outcomes_of_a_side_that_is_alone(manner: Manner) -> None:
    victim = SideEnd(outcome="gone") if manner == "kill" else ended("lost_contact", shown=True)
    for outcome in ("paired", "lost_contact", "expired"):
        one = paired() if outcome == "paired" else ended(outcome, shown=True)
        assert wrong_ends_of(manner, "ever", one, victim) == []
    for outcome in ("rejected", "cancelled", "crashed", "not_found", "running", "client: NodeGoneError()"):
        assert wrong_ends_of(manner, "ever", ended(outcome, shown=True), victim), outcome
    assert wrong_ends_of(manner, "ever", ended("expired", shown=False), victim) == []
    assert wrong_ends_of(manner, "ever", ended("lost_contact", shown=False), victim)
    assert wrong_ends_of(manner, "ever", ended("expired", shown=True, at=10.0 + SLACK + 0.1), victim)


def test_paired_with_nobody() -> None:
    """The other may have lost contact, and settle later; it cannot have let its time pass undecided."""
    assert wrong_ends_of("cable", "ever", paired(), ended("lost_contact", shown=True)) == []
    assert wrong_ends_of("cable", "ever", paired(), ended("expired", shown=True))
    assert wrong_ends_of("cable", "ever", paired(), ended("not_found", shown=False))


def test_a_node_that_was_killed_has_no_outcome_but_paired() -> None:
    """That it may have said just before, if the other was there until then."""
    for outcome in ("lost_contact", "expired", "running"):
        assert wrong_ends_of("kill", "ten", paired(), ended(outcome, shown=True))
    assert wrong_ends_of("kill", "ten", paired(), paired()) == []
    assert wrong_ends_of("kill", "ten", ended("lost_contact", shown=True), paired()) == []
    assert wrong_ends_of("kill", "ten", ended("expired", shown=True), paired())
    assert wrong_ends_of("kill", "ten", paired(), paired("b" * 16))


def test_two_stores_that_disagree(tmp_path: Path) -> None:
    """Another pairing in use, an end that is open, a pairing that the other side does not have."""
    folders = tmp_path / "anna", tmp_path / "bruno"
    mine, theirs = map(DeviceDatabase, folders)

    def why(*sessions: tuple[str, str]) -> str | None:
        return disagreement(*folders, [*sessions])

    assert why(("a1", "b1")) is None
    mine.add("a1", "paired", th3=b"1", order=1, complete=True)
    assert "in use" in str(why())
    theirs.add("b1", "paired", th3=b"1", order=1, complete=True)
    assert why(("a1", "b1")) is None
    assert "one side only" in str(why(("a1", "b2")))
    theirs.add("b2", "unconfirmed", th3=b"2", order=2)
    assert "not settled" in str(why())
    mine.close()
    theirs.close()


def test_what_is_left_over(tmp_path: Path) -> None:
    (tmp_path / "anna").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "anna" / "devices.db").touch()
    assert files_left(tmp_path) == []
    (tmp_path / "run" / "node.sock").touch()
    (tmp_path / "anna" / "devices.db-journal").touch()
    assert files_left(tmp_path) == ["anna/devices.db-journal", "run/node.sock"]


async def test_a_moment_that_does_not_come_is_told() -> None:
    """`until` says so instead of going on as if."""
    from spacedrive_node.tests.harness.faults.waiting import wait_until

    changes = trio.lowlevel.ParkingLot()
    assert not await wait_until(changes, lambda: False, 0.01)
    assert await wait_until(changes, lambda: True, 0.01)
