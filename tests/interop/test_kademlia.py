"""Kademlia with other implementations, both ways, under the protocol id of this project."""

import hashlib
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
from libp2p.peer.id import ID

from spacedrive_node.actors.swarm.dial.addresses import parse
from spacedrive_node.messages.to_discovery import KadFailed, KadReply
from spacedrive_node.messages.to_swarm import KadRequest, Serve
from spacedrive_node.messages.types import PeerAddresses
from spacedrive_node.tests.harness.interop_peer import COMMANDS, CommandFailedError, InteropPeer, open_peer
from spacedrive_node.tests.harness.swarm_actors import FakeSupervisor, open_swarm

KEY = b"\x12\x20" + hashlib.sha256(b"interoperability").digest()
SESSION = "session-0123456789abcdef"
LISTEN = "/ip4/127.0.0.1/tcp/0"
DEADLINE = 60
_numbers = itertools.count(1)


@asynccontextmanager
async def both(implementation: str) -> AsyncIterator[tuple[InteropPeer, FakeSupervisor]]:
    """Run one peer and one swarm actor, connected."""
    async with open_peer(implementation, LISTEN) as theirs, open_swarm("a") as ours:
        with trio.fail_after(DEADLINE):
            own_id = str(ID(ours.peer))
            await theirs.command("connect", address=f"{ours.addresses[0]}/p2p/{own_id}")
            await theirs.command("identify", peer=own_id)
            yield theirs, ours


async def ask(ours: FakeSupervisor, server: PeerAddresses, op: Any) -> KadReply:
    """Have a swarm actor send one request."""
    number = next(_numbers)
    await ours.deliver("discovery", KadRequest(number, server.peer, server.addresses, op, KEY, 20.0))
    reply = await ours.expect(KadReply | KadFailed, "discovery", lambda m: m.request == number)
    assert isinstance(reply, KadReply), reply
    return reply


def named(peer: InteropPeer) -> PeerAddresses:
    """Return a peer as a DHT server would name it."""
    address = str(parse(peer.addresses[0]))
    return PeerAddresses(ID.from_base58(peer.id).to_bytes(), (address,))


@pytest.mark.parametrize("implementation", COMMANDS)
async def test_a_code_that_is_shown_here_is_found_by_them(implementation: str) -> None:
    """Our server answers for its own codes."""
    async with both(implementation) as (theirs, ours):
        await ours.deliver(SESSION, Serve(b"r" * 32, "initiator", KEY))
        found: list[str] = []
        while not found:  # they take a server into their table a moment after identify
            found = (await theirs.command("find_providers", key=KEY.hex()))["providers"]
        assert found == [str(ID(ours.peer))]


@pytest.mark.parametrize("implementation", COMMANDS)
async def test_our_announcement_at_their_server(implementation: str) -> None:
    """It is stored there, and another of our nodes gets it from there with the address."""
    async with both(implementation) as (theirs, ours), open_swarm("b") as other:
        await ask(ours, named(theirs), "add_provider")
        found = await ask(other, named(theirs), "get_providers")
        provider = next(one for one in found.providers if one.peer == ours.peer)
        known = [one.addresses for one in (provider, *found.closer) if one.peer == ours.peer]
        assert any(set(ours.addresses) <= set(addresses) for addresses in known)


@pytest.mark.parametrize("implementation", COMMANDS)
async def test_their_announcement_at_our_server(implementation: str) -> None:
    """It is stored here, and another of our nodes gets it with the address."""
    async with both(implementation) as (theirs, ours), open_swarm("b") as other:
        found: list[PeerAddresses] = []
        while not found:
            with suppress(CommandFailedError):  # as long as it has no server in its table
                await theirs.command("provide", key=KEY.hex())
            reply = await ask(other, PeerAddresses(ours.peer, ours.addresses), "get_providers")
            found = [PeerAddresses(one.peer, one.addresses) for one in reply.providers]
        assert found == [named(theirs)]


@pytest.mark.parametrize("implementation", COMMANDS)
async def test_our_server_s_neighbours_are_theirs(implementation: str) -> None:
    """A third node that asks our server for the closest servers is led to theirs, and the reverse."""
    async with both(implementation) as (theirs, ours), open_swarm("b") as other:
        for server, neighbour in (
            (PeerAddresses(ours.peer, ours.addresses), named(theirs).peer),
            (named(theirs), ours.peer),
        ):
            found: list[bytes] = []
            while neighbour not in found:  # it enters the table a moment after identify
                found = [one.peer for one in (await ask(other, server, "find_node")).closer]
