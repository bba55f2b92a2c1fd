"""How many requests a lookup and an announcement take among many servers: simulated, seeded, exact."""

import statistics
from collections import Counter

import pytest

from spacedrive_node.tests.harness.simulated_dht import SimulatedDht, peer

SEEDS = range(4)
PROVIDER = peer("provider")


def network(seed: int, servers: int, dead: float) -> SimulatedDht:
    """A network of which this node knows five servers; some of the others are dead."""
    made = SimulatedDht(seed, servers)
    ids = list(made.servers)
    made.table = ids[:5]
    made.store(PROVIDER)
    for server in made.random.sample(ids[5:], int(dead * servers)):
        made.servers[server].behave = lambda _request: None
    made.swarm_comes_up()
    return made


def looked_up(seed: int, servers: int, dead: float) -> int:
    """Requests until the provider is handed over."""
    made = network(seed, servers, dead)
    made.find()
    made.run(30.0, until=lambda: PROVIDER in made.candidates)
    assert PROVIDER in made.candidates
    return len(made.requests)


def announcement_requests(seed: int, servers: int, dead: float) -> Counter[str]:
    """Requests of each kind until nothing more is asked."""
    made = network(seed, servers, dead)
    made.provide()
    made.run(30.0)
    return Counter(request.op for _at, request in made.requests)


@pytest.mark.parametrize(
    ("servers", "dead", "middle", "most"),
    [(20, 0.0, 7, 7), (100, 0.0, 11, 12), (300, 0.0, 11, 13), (300, 0.2, 9.5, 13)],
)
def test_requests_of_a_lookup(servers: int, dead: float, middle: float, most: int) -> None:
    """Until the one who shows the code is known. Median and most of four networks."""
    requests = [looked_up(seed, servers, dead) for seed in SEEDS]
    assert (statistics.median(requests), max(requests)) == (middle, most)


@pytest.mark.parametrize(
    ("servers", "dead", "walked", "told"), [(20, 0.0, 20, 20), (100, 0.0, 31, 20), (300, 0.2, 55, 27)]
)
def test_requests_of_an_announcement(servers: int, dead: float, walked: int, told: int) -> None:
    """The most of four networks: to find the closest servers, and to tell them."""
    requests = [announcement_requests(seed, servers, dead) for seed in SEEDS]
    assert max(one["find_node"] for one in requests) == walked
    assert max(one["add_provider"] for one in requests) == told
