"""Announcing in virtual time: to the closest servers, paced, repeated, and at once when a server joins."""

from itertools import pairwise

import pytest

from spacedrive_node.actors.discovery.announce import (
    REANNOUNCE_INTERVAL_SECONDS,
    RENEWAL_INTERVAL_SECONDS,
    SERVER_INTERVAL_SECONDS,
)
from spacedrive_node.actors.discovery.lookup import K
from spacedrive_node.messages.from_supervisor import SessionEnded
from spacedrive_node.messages.to_discovery import NetworkChanged, ServerJoined, StopProviding, SwarmUp
from spacedrive_node.messages.to_metrics import Observed
from spacedrive_node.messages.to_swarm import KadRequest
from spacedrive_node.tests.harness.simulated_dht import KEY, OWN, PROVIDER, SimulatedDht, addresses_of, peer


def adds(net: SimulatedDht) -> list[tuple[float, KadRequest]]:
    return [(when, request) for when, request in net.requests if request.op == "add_provider"]


def holders(net: SimulatedDht, key: bytes = KEY) -> set[bytes]:
    return {server.id for server in net.servers.values() if OWN in server.stored.get(key, {})}


def test_the_closest_servers_hold_the_key() -> None:
    """All of the 20 closest servers of a healthy network of 80 hold the announcement within two seconds."""
    net = SimulatedDht(1, 80)
    net.table = list(net.servers)[:3]
    net.swarm_comes_up()
    net.provide()
    net.run(2.0)
    assert holders(net) == set(net.closest(KEY))
    assert len(adds(net)) == 20


def test_dead_servers_do_not_delay_the_others() -> None:
    """With a third dead some servers hold the key within a second, and all when the dead are given up."""
    net = SimulatedDht(2, 60)
    for server in list(net.servers.values())[:20]:
        server.behave = lambda request: None
    net.table = list(net.servers)[15:25]
    net.swarm_comes_up()
    net.provide()
    net.run(1.0)
    assert len(holders(net)) >= 5
    net.run(6.0)
    living = [server for server, its in net.servers.items() if its.behave is None]
    assert set(net.closest(KEY, living)) <= holders(net)
    assert len(adds(net)) <= 3 * K


def test_a_server_that_joins_is_told_at_once() -> None:
    """Alone there is nobody to tell; the first server that joins is told within a second."""
    net = SimulatedDht(3, 1)
    net.swarm_comes_up()
    net.provide()
    net.run(100.0)
    assert not adds(net)
    [server] = net.servers
    net.table = [server]
    net.take("swarm", ServerJoined(addresses_of(server)))
    net.run(0.5)
    assert holders(net) == {server}


def test_a_server_that_comes_back_is_told_again() -> None:
    """A server that joins again may have lost its records, so that having been told does not count."""
    net = SimulatedDht(3, 1)
    [server] = net.servers
    net.table = [server]
    net.swarm_comes_up()
    net.provide()
    net.run(5.0)
    net.servers[server].stored.clear()
    net.take("swarm", ServerJoined(addresses_of(server)))
    net.run(2.0)
    assert holders(net) == {server}


def test_one_server_gets_one_announcement_a_second() -> None:
    """Fourteen keys at one server take fourteen seconds, and all of them arrive."""
    net = SimulatedDht(4, 1)
    [server] = net.servers
    net.table = [server]
    net.swarm_comes_up()
    keys = [b"\x12\x20" + bytes([n]) * 32 for n in range(14)]
    for number, key in enumerate(keys):
        net.provide(key, f"session-{number:016x}")
    net.run(20.0)
    assert all(holders(net, key) for key in keys)
    times = [when for when, _ in adds(net)]
    assert all(later - former >= SERVER_INTERVAL_SECONDS - 1e-6 for former, later in pairwise(times))


def test_other_addresses_are_announced_while_dead_servers_are_tried() -> None:
    """The relay and DHT server through which this node was reached is dead; a moment later it has another."""
    net = SimulatedDht(6, 3)
    net.table = list(net.servers)
    net.swarm_comes_up()
    net.provide()
    net.run(3.0)
    alive, *dead = net.servers
    for server in dead:
        net.servers[server].behave = lambda request: None
    for number in (1, 2):
        before = len([one for _when, one in adds(net) if one.peer == alive])
        net.take("swarm", SwarmUp(OWN, (f"/ip4/45.77.1.{number}/tcp/1",), (), is_update=True))
        net.run(2 * SERVER_INTERVAL_SECONDS)
        assert len([one for _when, one in adds(net) if one.peer == alive]) == before + 1


def test_refusals_are_tried_again_and_bounded() -> None:
    """A server that refuses is asked three times in a round, then left alone until the next round."""
    net = SimulatedDht(5, 1)
    [server] = net.servers.values()
    server.behave = lambda request: None if request.op == "add_provider" else (0.01, [], [])
    net.table = [server.id]
    net.swarm_comes_up()
    net.provide()
    net.run(12.0)
    assert len(adds(net)) == 3
    net.run(20.0)
    assert len(adds(net)) > 3


@pytest.mark.parametrize("away", range(100, 130, 3))
@pytest.mark.parametrize("is_told", [True, False], ids=["told", "untold"])
def test_after_a_dead_line_a_code_is_announced_in_seconds(away: float, is_told: bool) -> None:
    """Whatever pauses there were meanwhile, and whether or not anybody says that the line is back."""
    net = SimulatedDht(14, 30)
    net.table = list(net.servers)[:5]
    net.swarm_comes_up()
    for server in net.servers.values():
        server.behave = lambda request: None
    net.provide()
    net.run(away)
    for server in net.servers.values():
        server.behave = None
    if is_told:
        net.take("swarm", NetworkChanged())
    net.run(4.0 if is_told else 8.0)
    assert holders(net)


def walks(net: SimulatedDht) -> int:
    return sum(request.op == "find_node" for _, request in net.requests)


def test_it_is_renewed_every_minute_and_looked_up_every_ten() -> None:
    """The same twenty servers are told again, without a lookup; after ten minutes with one."""
    net = SimulatedDht(6, 30)
    net.table = list(net.servers)[:5]
    net.swarm_comes_up()
    net.provide()
    net.run(RENEWAL_INTERVAL_SECONDS - 5)
    assert len(adds(net)) == 20
    walked = walks(net)
    for minute in range(2, 10):
        net.run(RENEWAL_INTERVAL_SECONDS)
        assert len(adds(net)) == 20 * minute
    assert {request.peer for _, request in adds(net)} == set(net.closest(KEY))
    assert walks(net) == walked
    net.run(REANNOUNCE_INTERVAL_SECONDS - 8 * RENEWAL_INTERVAL_SECONDS)
    assert walked < walks(net) <= 2 * walked


def test_addresses_that_change_in_a_round_are_announced_at_once() -> None:
    """Servers that were sent the former ones, and have not answered yet, get the new ones afterwards."""
    net = SimulatedDht(6, 30)
    net.table = list(net.servers)[:5]
    net.swarm_comes_up()
    net.provide()
    net.run(10.0, lambda: len(adds(net)) == 20)
    net.take("swarm", SwarmUp(OWN, ("/ip4/192.0.2.10/tcp/1",), (), is_update=True))
    net.run(RENEWAL_INTERVAL_SECONDS / 2)
    assert len(adds(net)) == 40


def test_a_lost_record_comes_back_within_a_minute() -> None:
    """Of servers that were restarted, or flooded until it was pushed out: long before the code ends."""
    net = SimulatedDht(6, 30)
    net.table = list(net.servers)[:5]
    net.swarm_comes_up()
    net.provide()
    net.run(10.0)
    for _ in range(4):
        for server in net.servers.values():
            server.stored.clear()
        assert not holders(net)
        net.run(RENEWAL_INTERVAL_SECONDS + 5)
        assert holders(net) == set(net.closest(KEY))


def test_a_server_that_goes_is_replaced() -> None:
    """When a renewal fails, the next round looks up, and the servers that are now closest hold the key."""
    net = SimulatedDht(6, 40)
    net.table = list(net.servers)[:5]
    net.swarm_comes_up()
    net.provide()
    net.run(10.0)
    for gone in net.closest(KEY)[:5]:
        net.servers[gone].behave = lambda _request: None
        net.servers[gone].stored.clear()
    net.run(2 * RENEWAL_INTERVAL_SECONDS + 30)
    living = [server for server, its in net.servers.items() if its.behave is None]
    assert set(net.closest(KEY, living)) <= holders(net)


def test_renewals_keep_to_the_pace_of_a_server() -> None:
    """A hundred codes at one server: one announcement a second at most, and new ones go first."""
    net = SimulatedDht(4, 1)
    [server] = net.servers
    net.table = [server]
    net.swarm_comes_up()
    keys = [b"\x12\x20" + bytes([number]) * 32 for number in range(100)]
    for number, key in enumerate(keys):
        net.provide(key, f"session-{number:016x}")
    net.run(200.0)
    assert all(holders(net, key) for key in keys)
    late = b"\x12\x20" + b"late".ljust(32)
    net.provide(late, f"session-{100:016x}")
    net.run(5.0)
    assert holders(net, late)
    times = [when for when, _ in adds(net)]
    assert all(later - former >= SERVER_INTERVAL_SECONDS - 1e-6 for former, later in pairwise(times))


def test_withdrawing() -> None:
    """After StopProviding, or the end of the session, nothing more is announced."""
    for end in (
        (PROVIDER, StopProviding()),
        ("supervisor", SessionEnded(PROVIDER[8:], "initiator", "expired")),
    ):
        net = SimulatedDht(7, 30)
        net.table = list(net.servers)[:5]
        net.swarm_comes_up()
        net.provide()
        net.run(0.05)
        net.take(*end)
        before = len(net.requests)
        net.run(REANNOUNCE_INTERVAL_SECONDS * 2)
        assert len(net.requests) == before


def test_a_restart_of_the_swarm_announces_again() -> None:
    """The announcement goes out again although its requests were lost with the swarm."""
    net = SimulatedDht(8, 30)
    net.table = list(net.servers)[:5]
    net.swarm_comes_up()
    net.provide()
    net.run(0.15)
    net.swarm_restarts()
    net.swarm_comes_up()
    net.run(5.0)
    assert holders(net) == set(net.closest(KEY))


@pytest.mark.parametrize("after", [0.15, 0.2, 5.0], ids=["while it is sent", "then", "later"])
def test_new_addresses_are_announced_at_once(after: float) -> None:
    """To every server that has the key or was being sent it; the search for servers does not begin again."""
    net = SimulatedDht(11, 30)
    net.table = list(net.servers)[:5]
    net.swarm_comes_up()
    net.provide()
    net.run(after)
    changed_at, lookups = net.now, walks(net)
    net.take("swarm", SwarmUp(OWN, ("/ip4/192.0.2.99/tcp/1",), ("/ip4/127.0.0.1/tcp/1",)))
    net.run(5.0)
    told = {request.peer for when, request in adds(net) if when >= changed_at}
    assert told == holders(net) == set(net.closest(KEY))
    if after == 5.0:
        assert walks(net) == lookups
    before = len(adds(net))
    net.take("swarm", SwarmUp(OWN, ("/ip4/192.0.2.99/tcp/1",), ("/ip4/127.0.0.1/tcp/1",)))
    net.run(5.0)
    assert len(adds(net)) == before


def test_outcomes_are_measured() -> None:
    """dht_query_seconds tells apart an announcement that was stored and one that nobody took."""
    net = SimulatedDht(9, 20)
    net.swarm_comes_up()
    net.provide()
    net.run(3.0)
    net.table = list(net.servers)
    net.take("swarm", ServerJoined(addresses_of(net.table[0])))
    net.run(40.0)
    last = [send.message for _, send in net.sent if isinstance(send.message, Observed)][-1]
    labels = {distribution.labels for distribution in last.distributions}
    assert {("announce", "stored"), ("announce", "failed")} <= labels


def test_the_own_peer_is_never_told() -> None:
    """A routing table that names this node itself does not make it send requests to itself."""
    net = SimulatedDht(10, 5)
    net.table = [*net.servers, OWN]
    net.swarm_comes_up()
    net.provide()
    net.run(5.0)
    assert holders(net) == set(net.servers)
    assert all(request.peer != OWN for _, request in net.requests)
    assert peer("own") == OWN
