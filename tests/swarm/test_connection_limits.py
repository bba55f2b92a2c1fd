"""Bounds on inbound connections: the defect of the library, and its absence with the correction.

A test whose first half fails shows that the library no longer needs that correction: remove it.
"""

import libp2p.network.swarm as library_swarm
import pytest
import trio

from spacedrive_node.actors.swarm.library import connection_limits, host_lifecycle
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
                    with trio.fail_after(5):
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
        with trio.fail_after(5):
            for stream in idle[4:]:
                assert await stream.receive_some(1) == b""
        assert network._inbound_limiter.borrowed_tokens == 4
        for stream in idle:
            await stream.aclose()


def test_the_connection_that_makes_room_is_one_of_a_crowd() -> None:
    """Of the block that has most; there an idle one before one in use, and the oldest of these."""
    crowd = [(FAR, False), (NEAR, True), (NEAR, False), (NEAR, False), (None, False)]
    assert connection_limits.choose_evicted(crowd) == 2
    assert connection_limits.choose_evicted([crowd[0], crowd[1], (NEAR, True)]) == 1
    assert connection_limits.choose_evicted([(FAR, True), (NEAR, False), (None, False)]) == 1


def test_a_slow_block_loses_its_connections_first() -> None:
    """However few it has; there as anywhere."""
    crowd = [(FAR, False), (FAR, False), (NEAR, True), (NEAR, False)]
    assert connection_limits.choose_evicted(crowd, NEAR.__eq__) == 3
    assert connection_limits.choose_evicted(crowd[:3], NEAR.__eq__) == 2
