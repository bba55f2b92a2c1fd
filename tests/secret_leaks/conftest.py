"""A short folder for the tests of this area: the paths of sockets may have 100 bytes."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty one."""
    with tempfile.TemporaryDirectory(prefix="sdsec-") as made:
        yield Path(made)
