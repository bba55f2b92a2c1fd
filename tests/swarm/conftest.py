"""Real swarm actors in this process."""

import pytest

from spacedrive_node.tests.harness.swarm_actors import OpenSwarm, open_swarm


@pytest.fixture
def swarm() -> OpenSwarm:
    """Open swarm actors: `async with swarm("a") as a`."""
    return open_swarm
