"""mDNS with js-libp2p, which has a form of its own for it: that of this project with the library below it.

Their own form runs beside it all the time, and is in nobody's way.
"""

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from spacedrive_node.protocol.code import derive, parse_code
from spacedrive_node.tests.harness.faults.cable_network import CableNetwork, Host, open_network
from spacedrive_node.tests.harness.interop_peer import open_peer
from spacedrive_node.tests.harness.node_commands import UpCommand, sdnode_pair, sdnode_started, sdnode_up

DEADLINE = 60
WORDS = ("abandon",) * 11 + ("about",)
pytestmark = pytest.mark.parametrize("implementation", ["js-2", "js-3"])


@pytest.fixture
async def network() -> AsyncIterator[CableNetwork]:
    async with open_network() as found:
        if not found.enter:
            pytest.skip("needs the right to make network namespaces")
        yield found


async def host_of_theirs(network: CableNetwork) -> tuple[Host, str]:
    """Return a host, and where to listen on it. Their library needs a route for what it multicasts."""
    host = await network.host()
    await trio.run_process([*host.command, "ip", "route", "add", "default", "dev", "eth0"])
    return host, host.listen.rpartition("/")[0] + "/0"


@contextmanager
def node(host: Host) -> Iterator[UpCommand]:
    with (
        tempfile.TemporaryDirectory(prefix="sdnode-") as folder,
        sdnode_up(
            Path(folder), "anna", "--mdns", "--no-same-host", command=host.command, listen=host.listen
        ) as up,
    ):
        yield up


async def test_a_code_that_is_shown_here_is_found_by_them_over_mdns(
    network: CableNetwork, implementation: str
) -> None:
    """With the name of that code, our peer id and our address."""
    ours = await network.host()
    host, listen = await host_of_theirs(network)
    async with open_peer(implementation, listen, program="mdns.mjs", enter=host.command) as theirs:
        with node(ours) as up, sdnode_pair(up) as (words, _showing), trio.fail_after(DEADLINE):
            found = await theirs.command("find")
            instance = derive(parse_code(words)[0]).mdns_instance
            assert found["instance"].split(".")[0] == instance
            assert found["strings"] == [f"p={up.ready['peer_id']}", f"a={ours.announce}"]


async def test_a_device_of_theirs_is_found_over_mdns(network: CableNetwork, implementation: str) -> None:
    """It announces a code that was entered here, and this node dials it."""
    ours = await network.host()
    host, listen = await host_of_theirs(network)
    async with open_peer(implementation, listen, program="mdns.mjs", enter=host.command) as theirs:
        await theirs.command("announce", instance=derive(parse_code(" ".join(WORDS))[0]).mdns_instance)
        with node(ours) as up, sdnode_started(up, "join", *WORDS), trio.fail_after(DEADLINE):
            visitor = await theirs.command("visitor")
            assert visitor["peer"] == up.ready["peer_id"]
