"""Getting back into the DHT after the server that was its door has gone."""

from spacedrive_node.messages.to_discovery import ServerJoined, ServerLost
from spacedrive_node.messages.to_swarm import Bootstrap
from spacedrive_node.tests.harness.simulated_dht import SimulatedDht, addresses_of, peer

SERVER = addresses_of(peer((11, 0)))


def connected() -> SimulatedDht:
    net = SimulatedDht(11, 1, bootstrap=(SERVER,))
    net.table = [SERVER.peer]
    net.swarm_comes_up()
    net.take("swarm", ServerJoined(SERVER))
    net.run(300.0)
    return net


def offers(net: SimulatedDht, seconds: float) -> list[float]:
    """When the bootstrap peer is offered within so many seconds from now."""
    start = net.now
    net.run(seconds)
    return [when - start for when, _ in net.to_swarm(Bootstrap) if when > start]


def test_a_lost_server_is_sought_at_once_and_until_it_is_back() -> None:
    """It need not wait for the minute between two looks, and goes on while the server stays away."""
    net = connected()
    net.take("swarm", ServerLost(SERVER.peer))
    times = offers(net, 20.0)
    assert times[0] < 0.5
    assert 5 <= len(times) <= 8
    net.take("swarm", ServerJoined(SERVER))
    assert len(offers(net, 300.0)) <= 6


def test_a_server_that_always_hangs_up_is_not_besieged() -> None:
    """One loss right after the other: ever longer pauses."""
    net = connected()
    before = len(net.to_swarm(Bootstrap))
    for _ in range(200):
        net.take("swarm", ServerLost(SERVER.peer))
        net.run(0.5)
        net.take("swarm", ServerJoined(SERVER))
    assert len(net.to_swarm(Bootstrap)) - before < 20
