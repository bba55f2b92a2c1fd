"""Peers of go and js that speak TLS and no Noise: over TCP and WebSocket a dial fails, at once and clearly.

This node goes on with a dial before the other side has agreed, so this is where that could hang.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.dial.dialer import Dialer, UnreachableError
from spacedrive_node.actors.swarm.library.connections import transport_of
from spacedrive_node.tests.harness.interop_peer import CommandFailedError, open_peer
from spacedrive_node.tests.harness.library_hosts import our_host, running

DEADLINE = 60
SOON_S = 5.0
"""Half of what a dial may take (dial/plan.py), so what is over by then has not waited for its deadline."""
QUIC = "/ip4/127.0.0.1/udp/0/quic-v1"
LISTEN = {"tcp": "/ip4/127.0.0.1/tcp/0", "ws": "/ip4/127.0.0.1/tcp/0/ws"}
pytestmark = pytest.mark.parametrize("implementation", ["go", "js-2", "js-3"])


@asynccontextmanager
async def dialling() -> AsyncIterator[Dialer]:
    """A host with every transport, and its dialler."""
    host = our_host(1, quic=True, websocket=True)
    async with running(host, listen=Multiaddr(QUIC)), trio.open_nursery() as nursery:
        yield Dialer(host.get_network(), host.get_id().to_bytes(), nursery, transports=("tcp", "quic", "ws"))
        nursery.cancel_scope.cancel()


def without_peer(address: str) -> str:
    return address.partition("/p2p/")[0]


@pytest.mark.parametrize("transport", LISTEN)
async def test_a_peer_without_noise_fails_our_dial(implementation: str, transport: str) -> None:
    """Long before the deadline of a dial."""
    async with (
        open_peer(implementation, LISTEN[transport], security="tls") as peer,
        dialling() as dialler,
    ):
        with trio.fail_after(SOON_S), pytest.raises(UnreachableError):
            await dialler.connect(ID.from_base58(peer.id).to_bytes(), [without_peer(peer.addresses[0])])


async def test_a_peer_without_noise_is_reached_over_quic(implementation: str) -> None:
    """Which needs no Noise; the address of TCP beside it is tried first here, and is in nobody's way."""
    async with (
        open_peer(implementation, LISTEN["tcp"], QUIC, security="tls") as peer,
        dialling() as dialler,
    ):
        peer_id = ID.from_base58(peer.id).to_bytes()
        with trio.fail_after(DEADLINE):
            with pytest.raises(UnreachableError):
                await dialler.connect(peer_id, [without_peer(peer.address("/tcp/"))])
            connection: Any = await dialler.connect(peer_id, [without_peer(one) for one in peer.addresses])
            assert transport_of(connection.muxed_conn) == "quic"


@pytest.mark.parametrize("transport", LISTEN)
async def test_a_peer_without_noise_fails_to_dial_us(implementation: str, transport: str) -> None:
    """Their dial fails, and nothing of it stays here."""
    host = our_host(1, websocket=True)
    listen = Multiaddr(LISTEN[transport])
    async with (
        open_peer(implementation, security="tls") as peer,
        running(host, listen=listen) as (address,),
    ):
        with trio.fail_after(DEADLINE), pytest.raises(CommandFailedError):
            await peer.command("connect", address=f"{address}/p2p/{host.get_id()}")
        assert not host.get_network().get_connections()
