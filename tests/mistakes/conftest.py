"""Whole nodes, in this process and by command line: what tests/node has, under names of its own here."""

import importlib.util
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

PLACES = {"harness_of_whole_nodes": "node/harness.py", "nodes_by_command": "node/test_command_line.py"}

for name, place in PLACES.items():
    if name not in sys.modules:
        found = importlib.util.spec_from_file_location(name, Path(__file__).parent.parent / place)
        assert found is not None
        assert found.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(found)
        found.loader.exec_module(sys.modules[name])


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short one: the paths of sockets may have 100 bytes."""
    with tempfile.TemporaryDirectory(prefix="sdmis-") as made:
        yield Path(made)
