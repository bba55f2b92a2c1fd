"""Bounds on inbound connections: the defect of the library, and its absence with the correction.

A test whose first half fails shows that the library no longer needs that correction: remove it.
"""

import itertools
from contextlib import AsyncExitStack
from types import SimpleNamespace

import libp2p.network.connection.swarm_connection as swarm_connection
import libp2p.network.swarm as library_swarm
import pytest
import trio
import trio.testing

from spacedrive_node.actors.swarm.connection_gate import ConnectionGate
from spacedrive_node.actors.swarm.dial.addresses import source_of
from spacedrive_node.actors.swarm.library import connection_limits, host_lifecycle
from spacedrive_node.actors.swarm.pairing.ban_list import BanList
from spacedrive_node.actors.swarm.pairing.rate_limits import Pace
from spacedrive_node.tests.harness.library_hosts import Open, make, our_host, running

NEAR, FAR = "192.0.2.0/24", "198.51.100.0/24"


@pytest.mark.parametrize("corrected", [False, True])
async def test_inbound_slots_are_given_back(corrected: bool) -> None:
    """With four slots the fifth connection of a host's life is refused, though the others are long gone."""
    server = make(corrected, 1, most=4)
    if corrected:
        connection_limits.limit_inbound_connections(server.get_network(), Open())
    reached = 0
    async with running(server) as (address,):
        for number in range(2, 8):
            client = our_host(number)
            async with host_lifecycle.run_host(client):
                try:
                    with trio.fail_after(60):
                        connection = await client.get_network().dial_addr(address, server.get_id())
                        reached += 1
                        await connection.close()
                        while server.get_network().get_connections():
                            await trio.lowlevel.checkpoint()
                except (trio.TooSlowError, library_swarm.SwarmException):
                    break
    assert reached == (6 if corrected else 4)


async def test_idle_sockets_of_one_address_leave_slots() -> None:
    """One address that opens sockets and says nothing takes a quarter of the slots and no more."""
    server = our_host(1, most=16)
    network = server.get_network()
    connection_limits.limit_inbound_connections(network, Open())
    async with running(server) as (address,):
        port = int(address.value_for_protocol("tcp"))
        idle = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(40)]
        with trio.fail_after(60):
            for stream in idle[4:]:
                assert await stream.receive_some(1) == b""
        assert network._inbound_limiter.borrowed_tokens == 4
        for stream in idle:
            await stream.aclose()


async def test_idle_sockets_of_many_addresses_make_room() -> None:
    """More addresses than it takes to hold every slot say nothing; who comes then is let in at once."""
    server, client = our_host(1, most=16), our_host(2)
    network = server.get_network()
    connection_limits.limit_inbound_connections(network, Open())
    async with running(server) as (address,), host_lifecycle.run_host(client), AsyncExitStack() as stack:
        port = int(address.value_for_protocol("tcp"))
        for number in range(40):
            source = f"127.0.{number // 4}.1"
            idle = await trio.open_tcp_stream("127.0.0.1", port, local_address=source)
            stack.push_async_callback(idle.aclose)
        await trio.testing.wait_all_tasks_blocked(0.05)
        with trio.fail_after(60):
            await client.get_network().dial_addr(address, server.get_id(), source=("127.0.99.1", 0))
            while not network.get_connections(client.get_id()):
                await trio.lowlevel.checkpoint()
        assert network._inbound_limiter.borrowed_tokens <= 17


class Paced(Open):
    """Two handshakes at once, then one in a tenth of a second, and none that would wait a second."""

    def __init__(self) -> None:
        self.pace: Pace[str] = Pace(per_second=10, burst=2)
        self.began = trio.current_time()
        self.paused: list[float] = []

    def pause_before_handshake(self, source: str) -> float:
        wait = self.pace.wait_before(source, self.began, 0.55)  # as if all came at once
        self.paused.append(wait)
        return wait if wait <= 0.55 else connection_limits.UPGRADE_TIMEOUT_S + 1


async def test_handshakes_of_one_source_begin_at_a_pace() -> None:
    """What a stranger can repeat for nothing waits or is closed; another source does not wait."""
    server, gate = our_host(1, most=64), Paced()
    connection_limits.limit_inbound_connections(server.get_network(), gate)
    hello = b"\x13/multistream/1.0.0\n"
    async with running(server) as (address,), trio.open_nursery() as nursery:
        port = int(address.value_for_protocol("tcp"))
        ends: list[bool] = []

        async def connect() -> None:
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                with trio.fail_after(60):
                    ends.append(bool(await stream.receive_some(len(hello))))

        began = trio.current_time()
        for _ in range(15):
            nursery.start_soon(connect)
        client = our_host(2)
        async with host_lifecycle.run_host(client):
            with trio.fail_after(60):
                while len(gate.paused) < 15:
                    await trio.lowlevel.checkpoint()
                elsewhere = ("127.0.7.1", 0)
                await client.get_network().dial_addr(address, server.get_id(), source=elsewhere)
        assert gate.paused[-1] <= 0
        with trio.fail_after(60):
            while len(ends) < 15:
                await trio.lowlevel.checkpoint()
        assert trio.current_time() - began >= 0.45
        assert sum(ends) == 8


def test_the_pace_of_a_swarm_leaves_loopback_out() -> None:
    """Many nodes may be there. A source that makes a thousand in a second is not shut out afterwards."""
    gate = ConnectionGate(BanList(), lan_only=False, offline=False)
    assert not any(gate.pause_before_handshake("127.0.0.1") for _ in range(1000))
    waits = [gate.pause_before_handshake("192.0.2.1") for _ in range(1000)]
    assert waits[99] <= 0 < waits[-1]
    assert waits[-1] < connection_limits.UPGRADE_TIMEOUT_S + 0.1
    assert gate.pause_before_handshake("192.0.2.2") <= 0
    assert gate.pause_before_handshake("2001:db8::/56") <= 0


def test_a_source_is_an_address_or_a_block_of_ipv6() -> None:
    """One host has as many addresses of an IPv6 network as it likes; behind IPv4 blocks are many people."""
    assert source_of("192.0.2.7") == source_of("::ffff:192.0.2.7") != source_of("192.0.2.8")
    assert source_of("2001:db8:0:1::1") == source_of("2001:db8:0:2:ffff::9") != source_of("2001:db8:1::1")
    assert source_of("fe80::1%eth0") == source_of("fe80::2%eth1")


def test_the_connection_that_makes_room_is_one_of_a_crowd() -> None:
    """Of the block that has most; there an idle one before one in use, and the oldest of these."""
    crowd = [(FAR, False), (NEAR, True), (NEAR, False), (NEAR, False), (None, False)]
    assert connection_limits.choose_evicted(crowd) == 2
    assert connection_limits.choose_evicted([crowd[0], crowd[1], (NEAR, True)]) == 1
    assert connection_limits.choose_evicted([(FAR, True), (NEAR, False), (None, False)]) == 1


async def test_the_oldest_makes_room_also_when_the_clock_was_set_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else each newcomer would have the place of the one before it, and the others theirs for ever."""
    clock = itertools.count(1_000_000, -3600)
    monkeypatch.setattr(swarm_connection, "time", SimpleNamespace(time=lambda: float(next(clock))))
    server, clients = our_host(1, most=8), [our_host(number) for number in range(2, 12)]
    network = server.get_network()
    connection_limits.limit_inbound_connections(network, Open())
    async with running(server, *clients) as (address, *_):
        for number, client in enumerate(clients, 1):
            await client.get_network().dial_addr(address, server.get_id())
            with trio.fail_after(60):
                while (
                    len(network.get_connections()) < min(number, 7)
                    or not network.get_connections(client.get_id())
                    or len(network.get_connections()) > 7
                ):
                    await trio.lowlevel.checkpoint()
        assert {one.muxed_conn.peer_id for one in network.get_connections()} == {
            client.get_id() for client in clients[-7:]
        }


def test_a_slow_block_loses_its_connections_first() -> None:
    """However few it has; there as anywhere."""
    crowd = [(FAR, False), (FAR, False), (NEAR, True), (NEAR, False)]
    assert connection_limits.choose_evicted(crowd, NEAR.__eq__) == 3
    assert connection_limits.choose_evicted(crowd[:3], NEAR.__eq__) == 2
