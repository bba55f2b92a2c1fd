"""The one dialler over several transports: what it dials first, and what it learns where UDP is silent."""

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.dial.dialer import Dialer, UnreachableError
from spacedrive_node.actors.swarm.dial.history import SILENT_PEERS
from spacedrive_node.actors.swarm.library import host_lifecycle
from spacedrive_node.actors.swarm.library.connection_limits import limit_inbound_connections
from spacedrive_node.actors.swarm.library.connections import transport_of
from spacedrive_node.actors.swarm.metrics import Measurements
from spacedrive_node.actors.swarm.quic.transport import QuicTransport
from spacedrive_node.messages.types import Transport
from spacedrive_node.protocol.multiaddrs import parse
from spacedrive_node.tests.harness.library_hosts import Open, keys, our_host

DEADLINE = 20.0
QUIET_S = 0.2
"""What has not come for so long is not on its way."""
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


@dataclass
class Way:
    """A way to a host on which nothing passes before it is opened; what was sent until then arrives then."""

    address: str = ""
    begun: trio.Event = field(default_factory=trio.Event)
    opened: trio.Event = field(default_factory=trio.Event)


@asynccontextmanager
async def way_to(address: str) -> AsyncIterator[Way]:
    target, way = parse(address), Way()
    async with trio.open_nursery() as nursery:
        if target.is_udp:
            port = await nursery.start(_carry_datagrams, target.port, way)
        else:
            serve = partial(_carry_stream, target.port, way)
            listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
            port = listeners[0].socket.getsockname()[1]
        way.address = str(target.with_port(port))
        yield way
        nursery.cancel_scope.cancel()


async def _carry_stream(port: int, way: Way, near: trio.SocketStream) -> None:
    way.begun.set()
    await way.opened.wait()
    async with await trio.open_tcp_stream("127.0.0.1", port) as far, trio.open_nursery() as nursery:

        async def carry(one: trio.SocketStream, other: trio.SocketStream) -> None:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                async for data in one:
                    await other.send_all(data)
            nursery.cancel_scope.cancel()

        nursery.start_soon(carry, near, far)
        nursery.start_soon(carry, far, near)


async def _carry_datagrams(port: int, way: Way, task_status: trio.TaskStatus[int]) -> None:
    with (
        trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as near,
        trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far,
    ):
        await near.bind(("127.0.0.1", 0))
        await far.connect(("127.0.0.1", port))
        task_status.started(near.getsockname()[1])
        data, client = await near.recvfrom(2048)
        way.begun.set()
        await way.opened.wait()
        await far.send(data)

        async def back() -> None:
            while True:
                await near.sendto(await far.recv(2048), client)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(back)
            while True:
                await far.send(await near.recv(2048))


@pytest.mark.parametrize(("winner", "loser"), [("tcp", "quic"), ("quic", "tcp")])
async def test_the_loser_of_a_race_leaves_nothing(winner: Transport, loser: Transport) -> None:
    """Both are on their way when the winner arrives. Connections and metrics of both sides name it alone."""
    async with (
        dialler("tcp", "quic") as dialling,
        host(2, "tcp", "quic") as (made, (tcp, quic)),
        way_to(tcp) as over_tcp,
        way_to(quic) as over_quic,
        trio.open_nursery() as nursery,
    ):
        ways = {"tcp": over_tcp, "quic": over_quic}

        async def open_the_winner_s() -> None:
            for way in ways.values():
                await way.begun.wait()
            ways[winner].opened.set()

        nursery.start_soon(open_the_winner_s)
        connection = await connect(dialling, made, [way.address for way in ways.values()])
        ways[loser].opened.set()
        await trio.testing.wait_all_tasks_blocked(QUIET_S)
        assert transport_of(connection.muxed_conn) == winner
        for network in (dialling._network, made.get_network()):
            assert [transport_of(one.muxed_conn) for one in network.get_connections()] == [winner]
            samples = Measurements().observed(network.get_connections(), 0).samples
            assert {one.labels[1] for one in samples if one.name == "connections" and one.value} == {winner}
        assert not dialling._races


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
