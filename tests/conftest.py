"""Settings that hold for all tests, and the search for secrets after each of them (harness/secret_sweep)."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from spacedrive_node.tests.harness import nat_lab
from spacedrive_node.tests.harness.secret_sweep.pytest_hooks import (
    pytest_runtest_call,
    pytest_runtest_setup,
    pytest_runtest_teardown,
)
from spacedrive_node.tests.harness.transports import using

__all__ = ["pytest_runtest_call", "pytest_runtest_setup", "pytest_runtest_teardown"]

settings.register_profile(
    "default", max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", parent=settings.get_profile("default"), max_examples=1000)
settings.load_profile("default")


@pytest.fixture
def transport(request: pytest.FixtureRequest) -> Iterator[str]:
    """Over what a test runs that is marked with harness.transports.over_each_transport."""
    with using(request.param):
        yield request.param


@pytest.fixture
def short_path() -> Iterator[Path]:
    """An empty directory whose path leaves room for those of sockets, which have 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="sdnode-") as name:
        yield Path(name)


@pytest.fixture
def lab() -> Iterator[nat_lab.NatLab]:
    """Homes behind NATs in network namespaces; where they cannot be made the test is skipped and says why."""
    if problem := nat_lab.missing():
        pytest.skip(problem)
    with nat_lab.open_lab() as made:
        yield made
