"""QUIC in the library's host: as the swarm uses it, and against the library's own QUIC, both ways."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
from libp2p.custom_types import TProtocol
from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.transport.quic.transport import QUICTransport
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.library import host_factory, host_lifecycle, streams
from spacedrive_node.actors.swarm.library.connection_limits import limit_inbound_connections
from spacedrive_node.actors.swarm.library.connections import (
    address_block_of,
    connection_kind,
    host_of,
    is_alive,
    transport_of,
)
from spacedrive_node.actors.swarm.quic import bounded_quic
from spacedrive_node.actors.swarm.quic.transport import QuicTransport
from spacedrive_node.tests.harness.library_hosts import PROTOCOL, Open, keys

DEADLINE = 20.0
LOCAL = Multiaddr("/ip4/127.0.0.1/udp/0/quic-v1")


@asynccontextmanager
async def host(number: int, *, own: bool = True, waits: bool = False, most: int = 64) -> AsyncIterator[Any]:
    """A corrected host that listens on QUIC, this project's or the library's, and echoes.

    `waits`: it ends a stream after the other side has. The library's QUIC may take data that comes in one
    packet with the end for the end alone (0.8.1, transport/quic/stream.py:248).
    """
    pair = keys(number)
    transport: Any = QUICTransport(pair.private_key)
    if own:
        transport = QuicTransport(pair, number.to_bytes(32, "big"))
    made = host_factory.new_host(pair, most, list, [transport])
    limit_inbound_connections(made.get_network(), Open())

    async def echo(stream: Any) -> None:
        data = await streams.read_exactly(stream, 4)
        size = int.from_bytes(data, "big")
        await streams.write(stream, await streams.read_exactly(stream, size))
        if waits:
            with suppress(streams.StreamError):
                await streams.read_exactly(stream, 1)
        await streams.close(stream)

    made.set_stream_handler(PROTOCOL, echo)
    async with host_lifecycle.run_host(made):
        await made.get_network().listen(LOCAL)
        yield made


def address_of(made: Any) -> Multiaddr:
    (listener,) = made.get_network().listeners.values()
    (address,) = listener.get_addrs()
    return Multiaddr(str(address).partition("/p2p/")[0])


async def dial(one: Any, other: Any) -> Any:
    with trio.fail_after(DEADLINE):
        return await one.get_network().dial_addr(address_of(other), other.get_id())


async def exchange(connection: Any, size: int, waits: bool = False) -> None:
    request = size.to_bytes(4, "big") + b"x" * size
    with trio.fail_after(DEADLINE):
        async with streams.open_stream(connection, PROTOCOL, b"" if waits else request) as stream:
            if waits:
                await streams.write(stream, request)
            assert await streams.read_exactly(stream, size) == b"x" * size


async def test_a_connection_is_what_the_swarm_takes_it_for() -> None:
    """Alive, direct, from there, over QUIC; and afterwards gone on both sides."""
    async with host(1) as a, host(2) as b:
        connection = await dial(a, b)
        await exchange(connection, 1000)
        (there,) = b.get_network().get_connections(a.get_id())
        for one, peer in ((connection, b), (there, a)):
            assert is_alive(one)
            assert connection_kind(one) == "direct"
            assert transport_of(one.muxed_conn) == "quic"
            assert host_of(one) == "127.0.0.1"
            assert address_block_of(one.muxed_conn) == "127.0.0.0/24"
            assert one.muxed_conn.peer_id == peer.get_id()
        assert str(there.muxed_conn.get_transport_addresses()[0]) == str(address_of(a))
        await connection.close()
        with trio.fail_after(DEADLINE):
            await there.event_closed.wait()
        assert not is_alive(connection)


async def test_identify_names_the_transport_in_the_observed_address() -> None:
    """The library says /tcp, whatever the connection runs over."""
    async with host(1) as a, host(2) as b:
        connection = await dial(a, b)
        async with streams.open_stream(connection, IDENTIFY) as stream:
            message = Identify.FromString(await streams.read_varint_message(stream, 1 << 16))
        assert str(Multiaddr(message.observed_addr)) == str(address_of(a))


@pytest.mark.parametrize("dialler", ["own", "library"])
async def test_it_speaks_with_the_library_s_own_quic(dialler: str) -> None:
    """Requests small and large, after one another and at once, whoever dials."""
    async with host(1, waits=True) as own, host(2, own=False, waits=True) as library:
        a, b = (own, library) if dialler == "own" else (library, own)
        connection = await dial(a, b)
        for size in (1, 1000, 1_000_000):
            await exchange(connection, size, waits=True)
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(exchange, connection, 5000, True)
        await connection.close()
        with trio.fail_after(DEADLINE):
            while own.get_network().get_connections():
                await trio.lowlevel.checkpoint()


async def test_connections_are_limited_as_with_tcp() -> None:
    """A newcomer takes the place of one of a crowd; the slots are given back."""
    async with host(1, most=4) as server:
        for number in range(2, 10):
            async with host(number) as client:
                connection = await dial(client, server)
                await exchange(connection, 10)
                assert len(server.get_network().get_connections()) <= 4
        with trio.fail_after(DEADLINE):
            while server.get_network()._inbound_limiter.borrowed_tokens:
                await trio.lowlevel.checkpoint()


async def test_a_protocol_that_is_not_spoken_ends_its_stream_alone() -> None:
    """The connection goes on."""
    async with host(1) as a, host(2) as b:
        connection = await dial(a, b)
        with trio.fail_after(DEADLINE), pytest.raises(streams.StreamError):
            async with streams.open_stream(connection, TProtocol("/not/there/1"), b"request"):
                pass
        await exchange(connection, 10)


async def test_stopping_a_host_is_told_to_its_peers_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And needs none of the time that it has for it."""
    monkeypatch.setattr(host_lifecycle, "_CLOSE_TIMEOUT_S", 2 * DEADLINE)
    monkeypatch.setattr(bounded_quic, "IDLE_TIMEOUT_S", 10 * DEADLINE)
    async with host(1) as a:
        with trio.fail_after(DEADLINE):
            async with host(2) as b:
                connection = await dial(a, b)
                await exchange(connection, 10)
            await connection.event_closed.wait()


async def test_a_host_of_ipv6_is_reached_from_a_socket_of_its_own() -> None:
    """No listener of the dialler fits, so the dial leaves from another port."""
    if not _has_ipv6():
        pytest.skip("no IPv6 on this host")
    pair = keys(2)
    made = host_factory.new_host(pair, 8, list, [QuicTransport(pair, b"b" * 32)])
    limit_inbound_connections(made.get_network(), Open())
    async with host(1) as a, host_lifecycle.run_host(made):
        await made.get_network().listen(Multiaddr("/ip6/::1/udp/0/quic-v1"))
        connection = await dial(a, made)
        (there,) = made.get_network().get_connections(a.get_id())
        assert host_of(there) == host_of(connection) == "::1"
        assert address_block_of(there.muxed_conn) == "::/56"


def _has_ipv6() -> bool:
    import socket

    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
