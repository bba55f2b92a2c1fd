"""Circuits between real hosts: a reservation, a dial through the relay, and what the connection is then."""

import pytest
import trio

from spacedrive_node.actors.swarm.library.connections import (
    address_block_of,
    connection_kind,
    host_of,
    transport_of,
)
from spacedrive_node.actors.swarm.library.streams import open_stream, read_exactly
from spacedrive_node.protocol.peer_ids import peer_id_text
from spacedrive_node.tests.harness.library_hosts import PROTOCOL
from spacedrive_node.tests.harness.relay_hosts import DEADLINE, relay_hosts


@pytest.mark.parametrize(
    ("transport", "form"), [("tcp", ""), ("quic", "/udp/0/quic-v1"), ("ws", "/tcp/0/ws")]
)
async def test_two_hosts_speak_through_a_third(transport: str, form: str) -> None:
    """The circuit address is announced and dialled; both see a relayed connection with the true peer.

    Over whatever transport the relay is reached.
    """
    async with relay_hosts(form=form) as hosts:
        relay = await hosts.relay()
        target, source = await hosts.client(relay), await hosts.client()
        assert target.client is not None
        with trio.fail_after(DEADLINE):
            through = target.client.circuits
            assert through == (f"{relay.address}/p2p/{peer_id_text(relay.peer)}/p2p-circuit",)
            connection = await source.dialer.connect(target.peer, through)
            assert connection_kind(connection) == "relayed"
            assert transport_of(connection.muxed_conn) == transport
            assert host_of(connection) is None
            assert address_block_of(connection.muxed_conn) == f"relay:{peer_id_text(relay.peer)}"
            async with open_stream(connection, PROTOCOL, b"through") as stream:
                assert await read_exactly(stream, 7) == b"through"
            (other,) = target.network.get_connections(source.host.get_id())
            assert connection_kind(other) == "relayed"
            assert not source.dialer.direct(target.peer)
            assert not target.dialer.direct(source.peer)
