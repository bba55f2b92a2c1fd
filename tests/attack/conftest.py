"""What the tests of attacks share: a node whose sessions have been taken over, and its user."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from spacedrive_node.tests.harness.compromised_session import Taker
from spacedrive_node.tests.harness.nodes import Killer, Node, running_node


@asynccontextmanager
async def taken_node(folder: Path, name: str) -> AsyncIterator[tuple[Node, Taker]]:
    taker = Taker()
    async with running_node(folder, name, killer=Killer(inner=taker)) as node:
        yield node, taker


@pytest.fixture
def taken(tmp_path: Path) -> Callable[[], Any]:
    """Open a node whose sessions have been taken over: `async with taken() as (node, taker)`."""
    return lambda: taken_node(tmp_path, "taken")
