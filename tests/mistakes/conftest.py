"""A folder for the tests of this area."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short one: the paths of sockets may have 100 bytes."""
    with tempfile.TemporaryDirectory(prefix="sdmis-") as made:
        yield Path(made)
