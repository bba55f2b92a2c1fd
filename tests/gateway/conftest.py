"""A gateway with a stand-in for the supervisor at its channel, and a client of it."""

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import trio

from spacedrive_node.client.node_client import NodeClient, open_client
from spacedrive_node.messages import to_vault
from spacedrive_node.messages.child_protocol import Outgoing
from spacedrive_node.messages.to_gateway import Confirmation
from spacedrive_node.tests.harness.gateway_actor import CODE, Node, confirmation


@pytest.fixture
def shown() -> Confirmation:
    """A device on the other side that has proved itself."""
    return confirmation()


@pytest.fixture
def code() -> bytes:
    return CODE


@pytest.fixture
def accept_of() -> Callable[[Outgoing], to_vault.Accept]:
    def read(out: Outgoing) -> to_vault.Accept:
        accept = to_vault.decode(out.body)
        assert isinstance(accept, to_vault.Accept)
        return accept

    return read


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory with a short name: the path of a Unix socket holds a hundred bytes."""
    with tempfile.TemporaryDirectory(prefix="sd-", dir="/tmp") as directory:
        yield Path(directory)


@pytest.fixture
async def bare(short: Path, nursery: trio.Nursery) -> AsyncIterator[Node]:
    """A node whose parts have not said anything yet."""
    node = Node(short / "c.sock")
    with node.listener:
        await node.run_gateway(nursery)
        yield node


@pytest.fixture
async def node(bare: Node) -> Node:
    """A node that is ready to pair."""
    await bare.be_ready()
    return bare


@pytest.fixture
async def client(node: Node) -> AsyncIterator[NodeClient]:
    async with open_client(node.control) as client:
        yield client
