"""The relays of a private copy of the public network: two homes pair by words, over one of them."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
import trio

from spacedrive_node.client.node_client import open_client
from spacedrive_node.config.settings import PUBLIC_DHT_PROTOCOL
from spacedrive_node.tests.harness.faults.parted_network import (
    PORT,
    SERVER_IP,
    NoNamespacesError,
    PartedNetwork,
    parted_network,
)
from spacedrive_node.tests.harness.interop_peer import open_peer
from spacedrive_node.tests.harness.node_commands import DEADLINE, UpCommand, sdnode_pair, sdnode_up

VARIABLES = {"INTEROP_KAD": PUBLIC_DHT_PROTOCOL, "INTEROP_FILTER": "public"}
LISTEN = f"/ip4/{SERVER_IP}/tcp/{PORT}"


@pytest.fixture
def network() -> Iterator[PartedNetwork]:
    try:
        with parted_network() as found:
            yield found
    except NoNamespacesError:
        pytest.skip("needs the right to make network namespaces")


@pytest.mark.parametrize("implementation", ["go", "rust", "rust-0.53", "js-2", "js-3"])
async def test_homes_pair_over_a_relay_of_the_public_network(
    implementation: str, network: PartedNetwork
) -> None:
    """The relay is found among the servers of the network: nobody has named it as one.

    The server takes public addresses alone into its records; both users hear that the path is a relayed one.
    """
    async with open_peer(implementation, LISTEN, enter=network.server, variables=VARIABLES) as other:
        await other.command("relay")
        with ExitStack() as stack:
            nodes: list[UpCommand] = []
            for name in ("anna", "bruno"):
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sdnode-")))
                flags = ("--public", "--bootstrap", f"{LISTEN}/p2p/{other.id}", "--no-same-host")
                up = sdnode_up(folder, name, *flags, command=network.home(), listen="/ip4/0.0.0.0/tcp/7520")
                nodes.append(stack.enter_context(up))
            async with open_client(Path(nodes[0].ready["control"])) as client:
                with trio.fail_after(DEADLINE):
                    while not any("p2p-circuit" in one for one in (await client.status()).addresses):
                        await trio.lowlevel.checkpoint()
            words, showing = stack.enter_context(sdnode_pair(nodes[0]))
            done = await trio.to_thread.run_sync(partial(nodes[1].run, "join", "--yes", *words.split()))
            assert (done[-1]["event"], done[-1]["path"]) == ("paired", "relayed")
            assert showing.wait(DEADLINE) == 0
            assert "no public address and no relay" not in nodes[0].log()
