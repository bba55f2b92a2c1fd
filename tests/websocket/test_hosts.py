"""WebSocket in the library's host: as the swarm uses it, with the limits of all connections."""

import ipaddress
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.network.exceptions import SwarmException
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.dial.dialer import Dialer, UnreachableError
from spacedrive_node.actors.swarm.library import host_lifecycle, streams
from spacedrive_node.actors.swarm.library.connection_limits import limit_inbound_connections
from spacedrive_node.actors.swarm.library.connections import (
    address_block_of,
    connection_kind,
    host_of,
    is_alive,
    transport_of,
)
from spacedrive_node.actors.swarm.websocket.transport import WebSocketTransport
from spacedrive_node.actors.swarm.websocket.wire import WebSocketOptions
from spacedrive_node.protocol.multiaddrs import parse
from spacedrive_node.tests.harness.library_hosts import PROTOCOL, Open, our_host
from spacedrive_node.tests.harness.websocket_hosts import DEADLINE, make_certificate, receive_all, request

LOCAL = "/ip4/127.0.0.1/tcp/0/ws"


@asynccontextmanager
async def host(
    number: int,
    *,
    most: int = 64,
    options: WebSocketOptions | None = None,
    listen: str = LOCAL,
    gate: Any = None,
    counted: list[tuple[str, bool]] | None = None,
) -> AsyncIterator[Any]:
    """A corrected host that listens on WebSocket and echoes."""
    transport = WebSocketTransport(options or WebSocketOptions())
    made = our_host(number, most, websocket=transport)

    def observe(transport: str, _seconds: float, succeeded: bool) -> None:
        if counted is not None:
            counted.append((transport, succeeded))

    limit_inbound_connections(made.get_network(), gate or Open(), observe)
    transport.admit(gate or Open(), observe)

    async def echo(stream: Any) -> None:
        size = int.from_bytes(await streams.read_exactly(stream, 4), "big")
        await streams.write(stream, await streams.read_exactly(stream, size))
        await streams.close(stream)

    made.set_stream_handler(PROTOCOL, echo)
    async with host_lifecycle.run_host(made):
        await made.get_network().listen(Multiaddr(listen))
        yield made


def address_of(made: Any) -> Multiaddr:
    (listener,) = made.get_network().listeners.values()
    (address,) = listener.get_addrs()
    return address


async def dial(one: Any, other: Any) -> Any:
    with trio.fail_after(DEADLINE):
        return await one.get_network().dial_addr(address_of(other), other.get_id())


async def exchange(connection: Any, size: int) -> None:
    with trio.fail_after(DEADLINE):
        async with streams.open_stream(connection, PROTOCOL) as stream, trio.open_nursery() as nursery:
            nursery.start_soon(streams.write, stream, size.to_bytes(4, "big") + b"x" * size)
            assert await streams.read_exactly(stream, size) == b"x" * size


@pytest.mark.parametrize("secure", [False, True])
async def test_a_connection_is_what_the_swarm_takes_it_for(tmp_path: Any, secure: bool) -> None:
    """Alive, direct, from there, over WebSocket; and afterwards gone on both sides."""
    options = make_certificate(tmp_path, ["127.0.0.1"]) if secure else None
    listen = "/ip4/127.0.0.1/tcp/0/tls/ws" if secure else LOCAL
    counted: list[tuple[str, bool]] = []
    async with (
        host(1, options=options) as a,
        host(2, options=options, listen=listen, counted=counted) as b,
    ):
        connection = await dial(a, b)
        for size in (1, 1000, 1_000_000):
            await exchange(connection, size)
        (there,) = b.get_network().get_connections(a.get_id())
        for one, peer in ((connection, b), (there, a)):
            assert is_alive(one)
            assert connection_kind(one) == "direct"
            assert transport_of(one.muxed_conn) == ("wss" if secure else "ws")
            assert host_of(one) == "127.0.0.1"
            assert address_block_of(one.muxed_conn) == "127.0.0.0/24"
            assert one.muxed_conn.peer_id == peer.get_id()
        assert counted == [("wss" if secure else "ws", True)]
        await connection.close()
        with trio.fail_after(DEADLINE):
            await there.event_closed.wait()
        assert not is_alive(connection)


async def test_identify_names_the_transport_in_the_observed_address() -> None:
    """Not TCP, where it would mean another listener."""
    async with host(1) as a, host(2) as b:
        connection = await dial(a, b)
        async with streams.open_stream(connection, IDENTIFY) as stream:
            message = Identify.FromString(await streams.read_varint_message(stream, 1 << 16))
        observed = parse(str(Multiaddr(message.observed_addr)))
        assert (observed.host, observed.transport) == ("127.0.0.1", "ws")


async def test_the_dialer_races_it_with_the_others() -> None:
    """Also by name; and not where the host does not use it."""
    async with host(1) as a, host(2) as b, trio.open_nursery() as nursery:
        port = parse(str(address_of(b))).port
        peer, names = b.get_id().to_bytes(), [f"/dns4/localhost/tcp/{port}/ws"]
        with trio.fail_after(DEADLINE):
            network = a.get_network()
            own = a.get_id().to_bytes()
            with pytest.raises(UnreachableError, match="no address"):
                await Dialer(network, own, nursery, transports=("tcp", "quic")).connect(peer, names)
            connection = await Dialer(network, own, nursery, transports=("tcp", "ws", "wss")).connect(
                peer, names
            )
        await exchange(connection, 10)


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


async def test_blocks_are_those_of_the_clients_of_a_proxy() -> None:
    """A crowd of one block makes room, and not one whose block is its own."""
    proxied = WebSocketOptions(proxies=(ipaddress.ip_network("127.0.0.1"),))
    async with host(1, most=8, options=proxied) as server, AsyncExitStack() as stack:
        address = parse(str(address_of(server)))
        for number, forwarded in enumerate(["192.0.2.1", *(f"198.51.100.{last}" for last in range(7))]):
            client = await stack.enter_async_context(host(number + 2))
            port = await stack.enter_async_context(proxy(address.port, forwarded))
            with trio.fail_after(DEADLINE):
                there = Multiaddr(f"/ip4/127.0.0.1/tcp/{port}/ws")
                connection = await client.get_network().dial_addr(there, server.get_id())
                await exchange(connection, 10)
        connections = server.get_network().get_connections()
        blocks = [address_block_of(one.muxed_conn) for one in connections]
        assert sorted(map(str, blocks)) == ["192.0.2.0/24", *["198.51.100.0/24"] * 6]


async def test_a_gate_refuses_before_and_after_the_upgrade() -> None:
    """--lan-only, as the swarm's gate does it."""

    class Closed(Open):
        def allows(self, host: str) -> bool:
            return False

    async with host(1, gate=Closed()) as server, host(2) as client:
        stream = await trio.open_tcp_stream("127.0.0.1", parse(str(address_of(server))).port)
        async with stream:
            await stream.send_all(request())
            assert await receive_all(stream) == b""
        with pytest.raises(SwarmException):
            await dial(client, server)


async def test_stopping_a_host_is_told_to_its_peers_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And needs none of the time that it has for it."""
    monkeypatch.setattr(host_lifecycle, "_CLOSE_TIMEOUT_S", 2 * DEADLINE)
    async with host(1) as a:
        with trio.fail_after(DEADLINE):
            async with host(2) as b:
                connection = await dial(a, b)
                await exchange(connection, 10)
            await connection.event_closed.wait()


async def test_hosts_of_ipv6_reach_each_other() -> None:
    """With the address of the peer, which its limits need."""
    async with host(1) as a, host(2, listen="/ip6/::1/tcp/0/ws") as b:
        connection = await dial(a, b)
        await exchange(connection, 1)  # a dial is over before the other side has the connection
        (there,) = b.get_network().get_connections(a.get_id())
        assert host_of(there) == host_of(connection) == "::1"
        assert address_block_of(there.muxed_conn) == "::/56"


@asynccontextmanager
async def proxy(port: int, client: str) -> AsyncIterator[int]:
    """A reverse proxy that says who its client is."""
    header = f"X-Forwarded-For: {client}\r\n\r\n".encode()

    async def serve(stream: trio.SocketStream) -> None:
        upstream = await trio.open_tcp_stream("127.0.0.1", port)
        asked = await stream.receive_some(65536)
        await upstream.send_all(bytes(asked).removesuffix(b"\r\n") + header)

        async def copy(source: trio.SocketStream, target: trio.SocketStream) -> None:
            try:
                async for data in source:
                    await target.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            await trio.aclose_forcefully(target)

        async with upstream, trio.open_nursery() as nursery:
            nursery.start_soon(copy, stream, upstream)
            nursery.start_soon(copy, upstream, stream)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield int(listeners[0].socket.getsockname()[1])
        nursery.cancel_scope.cancel()
