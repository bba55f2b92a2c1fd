"""Whole nodes in a private copy of the public network: its protocol id and names, and servers on loopback."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from spacedrive_node.config.settings import PUBLIC_BOOTSTRAP
from spacedrive_node.protocol.peer_ids import peer_id_text
from spacedrive_node.tests.harness.name_server import NameServer, name_server
from spacedrive_node.tests.harness.nodes import DEADLINE, Node, free_port, pair, running_node


@asynccontextmanager
async def public_node(folder: Path, name: str, names: NameServer, **more: object) -> AsyncIterator[Node]:
    """Run a node that joins the public network as this name server has it."""
    where = f"/ip4/127.0.0.1/tcp/{free_port()}"
    options: dict[str, object] = {"listen": (where,), "announce": (where,), **more}
    async with running_node(folder, name, public=True, dns=(names.address,), **options) as node:
        yield node


async def test_two_nodes_that_know_nobody_pair_through_names(tmp_path: Path) -> None:
    """Neither knows an address: a name leads to a server, that one to another, and words to each other."""
    async with name_server({}) as names, public_node(tmp_path, "s1", names, dht_mode="server") as first:
        own = f"/p2p/{peer_id_text(first.ready.peer)}"
        names.zone["_dnsaddr.boot.example"] = [f"dnsaddr=/dnsaddr/one.boot.example{own}"]
        names.zone["_dnsaddr.one.boot.example"] = [f"dnsaddr={first.ready.addresses[0]}{own}"]
        boot = (f"/dnsaddr/boot.example{own}",)
        async with (
            public_node(tmp_path, "s2", names, dht_mode="server", bootstrap=boot),
            public_node(tmp_path, "anna", names, bootstrap=boot) as a,
            public_node(tmp_path, "bruno", names, bootstrap=boot) as b,
        ):
            result = await pair(a, b)
            assert result.initiator.fingerprint == result.joiner.fingerprint
            assert (await a.client.status()).dht_mode == "client"


async def test_without_bootstrap_peers_the_names_of_the_network_are_looked_up(tmp_path: Path) -> None:
    """At the name server that was given, and of nobody else."""
    assert {text.rpartition("/p2p/")[0] for text in PUBLIC_BOOTSTRAP} == {"/dnsaddr/bootstrap.libp2p.io"}
    async with name_server({}) as names, public_node(tmp_path, "anna", names):
        with trio.fail_after(DEADLINE):
            while len(names.asked) < len(PUBLIC_BOOTSTRAP):
                await names.wait_for_question()
    assert set(names.asked) == {"_dnsaddr.bootstrap.libp2p.io"}


async def test_a_node_that_is_not_asked_to_joins_nothing(tmp_path: Path) -> None:
    """Off by default: not one question to the name server in a whole pairing, and its own protocol id."""
    async with name_server({}) as names:
        async with (
            running_node(tmp_path, "anna", dns=(names.address,)) as a,
            running_node(tmp_path, "bruno", dns=(names.address,), bootstrap=(a.bootstrap,)) as b,
        ):
            await pair(a, b)
        assert names.asked == []


async def test_a_public_node_and_one_of_the_own_dht_do_not_meet(tmp_path: Path) -> None:
    """The protocol id tells them apart, as it does with servers that are remembered from before."""
    async with name_server({}) as names, running_node(tmp_path, "server") as server:
        where = server.bootstrap
        async with running_node(tmp_path, "anna", bootstrap=(where,)) as a:
            await a.spawner.wait_until_delivered("vault", "PeersBehaved", 1)
        async with public_node(tmp_path, "anna", names, bootstrap=(where,)) as a:
            await a.spawner.wait_until_delivered("swarm", "RecalledPeers", 1)
            assert a.spawner.delivered["discovery", "RememberedServers"] == 0
            assert not (await a.client.status()).ready
