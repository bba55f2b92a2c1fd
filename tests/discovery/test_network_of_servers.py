"""Many DHT servers that came through one of them are one network without it: simulated, seeded."""

from spacedrive_node.tests.harness.virtual_servers import VirtualServers

SERVERS = 44
"""Twice as many as a bucket holds, and a few: each half of the key space has more than its door can name."""


def test_servers_that_start_at_once_are_one_network_without_their_door() -> None:
    """It ends 20 s later. Then a code that is announced through any of them is found through any other."""
    network = VirtualServers("servers", SERVERS)
    network.run(network.now + 20.0)
    network.end_door()
    assert [network.finds(code) for code in range(10)] == [True] * 10
