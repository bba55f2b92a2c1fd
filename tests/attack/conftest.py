"""What the tests of attacks share: a node whose sessions have been taken over, and its user."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from spacedrive_node.tests.harness.compromised_session import CompromisedSession
from spacedrive_node.tests.harness.nodes import InterceptingSpawner, Node, running_node


@asynccontextmanager
async def open_compromised_node(folder: Path, name: str) -> AsyncIterator[tuple[Node, CompromisedSession]]:
    compromised = CompromisedSession()
    async with running_node(folder, name, spawner=InterceptingSpawner(inner=compromised)) as node:
        yield node, compromised


@pytest.fixture
def compromised_node(tmp_path: Path) -> Callable[[], Any]:
    """Open a node whose sessions have been taken over: `async with taken() as (node, taker)`."""
    return lambda: open_compromised_node(tmp_path, "taken")
