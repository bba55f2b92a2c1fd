"""Kademlia in a network of eight servers: six of another implementation, one of them dead, and two of ours.

Each of ours knows one of theirs, and nothing of the other: what they find, they find through theirs.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from spacedrive_node.protocol.code import derive, parse_code
from spacedrive_node.protocol.peer_ids import peer_id_text
from spacedrive_node.tests.harness.interop_peer import COMMANDS, CommandFailedError, InteropPeer, open_peer
from spacedrive_node.tests.harness.nodes import Node, pair, running_node

THEIRS = 6
LISTEN = "/ip4/127.0.0.1/tcp/0"
WORDS = ("abandon",) * 11 + ("about",)
DEADLINE = 90
pytestmark = [pytest.mark.timeout(180), pytest.mark.parametrize("implementation", COMMANDS)]


@dataclass(frozen=True)
class Network:
    """Five living peers that all know each other and the dead one, and our two nodes."""

    theirs: list[InteropPeer]
    a: Node
    b: Node


@asynccontextmanager
async def eight_servers(folder: Path, implementation: str) -> AsyncIterator[Network]:
    """Run the network. The dead server was alive when the others put it into their tables."""
    async with AsyncExitStack() as stack:
        theirs = [await stack.enter_async_context(open_peer(implementation, LISTEN)) for _ in range(THEIRS)]
        with trio.fail_after(DEADLINE):
            for number, peer in enumerate(theirs):
                for other in theirs[:number]:
                    await peer.command("connect", address=other.addresses[0])
                    await peer.command("identify", peer=other.id)
                    await other.command("identify", peer=peer.id)
        a, b = [
            await stack.enter_async_context(running_node(folder, name, bootstrap=(peer.addresses[0],)))
            for name, peer in (("anna", theirs[0]), ("bruno", theirs[1]))
        ]
        with trio.fail_after(DEADLINE):
            for node, met in ((a, theirs[0]), (b, theirs[1])):
                while (await node.client.status()).dht_peers < 1:
                    await trio.lowlevel.checkpoint()
                await met.command("identify", peer=peer_id_text(node.ready.peer))
            await theirs[-1].kill()
            yield Network(theirs[:-1], a, b)


async def test_two_of_our_nodes_pair_through_six_of_their_servers(
    tmp_path: Path, implementation: str
) -> None:
    """By words alone: the code is announced to theirs, and found there."""
    async with eight_servers(tmp_path, implementation) as network:
        result = await pair(network.a, network.b)
        assert result.initiator.fingerprint == result.joiner.fingerprint


async def test_our_code_is_found_in_the_network_by_each_of_theirs(
    tmp_path: Path, implementation: str
) -> None:
    """Ours announces; theirs finds it, also those that our node did not know."""
    async with eight_servers(tmp_path, implementation) as network:
        showing = await network.a.client.start_pairing()
        key = derive(parse_code(" ".join(showing.code.words))[0]).provider_key
        for peer in network.theirs:
            found: set[str] = set()
            while not found:
                found = set((await peer.command("find_providers", key=key.hex()))["providers"])
            assert found == {peer_id_text(network.a.ready.peer)}


async def test_their_code_is_found_in_the_network_by_ours(tmp_path: Path, implementation: str) -> None:
    """Theirs announces; our node finds it, and has a candidate then."""
    async with eight_servers(tmp_path, implementation) as network:
        provider = network.theirs[-1]
        key = derive(parse_code(" ".join(WORDS))[0]).provider_key
        with suppress(CommandFailedError):  # the dead server may have been among those that were asked
            await provider.command("provide", key=key.hex())
        joining = await network.b.client.join_pairing(" ".join(WORDS), timeout=DEADLINE)
        async for state in joining.states():
            if state.stage == "connecting":
                break
