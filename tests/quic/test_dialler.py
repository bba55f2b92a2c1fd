"""The one dialler over several transports: what it dials first, and what it learns where UDP is silent."""

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
import trio
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.dial.dialer import Dialer, UnreachableError
from spacedrive_node.actors.swarm.dial.history import SILENT_PEERS
from spacedrive_node.actors.swarm.library import host_lifecycle
from spacedrive_node.actors.swarm.library.connection_limits import limit_inbound_connections
from spacedrive_node.actors.swarm.library.connections import transport_of
from spacedrive_node.actors.swarm.quic.transport import QuicTransport
from spacedrive_node.messages.types import Transport
from spacedrive_node.protocol.multiaddrs import parse
from spacedrive_node.tests.harness.library_hosts import Open, keys, our_host

DEADLINE = 20.0
FORMS = {"quic": "/udp/0/quic-v1", "tcp": "/tcp/0", "ws": "/tcp/0/ws"}


@asynccontextmanager
async def host(number: int, *transports: str) -> AsyncIterator[tuple[Any, list[str]]]:
    """A corrected host that listens on these transports, and its addresses."""
    made = our_host(number, quic=True, websocket=True)
    limit_inbound_connections(made.get_network(), Open(), lambda _transport, _seconds, _succeeded: None)
    async with host_lifecycle.run_host(made):
        for transport in transports:
            await made.get_network().listen(Multiaddr("/ip4/127.0.0.1" + FORMS[transport]))
        yield made, [str(one.get_addrs()[0]) for one in made.get_network().listeners.values()]


@asynccontextmanager
async def dialler(*transports: Transport) -> AsyncIterator[Dialer]:
    async with host(1) as (made, _none), trio.open_nursery() as nursery:
        yield Dialer(made.get_network(), made.get_id().to_bytes(), nursery, transports=transports)
        nursery.cancel_scope.cancel()


@contextmanager
def silent_port() -> Iterator[tuple[socket.socket, str]]:
    """A UDP socket that answers nothing, and its address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.setblocking(False)
        yield silent, f"/ip4/127.0.0.1/udp/{silent.getsockname()[1]}/quic-v1"


def got_packet(silent: socket.socket) -> bool:
    try:
        return bool(silent.recv(2048))
    except BlockingIOError:
        return False


async def connect(dialling: Dialer, made: Any, addresses: list[str]) -> Any:
    with trio.fail_after(DEADLINE):
        return await dialling.connect(made.get_id().to_bytes(), addresses)


@pytest.mark.parametrize("given", [["ws", "tcp", "quic"], ["quic", "ws", "tcp"]])
async def test_quic_is_dialled_first_whatever_comes_first(given: list[str]) -> None:
    async with dialler("tcp", "quic", "ws") as dialling, host(2, *given) as (made, addresses):
        assert transport_of((await connect(dialling, made, addresses)).muxed_conn) == "quic"


async def test_the_next_transport_follows_one_that_refuses() -> None:
    """TCP before WebSocket, and WebSocket at last."""
    async with dialler("tcp", "quic", "ws") as dialling, host(2, "ws") as (made, (ws,)):
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            refusing = f"/ip4/127.0.0.1/tcp/{closed.getsockname()[1]}"
            assert transport_of((await connect(dialling, made, [ws, refusing])).muxed_conn) == "ws"


async def test_a_transport_that_is_not_used_is_not_dialled() -> None:
    """Also where another node with this node's identity is looked for."""
    with silent_port() as (silent, address):
        async with dialler("tcp") as dialling, host(2) as (made, _none):
            with pytest.raises(UnreachableError, match="no address to dial"):
                await connect(dialling, made, [address])
            with trio.fail_after(DEADLINE):
                await dialling.check_who_answers([parse(address)])
        assert not got_packet(silent)


async def test_where_udp_is_silent_tcp_is_dialled_first_in_the_end() -> None:
    """Each of the first peers costs a stagger; the next one's UDP port gets no packet before TCP is there."""
    async with dialler("tcp", "quic") as dialling:
        for number in range(SILENT_PEERS + 1):
            with silent_port() as (silent, quic):
                async with host(number + 2, "tcp") as (made, (tcp,)):
                    connection = await connect(dialling, made, [quic, tcp])
                    assert transport_of(connection.muxed_conn) == "tcp"
                assert got_packet(silent) is (number < SILENT_PEERS)


async def test_a_dial_to_loopback_leaves_from_loopback() -> None:
    """A node that is offline has no other socket, also where it does not listen on that IP version."""
    transport = QuicTransport(keys(1), bytes(32))
    async with trio.open_nursery() as nursery:
        transport.set_background_nursery(nursery)
        for target, own in (("127.0.0.1", "127.0.0.1"), ("192.0.2.1", "0.0.0.0"), ("127.0.0.2", "127.0.0.1")):
            endpoint = transport._endpoint_for(parse(f"/ip4/{target}/udp/1/quic-v1"))
            assert endpoint.address[0] == own
        await transport.close()
        nursery.cancel_scope.cancel()
