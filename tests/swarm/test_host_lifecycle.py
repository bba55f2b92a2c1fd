"""Closing a host, and ports that are taken: the defect of the library, and its absence with the correction.

A test whose first half fails shows that the library no longer needs that correction: remove it.
"""

import socket
from typing import Any

import pytest
import trio
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.library import host_lifecycle
from spacedrive_node.tests.harness.library_hosts import our_host, running


def _socket_of(connection: Any) -> Any:
    """The socket under all the layers of a connection."""
    layer = connection.muxed_conn.secured_conn
    while not isinstance(layer, trio.SocketStream):
        names = ("conn", "read_writer", "read_write_closer", "stream")
        layer = next(getattr(layer, name) for name in names if hasattr(layer, name))
    return layer.socket


@pytest.mark.parametrize("corrected", [False, True])
async def test_a_cancelled_host_closes_everything(corrected: bool) -> None:
    """Cancelling host.run() leaves the peer connected; run_host closes listener and connections, and soon."""
    server, client = our_host(1), our_host(2)
    leaked: Any = None

    async def run_client(address: Multiaddr, task_status: trio.TaskStatus[Any]) -> None:
        context = host_lifecycle.run_host(client) if corrected else client.run([])
        async with context:
            connection = await client.get_network().dial_addr(address, server.get_id())
            task_status.started(connection)
            await trio.sleep_forever()

    async with running(server) as (address,):
        async with trio.open_nursery() as nursery:
            leaked = await nursery.start(run_client, address)
            nursery.cancel_scope.cancel()
        leaked_socket = _socket_of(leaked)
        closed = leaked_socket.fileno() == -1
        leaked_socket.close()
    assert closed is corrected


async def test_a_taken_port_is_noticed() -> None:
    """Two hosts share a port, and a foreign port is a silent failure; check_free tells of both."""
    first, second = our_host(1), our_host(2)
    async with running(first, second) as (address, _):
        await second.get_network().listen(address)
        assert address in second.get_transport_addrs()
        with pytest.raises(host_lifecycle.AddressTakenError):
            host_lifecycle.check_port_is_free("127.0.0.1", int(address.value_for_protocol("tcp")))
        with socket.create_server(("127.0.0.1", 0)) as foreign:
            port = foreign.getsockname()[1]
            assert not await second.get_network().listen(Multiaddr(f"/ip4/127.0.0.1/tcp/{port}"))
            with pytest.raises(host_lifecycle.AddressTakenError):
                host_lifecycle.check_port_is_free("127.0.0.1", port)


@pytest.mark.parametrize("datagrams", [False, True])
def test_each_kind_of_port_by_itself(datagrams: bool) -> None:
    """A port that is taken for one kind of socket is free for the other."""
    kind = socket.SOCK_DGRAM if datagrams else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        if not datagrams:
            held.listen()
        port = held.getsockname()[1]
        with pytest.raises(host_lifecycle.AddressTakenError):
            host_lifecycle.check_port_is_free("127.0.0.1", port, datagrams=datagrams)
        assert host_lifecycle.check_port_is_free("127.0.0.1", port, datagrams=not datagrams) == port
        assert host_lifecycle.check_port_is_free("127.0.0.1", 0, datagrams=datagrams) != port
