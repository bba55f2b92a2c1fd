"""Short chaos runs with fixed seeds, and tests of the checks that a chaos run makes."""

import subprocess
import sys
from pathlib import Path

import pytest

from spacedrive_node.tests.harness.device_database import DeviceDatabase
from spacedrive_node.tests.harness.faults.chaos_run import ChaosRun, Plan, Side, unsettled
from spacedrive_node.tests.harness.faults.process_killer import Timeline

RUN = Path(__file__).with_name("run.py")
COMPLETE = "--pairings 20 --seed 1 --concurrency 4 --frames 0.01 --every 2"
RELAYED = "--pairings 6 --seed 3 --concurrency 3 --frames 0.01 --every 2 --transport tcp --relayed"
SETTLE_LATER = "--pairings 8 --seed 11 --concurrency 2 --mode bursts --delivery 1.5"


@pytest.mark.parametrize(
    "options", [COMPLETE, SETTLE_LATER, RELAYED], ids=["complete", "settle-later", "relayed"]
)
@pytest.mark.timeout(300)
def test_a_storm_leaves_nothing_wrong(options: str) -> None:
    """Random SIGKILLs on both sides, over each transport, and through a relay that is killed too: complete,
    equal on both sides, and nothing is left over; see run.py.
    """
    command = [sys.executable, str(RUN), *options.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=290)
    assert done.returncode == 0, done.stdout + done.stderr


def wrong_ends_of(accepts: tuple[bool, bool], one: Side, other: Side, stuck: bool = False) -> tuple[int, int]:
    """Return (complete, failures) of one pairing that ended so."""
    run = ChaosRun(0, (), (), (), Timeline())
    run._check(Plan(0, (0, 1), accepts, (0.0, 0.0), ()), (one, other), 0.0, stuck)
    return run.report.complete, len(run.report.failures)


def test_the_storm_sees_a_disagreement() -> None:
    """Another fingerprint, a device on one side only, a rejection that pairs, and what does not end."""
    paired, rejected = Side("paired", "a" * 16), Side("rejected")
    assert wrong_ends_of((True, True), paired, paired) == (1, 0)
    assert wrong_ends_of((True, False), rejected, rejected) == (1, 0)
    assert wrong_ends_of((True, True), paired, Side("lost_contact")) == (0, 0)
    assert wrong_ends_of((True, True), paired, Side("paired", "b" * 16)) == (1, 1)
    assert wrong_ends_of((True, True), paired, rejected) == (0, 1)
    assert wrong_ends_of((True, False), paired, Side("lost_contact")) == (0, 1)
    assert wrong_ends_of((True, True), Side("deciding"), Side(), stuck=True) == (0, 1)
    assert wrong_ends_of((True, True), paired, Side("paired", "a" * 16, seconds=190.0)) == (1, 1)


def test_the_storm_sees_an_entry_that_has_not_settled(tmp_path: Path) -> None:
    """Unconfirmed counts, unless a pairing of a greater order with the same device is in use."""
    database = DeviceDatabase(tmp_path)

    def add(state: str, order: int) -> None:
        database.add(f"s{order}", state, th3=bytes([order]), order=order)

    add("unconfirmed", 2)
    assert unsettled(tmp_path) == [("f2", "s2")]
    add("paired", 1)
    assert unsettled(tmp_path) == [("f2", "s2")]
    database.connection.execute("""UPDATE devices SET "order" = 3 WHERE state = 'paired'""")
    database.connection.commit()
    assert unsettled(tmp_path) == []
    database.close()
