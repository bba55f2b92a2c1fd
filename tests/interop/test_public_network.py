"""A private copy of the public network: servers of other implementations with its protocol id, and a name."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from spacedrive_node.config.settings import PUBLIC_DHT_PROTOCOL
from spacedrive_node.protocol.multiaddrs import parse
from spacedrive_node.tests.harness.faults.cable_network import open_network
from spacedrive_node.tests.harness.interop_peer import COMMANDS, InteropPeer, open_peer
from spacedrive_node.tests.harness.name_server import NameServer, name_server, name_server_process
from spacedrive_node.tests.harness.node_commands import sdnode_pair, sdnode_up
from spacedrive_node.tests.harness.nodes import Node, free_port, pair, running_node

VARIABLES = {"INTEROP_KAD": PUBLIC_DHT_PROTOCOL}
LISTEN = "/ip4/127.0.0.1/tcp/0"


@asynccontextmanager
async def two_public_nodes(
    folder: Path, names: NameServer, *servers: InteropPeer
) -> AsyncIterator[tuple[Node, Node]]:
    """Run two nodes that know nothing but the name of the servers."""
    names.zone["_dnsaddr.boot.example"] = [
        f"dnsaddr=/dnsaddr/{one.id}.example/p2p/{one.id}" for one in servers
    ]
    for one in servers:
        names.zone[f"_dnsaddr.{one.id.lower()}.example"] = [f"dnsaddr={address}" for address in one.addresses]
    settings = {
        "public": True,
        "dns": (names.address,),
        "bootstrap": tuple(f"/dnsaddr/boot.example/p2p/{one.id}" for one in servers),
    }
    first, second = (f"/ip4/127.0.0.1/tcp/{free_port()}" for _node in range(2))
    async with (
        running_node(folder, "anna", listen=(first,), announce=(first,), **settings) as a,
        running_node(folder, "bruno", listen=(second,), announce=(second,), **settings) as b,
    ):
        yield a, b


@pytest.mark.parametrize("implementation", COMMANDS)
async def test_words_through_a_public_server(implementation: str, tmp_path: Path) -> None:
    """Two nodes pair that have nothing in common but a name and that server."""
    async with (
        name_server({}) as names,
        open_peer(implementation, LISTEN, variables=VARIABLES) as server,
        two_public_nodes(tmp_path, names, server) as (a, b),
    ):
        result = await pair(a, b)
        assert result.initiator.fingerprint == result.joiner.fingerprint


async def test_words_through_servers_of_all_kinds(tmp_path: Path) -> None:
    """A network of go, rust and js, whose servers have found each other."""
    async with (
        name_server({}) as names,
        open_peer("go", LISTEN, variables=VARIABLES) as go,
        open_peer("rust", LISTEN, variables=VARIABLES) as rust,
        open_peer("js-3", LISTEN, variables=VARIABLES) as js,
    ):
        for one, other in ((rust, go), (js, go), (js, rust)):
            await one.command("connect", address=other.addresses[0])
            await one.command("identify", peer=other.id)
        async with two_public_nodes(tmp_path, names, go) as (a, b):
            result = await pair(a, b)
            assert result.initiator.fingerprint == result.joiner.fingerprint


async def test_words_through_a_server_with_the_filters_of_the_public_network(tmp_path: Path) -> None:
    """Hosts with addresses as on the Internet, and a name server in their resolv.conf.

    Nothing else is configured: the nodes find out which of their addresses the world may know, and the server
    takes no other.
    """
    async with open_network() as network:
        if not network.enter:
            pytest.skip("needs the right to make network namespaces")
        dns, server, *homes = [await network.host("public") for _host in range(4)]
        variables = {**VARIABLES, "INTEROP_FILTER": "public"}
        async with open_peer("go", server.listen, enter=server.command, variables=variables) as go:
            zone = {"_dnsaddr.boot.example": [f"dnsaddr={server.announce}/p2p/{go.id}"]}
            address = str(parse(dns.listen).ip)
            resolv_conf = tmp_path / "resolv.conf"
            resolv_conf.write_text(f"nameserver {address}\n")
            flags = ("--public", "--bootstrap", f"/dnsaddr/boot.example/p2p/{go.id}", "--no-same-host")
            with ExitStack() as stack:
                stack.enter_context(name_server_process(dns.command, address, zone))
                nodes = []
                for name, home in zip(("anna", "bruno"), homes, strict=True):
                    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sdnode-")))
                    command = (*home.command, *_WITH_RESOLV_CONF, str(resolv_conf))
                    up = sdnode_up(folder, name, *flags, command=command, listen=home.listen)
                    nodes.append(stack.enter_context(up))
                words, _showing = stack.enter_context(sdnode_pair(nodes[0]))
                join = partial(nodes[1].run, "join", "--yes", *words.split())
                done = await trio.to_thread.run_sync(join)
                assert done[-1]["event"] == "paired"


_WITH_RESOLV_CONF = ("unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"')
