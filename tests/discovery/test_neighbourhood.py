"""A DHT server looks itself up, and keys far from it, so that all servers are one network."""

import math
from itertools import pairwise

import pytest

from spacedrive_node.actors.discovery.lookup import K, distance
from spacedrive_node.actors.discovery.neighbourhood import MAX_PARTS, far_keys
from spacedrive_node.actors.discovery.pending_requests import MAX_PENDING_REQUESTS
from spacedrive_node.messages.from_supervisor import ActorRestarted
from spacedrive_node.messages.to_discovery import NetworkChanged, ServerJoined, ServerLost, SwarmUp
from spacedrive_node.messages.to_swarm import ClosestServers
from spacedrive_node.tests.harness.simulated_dht import OWN, SimulatedDht, addresses_of, peer

OWN_ADDRESSES = ("/ip4/192.0.2.9/tcp/1",)
DOOR = peer((21, 0))


def server_starts(servers: int, *, serves_dht: bool = True, is_known: bool = True) -> SimulatedDht:
    """A node in a network of so many servers, of which it knows one at most."""
    net = SimulatedDht(21, servers, bootstrap=(addresses_of(DOOR),), same_host=False)
    net.take("swarm", SwarmUp(OWN, OWN_ADDRESSES, (), serves_dht=serves_dht))
    if is_known:
        know_door(net)
    return net


def know_door(net: SimulatedDht) -> None:
    net.table = [DOOR]
    net.take("swarm", ServerJoined(addresses_of(DOOR)))


def lookups(net: SimulatedDht) -> list[tuple[float, int]]:
    """When each lookup began, in order, and how many bits its key shares with the own peer id (256: that)."""
    found: dict[bytes, float] = {}
    order = []
    for when, one in net.to_swarm(ClosestServers):
        first = next((at for at, request in net.requests if request.key == one.key and at >= when), math.inf)
        if first - when < 0.1 and found.get(one.key, -math.inf) < first - 1.0:
            found[one.key] = first
            order.append((when, 256 - distance(OWN, one.key).bit_length()))
    return order


def asked(net: SimulatedDht) -> set[bytes]:
    """Who was asked for the own peer id."""
    return {request.peer for _, request in net.requests if request.key == OWN}


@pytest.mark.parametrize("servers", [2, 20, 100])
def test_a_new_server_asks_all_servers_closest_to_it(servers: int) -> None:
    """So each is connected with it, and has entered it. It does not ask the whole network."""
    net = server_starts(servers)
    net.run(5.0)
    assert set(net.closest(OWN)) <= asked(net)
    assert len(asked(net)) <= 3 * K


def test_rounds_come_soon_and_then_every_ten_minutes() -> None:
    """Two that start together may both ask before either is known. A small network has no other part."""
    net = server_starts(19)
    net.run(3600.0)
    at = [when for when, bits in lookups(net) if bits == 256]
    assert [round(later - former, -1) for former, later in pairwise(at)] == [10, 60, 600, 600, 600, 600, 600]
    assert len(at) == len(lookups(net))


def test_each_part_of_a_large_network_is_looked_up() -> None:
    """All of them in the second round, one in each later one, so that in the end each was looked up again."""
    net = server_starts(300)
    net.run(3600.0)
    bits = [bits for _when, bits in lookups(net)]
    parts = max(one for one in bits if one < 256) + 1
    assert parts >= 3
    early = [256, 256, *range(parts)]
    assert bits[: len(early)] == early
    later = bits[len(early) :]
    assert later[::2] == [256] * len(later[::2])
    assert set(later[1::2]) == set(range(parts))


def test_keys_of_parts_lie_beyond_the_closest_and_change() -> None:
    """Each is of the form that other implementations want of a key."""
    servers = [addresses_of(peer(number)) for number in range(5000)]
    closest = sorted(servers, key=lambda one: distance(OWN, one.peer))[:K]
    first, second = (far_keys(OWN, closest, number) for number in (1, 2))
    assert 5 <= len(first) <= MAX_PARTS
    for keys in (first, second):
        assert [256 - distance(OWN, key).bit_length() for key in keys] == list(range(len(first)))
        assert all(len(key) == 34 and key[:2] == b"\x12\x20" for key in keys)
    assert not set(first) & set(second)
    assert far_keys(OWN, closest[: K - 1], 1) == []


def test_a_client_asks_nobody() -> None:
    """No table has it, and nobody has to know it."""
    net = server_starts(20, serves_dht=False)
    net.run(3600.0)
    assert not asked(net)


def test_a_client_that_becomes_a_server_looks_at_once() -> None:
    """And no more when it has become a client again."""
    net = server_starts(20, serves_dht=False)
    net.run(100.0)
    net.take("swarm", SwarmUp(OWN, OWN_ADDRESSES, (), serves_dht=True, is_update=True))
    net.run(5.0)
    assert set(net.closest(OWN)) <= asked(net)
    net.take("swarm", SwarmUp(OWN, OWN_ADDRESSES, (), serves_dht=False, is_update=True))
    before = len(net.requests)
    net.run(3600.0)
    assert len(net.requests) == before


def test_alone_it_waits_for_the_first_server() -> None:
    """Until then there is nobody to ask."""
    net = server_starts(20, is_known=False)
    net.run(100.0)
    assert not asked(net)
    know_door(net)
    net.run(5.0)
    assert set(net.closest(OWN)) <= asked(net)


@pytest.mark.parametrize("what", ["swarm restarts", "network changes", "discovery restarts", "line was dead"])
def test_it_begins_anew(what: str) -> None:
    """Connections are gone, or the actor that had the state."""
    net = server_starts(20)
    net.run(1000.0)
    net.requests.clear()
    begin = net.now
    match what:
        case "swarm restarts":
            net.swarm_restarts()
            net.take("swarm", SwarmUp(OWN, OWN_ADDRESSES, (), serves_dht=True))
        case "network changes":
            net.take("swarm", NetworkChanged())
        case "line was dead":  # which tells nobody: its servers are lost, and one is there again
            net.take("swarm", ServerLost(DOOR))
            net.run(30.0)
            net.requests.clear()
            begin = net.now
            know_door(net)
        case "discovery restarts":  # its standing messages come again, and no server joins
            net = SimulatedDht(21, 20, bootstrap=(addresses_of(DOOR),), same_host=False)
            net.table = [DOOR]
            begin = net.now
            net.take("swarm", SwarmUp(OWN, OWN_ADDRESSES, (), serves_dht=True))
    net.run(5.0)
    assert set(net.closest(OWN)) <= asked(net)
    assert min(when for when, request in net.requests if request.key == OWN) - begin < 1.0


def test_a_lookup_that_a_restart_cuts_off_leaves_no_request() -> None:
    """And the next one ends."""
    net = server_starts(100)
    for _ in range(20):
        net.run(0.05)
        net.take("supervisor", ActorRestarted("swarm"))
        net.take("swarm", SwarmUp(OWN, OWN_ADDRESSES, (), serves_dht=True))
        net.take("swarm", ServerJoined(addresses_of(DOOR)))
    net.run(20.0)
    assert set(net.closest(OWN)) <= asked(net)
    assert net.core._context.requests.room == MAX_PENDING_REQUESTS


def test_it_works_with_servers_that_are_dead() -> None:
    """A fifth of them, which is asked in vain."""
    net = server_starts(100)
    dead = set(list(net.servers)[1::5])
    for one in dead:
        net.servers[one].behave = lambda _request: None
    net.run(20.0)
    alive = [one for one in net.servers if one not in dead]
    assert set(net.closest(OWN, alive)) <= asked(net)
