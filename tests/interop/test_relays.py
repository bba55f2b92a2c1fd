"""Circuit relay v2 with other implementations: each of the three roles; the other two are this project's."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import trio

from spacedrive_node.actors.swarm.library import streams
from spacedrive_node.actors.swarm.library.connections import connection_kind
from spacedrive_node.messages.types import PeerAddresses
from spacedrive_node.protocol.peer_ids import peer_id_from_text, peer_id_text
from spacedrive_node.tests.harness.interop_peer import InteropPeer, open_peer
from spacedrive_node.tests.harness.relay_hosts import Party, RelayHosts, relay_hosts

ECHO = "/spacedrive-interop/echo/1.0.0"
LISTEN = "/ip4/127.0.0.1/tcp/0"
DEADLINE = 60
SIZE = 50_000
IMPLEMENTATIONS = ["go", "rust", "rust-0.53", "js-2", "js-3"]


@dataclass
class Other:
    """A peer of another implementation as a relay."""

    named: PeerAddresses


@pytest.fixture
async def hosts() -> AsyncIterator[RelayHosts]:
    async with relay_hosts() as made:
        with trio.fail_after(DEADLINE):
            yield made


def as_relay(peer: InteropPeer) -> Other:
    address = peer.address("/tcp/").partition("/p2p/")[0]
    return Other(PeerAddresses(peer_id_from_text(peer.id), (address,)))


async def echo_through(source: Party, target: bytes, circuit: str) -> None:
    """Dial from a host of this project, and have the other end send back what it reads."""
    connection = await source.dialer.connect(target, (circuit,))
    assert connection_kind(connection) == "relayed"
    sent = bytes(range(250)) * (SIZE // 250)
    async with streams.open_stream(connection, ECHO) as stream:
        await streams.write(stream, sent)
        await stream.close_write()
        assert await streams.read_exactly(stream, len(sent)) == sent


def circuit_at(relay: Party) -> str:
    return f"{relay.address}/p2p/{peer_id_text(relay.peer)}/p2p-circuit"


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
async def test_relay_its_client_is_reached_through_this_node(hosts: RelayHosts, implementation: str) -> None:
    """It takes the voucher and the limits of this relay, and the circuit that it announces."""
    relay, source = await hosts.relay(), await hosts.client()
    async with open_peer(implementation, LISTEN) as other:
        told = await other.command("reserve", address=f"{relay.address}/p2p/{peer_id_text(relay.peer)}")
        assert told.get("bytes", 1 << 20) == 1 << 20
        assert told.get("seconds", 300) == 300
        assert told.get("voucher", True)
        await echo_through(source, peer_id_from_text(other.id), circuit_at(relay))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
async def test_relay_it_dials_through_this_node(hosts: RelayHosts, implementation: str) -> None:
    """It reaches a client of this project at its circuit address."""
    relay = await hosts.relay()
    target = await hosts.client(relay)
    target.host.set_stream_handler(ECHO, target.host.get_mux().handlers["/test/1"])
    own_id = peer_id_text(target.peer)
    async with open_peer(implementation, LISTEN) as other:
        assert target.client is not None
        await other.command("connect", address=f"{target.client.circuits[0]}/p2p/{own_id}")
        assert (await other.command("echo", peer=own_id, bytes=SIZE))["bytes"] == SIZE
        (connection,) = target.network.get_connections()[-1:]
        assert connection_kind(connection) == "relayed"


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
async def test_relay_this_node_is_reached_through_it(hosts: RelayHosts, implementation: str) -> None:
    """Its reservation, voucher and limits are right, and two hosts of this project meet at it."""
    async with open_peer(implementation, LISTEN) as other:
        await other.command("relay")
        target, source = await hosts.client(as_relay(other)), await hosts.client()
        target.host.set_stream_handler(ECHO, target.host.get_mux().handlers["/test/1"])
        assert target.client is not None
        await echo_through(source, target.peer, target.client.circuits[0])
