"""Lookups over simulated networks in virtual time: the true provider is found whatever others do."""

from collections.abc import Callable

import pytest
from libp2p.kad_dht.utils import sort_peer_ids_by_distance
from libp2p.peer.id import ID

from spacedrive_node.actors.discovery.lookup import ALPHA, MAX_REQUESTS, Lookup, distance
from spacedrive_node.messages.from_supervisor import SessionEnded
from spacedrive_node.messages.to_metrics import Observed
from spacedrive_node.messages.to_swarm import KadRequest
from spacedrive_node.tests.harness.simulated_dht import (
    FINDER,
    KEY,
    OWN,
    Behaviour,
    Server,
    SimulatedDht,
    addresses_of,
    peer,
)

TRUE = peer("the device that shows the code")


def network(seed: int, servers: int = 80, known: int = 3) -> SimulatedDht:
    net = SimulatedDht(seed, servers)
    net.store(TRUE)
    net.table = net.random.sample(list(net.servers), known)
    return net


def close_fakes(net: SimulatedDht, count: int) -> list[bytes]:
    """Peer ids that lie closer to the key than any real server: what a liar can grind."""
    limit = min(distance(KEY, server) for server in net.servers)
    fakes = (peer(("fake", net.random.random())) for _ in iter(int, 1))
    return [next(fake for fake in fakes if distance(KEY, fake) < limit) for _ in range(count)]


def found(net: SimulatedDht, seconds: float = 60.0) -> float:
    start = net.now
    net.swarm_comes_up()
    net.find()
    net.run(seconds, until=lambda: TRUE in net.candidates)
    assert TRUE in net.candidates
    return net.found_at[TRUE] - start


def test_distance_is_that_of_the_library() -> None:
    """XOR of the SHA-256 of key and peer id, so that all implementations agree on who is closest."""
    peers = [peer(n) for n in range(50)]
    theirs = [found.to_bytes() for found in sort_peer_ids_by_distance(KEY, [ID(p) for p in peers])]
    assert sorted(peers, key=lambda p: distance(KEY, p)) == theirs


@pytest.mark.parametrize("seed", range(10))
def test_healthy_network(seed: int) -> None:
    """Without faults the provider is there within a second of network time, and few requests are made."""
    net = network(seed)
    assert found(net) < 1.0
    net.run(3.0, until=lambda: any(isinstance(send.message, Observed) for _, send in net.sent))
    assert len(net.requests) < 100


@pytest.mark.parametrize("seed", range(10))
def test_a_third_dead_and_some_slow(seed: int) -> None:
    """Dead servers (2 s of silence) and slow ones (1.5 s) do not hold the lookup up one after the other."""
    net = network(seed, servers=100, known=5)
    servers = list(net.servers.values())
    for server in servers[:33]:
        server.behave = lambda request: None
    for server in servers[33:45]:
        server.behave = lambda request, table=server.table: (
            1.5,
            [addresses_of(p) for p in net.closest(KEY, table)],
            [],
        )
    assert found(net) < 5.0


@pytest.mark.parametrize("seed", range(6))
def test_liars_that_name_invented_neighbours(seed: int) -> None:
    """Servers that name 20 dead 'closest' peers cost time, and never the result."""
    net = network(seed, servers=60, known=6)
    fakes = close_fakes(net, 40)
    for server in list(net.servers.values())[:15]:
        server.behave = lambda request: (0.02, [addresses_of(p) for p in net.random.sample(fakes, 20)], [])
    assert found(net) < 30.0


@pytest.mark.parametrize("seed", range(1, 5))
def test_live_liars_that_name_each_other(seed: int) -> None:
    """Invented neighbours that answer, quicker and "closer" than honest ones, do not end the walk."""
    net = network(seed, servers=60, known=4)
    surround_with_liars(net, lambda ring: net.random.sample(ring, 20), 40)
    assert found(net) < 10.0


@pytest.mark.parametrize("seed", range(1, 5))
def test_live_liars_that_lead_ever_closer(seed: int) -> None:
    """Liars that always name someone closer than all before do not use up the budget of the honest."""
    net = network(seed, servers=60, known=4)
    step = iter(range(0, 10_000, 2))
    surround_with_liars(net, lambda ring: ring[-20 - next(step) % 300 :][:20][::-1], 320)
    assert found(net) < 10.0


def surround_with_liars(net: SimulatedDht, name: Callable[[list[bytes]], list[bytes]], count: int) -> None:
    """Make one of the servers that the lookup begins with a liar, and put a ring of others around the key.

    `name` chooses from the ring, which is in order of distance, whom a liar names.
    """
    closest = net.closest(KEY)
    net.table = [server for server in net.servers if server not in closest][:4]
    ring = sorted(close_fakes(net, count), key=lambda fake: distance(KEY, fake))

    def lie(request: KadRequest) -> Behaviour:
        return 0.001, [addresses_of(fake) for fake in name(ring)], []

    for fake in ring:
        net.servers[fake] = Server(fake, behave=lie)
    net.servers[net.table[0]].behave = lie


def test_requests_are_bounded_against_endless_neighbours() -> None:
    """A network that invents live neighbours for ever gets MAX_REQUESTS requests; then the round ends."""
    lookup = Lookup(KEY, OWN)
    lookup.add_seeds([addresses_of(peer(n)) for n in range(5)])
    now, asked, count = 0.0, [], 0
    while not lookup.finished:
        for server in lookup.poll(now, 1000):
            asked.append(server.peer)
            count += 1
            lookup.handle_answer(server.peer, [addresses_of(peer((count, n))) for n in range(40)])
        now += 0.01
    assert len(asked) == len(set(asked)) <= MAX_REQUESTS


def test_slow_servers_give_their_slots_up() -> None:
    """No more than ALPHA requests are fast at once; after half a second of silence others get their turn."""
    lookup = Lookup(KEY, OWN)
    lookup.add_seeds([addresses_of(peer(n)) for n in range(20)])
    assert len(lookup.poll(0.0, 1000)) == ALPHA
    assert lookup.poll(0.4, 1000) == []
    assert lookup.wake_at(0.4) == 0.5
    assert len(lookup.poll(0.5, 1000)) == ALPHA


def ask(lookup: Lookup, silent: list[bytes], count: int) -> list[bytes]:
    """Ask so many servers one after the other, of which all but the silent ones answer; return whom."""
    asked = []
    for _ in range(count):
        (server,) = lookup.poll(0.0, 1)
        asked.append(server.peer)
        if server.peer in silent:
            lookup.handle_failure(server.peer)
        else:
            lookup.handle_answer(server.peer, [])
    return asked


def led_to(*names: str) -> Lookup:
    """A lookup that one server has led to some others, which have been asked and have not answered."""
    lookup = Lookup(KEY, OWN)
    lookup.add_seeds([addresses_of(peer("seed"))])
    assert len(lookup.poll(0.0, 1)) == 1
    answer(lookup, "seed", [peer(name) for name in names])
    assert len(lookup.poll(0.0, len(names))) == len(names)
    return lookup


def answer(lookup: Lookup, name: str, named: list[bytes]) -> None:
    lookup.handle_answer(peer(name), [addresses_of(one) for one in named])


def by_distance(count: int) -> list[bytes]:
    return sorted(map(peer, range(count)), key=lambda one: distance(KEY, one))


def test_what_a_liar_names_waits_for_what_others_name() -> None:
    """Invented peers are "closer" than all others, and get every second request where they got each."""
    ordered = by_distance(16)
    fakes, real = ordered[:8], ordered[8:]
    lookup = led_to("liar", "honest")
    answer(lookup, "honest", real)
    answer(lookup, "liar", fakes)
    asked = ask(lookup, fakes, 12)
    assert len(set(asked) & set(real)) >= 5
    assert set(asked + ask(lookup, fakes, 4)) == set(ordered)  # nobody is left out


def test_to_name_who_has_answered_is_no_merit() -> None:
    """A liar gets no more requests for what it invents by naming those of whom all know that they answer."""
    ordered = by_distance(18)
    fakes, answered, real = ordered[:6], ordered[6:12], ordered[12:]
    lookup = led_to("liar", "honest", "another")
    answer(lookup, "another", answered)
    assert set(ask(lookup, [], len(answered))) == set(answered)
    answer(lookup, "honest", real)
    answer(lookup, "liar", answered + fakes)
    assert len(set(ask(lookup, fakes, 8)) & set(real)) >= 3


def test_a_liar_harms_nobody_by_naming_it() -> None:
    """A server that somebody else has named too is asked as if the liar had said nothing."""
    ordered = by_distance(12)
    fakes, real = ordered[:6], ordered[6:]
    lookup = led_to("liar", "honest")
    answer(lookup, "honest", real)
    answer(lookup, "liar", fakes + real)
    assert len(set(ask(lookup, fakes, 8)) & set(real)) >= 3


def test_wrong_addresses_first_do_not_lose_a_server() -> None:
    """A server named with a wrong address, which failed, is asked again when another names a good one."""
    lookup = Lookup(KEY, OWN)
    target = peer("target")
    lookup.add_seeds([addresses_of(peer(1)), addresses_of(target)])
    for server in lookup.poll(0.0, 10):
        if server.peer == target:
            lookup.handle_failure(target)
    assert not any(server.peer == target for server in lookup.poll(0.1, 10))
    other = type(addresses_of(target))(target, ("/ip4/198.51.100.7/tcp/7",))
    lookup.handle_answer(peer(1), [other])
    assert [server.addresses[-1] for server in lookup.poll(0.2, 10)] == ["/ip4/198.51.100.7/tcp/7"]


def test_the_own_peer_is_neither_asked_nor_a_candidate() -> None:
    """Servers that hold this node's own announcement do not make it a candidate of its own search."""
    net = network(1)
    net.store(OWN)
    found(net)
    net.run(5.0)
    assert OWN not in net.candidates
    assert all(request.peer != OWN for _, request in net.requests)


@pytest.mark.parametrize("seed", range(4))
def test_one_decoy_server_with_a_thousand_providers(seed: int) -> None:
    """A server close to the key with 64 new fakes each time neither hides the true device nor fills up."""
    net = network(seed, servers=60)
    decoy = net.servers[net.closest(KEY)[0]]
    honest_table = decoy.table

    def lie(request: KadRequest) -> Behaviour:
        fakes = [addresses_of(peer(("decoy", net.random.randrange(1000)))) for _ in range(64)]
        return 0.001, [addresses_of(p) for p in net.closest(KEY, honest_table)], fakes

    decoy.behave = lie
    net.table = [decoy.id, *net.table]
    assert found(net) < 2.0
    net.run(60.0)
    assert len(net.candidates) <= 33


def test_candidates_stay_within_the_limit_of_the_protocol() -> None:
    """One query hands over 128 candidates at most; eight lying servers do not hide the true one."""
    net = network(5, servers=60)
    for server in net.closest(KEY)[:8]:
        net.servers[server].behave = lambda request: (
            0.001,
            [],
            [addresses_of(peer(("decoy", net.random.random()))) for _ in range(64)],
        )
    assert found(net, 20.0) < 20.0
    net.run(60.0)
    assert len(net.candidates) <= 128


def test_rounds_go_on_until_withdrawn() -> None:
    """A device that announces itself after 20 s is found, and nothing is asked after the session ended."""
    net = SimulatedDht(2, 50)
    net.table = list(net.servers)[:3]
    net.swarm_comes_up()
    net.find()
    net.run(20.0)
    assert not net.candidates
    net.store(TRUE)
    net.run(6.0)
    assert TRUE in net.candidates
    net.take("supervisor", SessionEnded(FINDER.removeprefix("session-"), "joiner", "paired"))
    before = len(net.requests)
    net.run(30.0)
    assert len(net.requests) == before


def test_a_restart_of_the_swarm_begins_the_lookup_again() -> None:
    """Requests that died with the swarm are not waited for."""
    net = network(3)
    net.swarm_comes_up()
    net.find()
    net.run(0.02)
    net.swarm_restarts()
    net.run(1.0, until=lambda: TRUE in net.candidates)
    assert TRUE in net.candidates


def test_a_server_that_has_failed_and_then_connects_is_asked_again() -> None:
    """Once: it was away, not dead. One that has answered is not."""
    server = addresses_of(peer("away"))
    lookup = Lookup(KEY, OWN)
    lookup.add_seeds([server])
    for expected in ([server], [server], []):
        assert lookup.poll(0.0, 10) == expected
        lookup.handle_failure(server.peer)
        lookup.handle_joined(server)
    other = addresses_of(peer("there"))
    lookup.handle_joined(other)
    assert lookup.poll(0.0, 10) == [other]
    lookup.handle_answer(other.peer, [])
    lookup.handle_joined(other)
    assert lookup.poll(0.0, 10) == []
