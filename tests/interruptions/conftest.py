"""Repeats the tests RUNS times, and writes what they have measured to the file INTERRUPTIONS_REPORT."""

import os

import pytest

from spacedrive_node.tests.harness.interrupted_nodes import AWAY_S
from spacedrive_node.tests.harness.interruption_report import PROPERTY, Measured, report

RUNS = int(os.environ.get("RUNS", "1"))
_measured: list[Measured] = []


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test so many runs."""
    if RUNS > 1:
        metafunc.fixturenames.append("run")
        metafunc.parametrize("run", range(RUNS))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Take what a test has measured, from this process or from another one of the run."""
    if report.when == "call":
        _measured.extend(Measured(*value) for name, value in report.user_properties if name == PROPERTY)  # type: ignore[misc]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the document, in the process that has heard of all."""
    path = os.environ.get("INTERRUPTIONS_REPORT")
    if path and _measured and not hasattr(session.config, "workerinput"):
        text = report(_measured, AWAY_S)
        print(f"\n{text}")
        (session.config.rootpath.parent / path).write_text(text)
