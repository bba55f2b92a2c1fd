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
from spacedrive_node.tests.harness.gateway_actor import CODE, GatewayHost, confirmation
from spacedrive_node.tests.harness.raw_client import RawClient


@pytest.fixture
def proven_device() -> Confirmation:
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
def short_folder() -> Iterator[Path]:
    """A directory with a short name: the path of a Unix socket holds a hundred bytes."""
    with tempfile.TemporaryDirectory(prefix="sd-", dir="/tmp") as directory:
        yield Path(directory)


@pytest.fixture
async def starting_node(short_folder: Path, nursery: trio.Nursery) -> AsyncIterator[GatewayHost]:
    """A node whose parts have not said anything yet."""
    node = GatewayHost(short_folder / "c.sock")
    with node.listener:
        await node.run_gateway(nursery)
        yield node


@pytest.fixture
async def node(starting_node: GatewayHost) -> GatewayHost:
    """A node that is ready to pair."""
    await starting_node.deliver_readiness()
    return starting_node


@pytest.fixture
async def raw(node: GatewayHost) -> AsyncIterator[RawClient]:
    async with await trio.open_unix_socket(node.control) as stream:
        yield RawClient(stream)


@pytest.fixture
async def client(node: GatewayHost) -> AsyncIterator[NodeClient]:
    async with open_client(node.control) as client:
        yield client
