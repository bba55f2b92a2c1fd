"""What discovery makes of hints, of nodes on this host, of two nodes alone, and of the bootstrap peers."""

from typing import Any

import pytest

from spacedrive_node.actors.discovery.candidates import (
    MAX_CANDIDATES,
    MAX_LAN_SOURCES,
    MAX_QUICK_UPDATES,
    SLOW_UPDATE_SECONDS,
    Candidates,
)
from spacedrive_node.actors.discovery.core import Discovery
from spacedrive_node.actors.discovery.pending_requests import MAX_PENDING_REQUESTS
from spacedrive_node.actors.discovery.search import HEAD_START_SECONDS
from spacedrive_node.messages.actor_configs import DiscoveryConfig
from spacedrive_node.messages.to_discovery import (
    Find,
    KadReply,
    LanPeer,
    ServerJoined,
    Servers,
    StartProviding,
    StopFinding,
    StopProviding,
    SwarmUp,
)
from spacedrive_node.messages.to_gateway import Readiness
from spacedrive_node.messages.to_lan import Announce, Browse, StopAnnouncing, StopBrowsing
from spacedrive_node.messages.to_metrics import Observed
from spacedrive_node.messages.to_session import CandidateFound
from spacedrive_node.messages.to_swarm import Bootstrap, ClosestServers, KadRequest
from spacedrive_node.messages.types import PeerAddresses
from spacedrive_node.tests.harness.simulated_dht import (
    FINDER,
    INSTANCE,
    KEY,
    OWN,
    SimulatedDht,
    addresses_of,
    peer,
)

TRUE = peer("the device that shows the code")


def test_two_nodes_alone() -> None:
    """The only server is the device itself: it is asked, names itself, and is the candidate."""
    net = SimulatedDht(1, 0)
    net.servers[TRUE] = type(_server())(TRUE)
    net.servers[TRUE].stored[KEY] = {TRUE: addresses_of(TRUE)}
    net.swarm_comes_up()
    net.find()
    net.run(1.0)
    assert not net.candidates
    net.table = [TRUE]
    net.take("swarm", ServerJoined(addresses_of(TRUE)))
    net.run(0.5)
    assert net.candidates[TRUE] == CandidateFound(TRUE, addresses_of(TRUE).addresses, ("dht",))


def test_who_has_announced_itself_to_this_node_is_a_candidate() -> None:
    """A device that no DHT server knows, because this node is its only one."""
    core = Discovery(DiscoveryConfig(runtime_dir="/nowhere"), 1)
    core.handle("swarm", SwarmUp(OWN, (), ()), 0.0)
    core.handle(FINDER, Find(KEY, INSTANCE), 0.0)
    numbers = [send.message.request for send in core.poll(0.0) if isinstance(send.message, ClosestServers)]
    for number in numbers:
        core.handle("swarm", Servers(number, (), (addresses_of(TRUE),)), 0.1)
    found = [send.message for send in core.poll(0.1) if isinstance(send.message, CandidateFound)]
    assert [(one.peer, one.finders) for one in found] == [(TRUE, ("dht",))]


def test_other_addresses_of_this_node_are_announced_at_once_and_no_search_begins_anew() -> None:
    """The swarm found out that it is reachable: those who hold an announcement get another one."""
    net = SimulatedDht(1, 20)
    net.table = list(net.servers)
    net.swarm_comes_up()
    net.provide()
    net.find()
    net.run(10.0)
    before = len([one for _at, one in net.requests if one.op == "add_provider"])
    lookups = len([send for _at, send in net.sent if isinstance(send.message, ClosestServers)])
    net.take("swarm", SwarmUp(OWN, ("/ip4/45.77.1.1/tcp/1",), (), is_update=True))
    net.run(0.2)
    assert len([one for _at, one in net.requests if one.op == "add_provider"]) >= before + 15
    assert len([send for _at, send in net.sent if isinstance(send.message, ClosestServers)]) == lookups


def _server() -> Any:
    return next(iter(SimulatedDht(1, 1).servers.values()))


def test_hints_and_nodes_of_this_host_come_at_once() -> None:
    """They are candidates before anybody has answered anything, merged by peer."""
    net = SimulatedDht(1, 0)
    hinted = PeerAddresses(TRUE, ("/ip4/198.51.100.1/tcp/1",))
    net.find(hints=(hinted,))
    assert not net.candidates
    net.swarm_comes_up()
    assert net.candidates[TRUE].finders == ("hint",)
    net.core.set_same_host((addresses_of(TRUE), addresses_of(peer("other")), addresses_of(OWN)), net.now)
    net.poll()
    assert net.candidates[TRUE].finders == ("hint", "same_host")
    assert net.candidates[TRUE].addresses == (*hinted.addresses, *addresses_of(TRUE).addresses)
    assert set(net.candidates) == {TRUE, peer("other")}


def test_a_later_find_gets_the_nodes_of_this_host_too() -> None:
    """What is known already is handed over when the search begins."""
    net = SimulatedDht(1, 0)
    net.swarm_comes_up()
    net.core.set_same_host((addresses_of(TRUE),), net.now)
    net.poll()
    net.find()
    assert net.candidates[TRUE].finders == ("same_host",)


@pytest.mark.parametrize("known_by", [None, "hint", "same_host"])
def test_what_is_known_already_has_a_head_start(known_by: str | None) -> None:
    """A hint or a node of this host is most likely the device: the servers are asked if it is not."""
    net = SimulatedDht(1, 5)
    net.store(TRUE)
    net.table = list(net.servers)
    net.swarm_comes_up()
    known = (addresses_of(peer("known")),)
    if known_by == "same_host":
        net.core.set_same_host(known, net.now)
        net.poll()
    began = net.now
    net.find(hints=known if known_by == "hint" else ())
    net.run(2.0)
    first = min(when for when, message in net.to_swarm(KadRequest) if message.op == "get_providers")
    assert first - began == pytest.approx(HEAD_START_SECONDS if known_by else 0.0, abs=0.05)
    assert net.candidates[TRUE].finders == ("dht",)


def test_nodes_of_this_host_are_servers_and_bootstrap_peers() -> None:
    """A code is looked up at them though the routing table is empty, and the swarm is to connect to them."""
    net = SimulatedDht(1, 3)
    first = next(iter(net.servers))
    net.store(TRUE)
    net.swarm_comes_up()
    net.find()
    net.core.set_same_host((addresses_of(first),), net.now)
    net.poll()
    net.run(2.0)
    assert net.candidates[TRUE].finders == ("dht",)
    assert Bootstrap(first, addresses_of(first).addresses) in [
        message for _, message in net.to_swarm(Bootstrap)
    ]


def test_bootstrap_is_repeated_until_a_server_is_known() -> None:
    """Bootstrap peers are offered with a growing pause while the routing table is empty, and then rarely."""
    first = peer("bootstrap")
    net = SimulatedDht(1, 0, bootstrap=(addresses_of(first),))
    net.swarm_comes_up()
    net.run(30.0)
    eager = len(net.to_swarm(Bootstrap))
    assert 4 <= eager <= 9
    net.table = [first]
    net.take("swarm", ServerJoined(addresses_of(first)))
    net.run(600.0)
    assert len(net.to_swarm(Bootstrap)) - eager <= 12


def test_readiness() -> None:
    """Not ready until a server is known, ready then, not ready again when the table has run empty."""
    first = peer("bootstrap")
    net = SimulatedDht(1, 0, bootstrap=(addresses_of(first),))
    net.swarm_comes_up()
    net.run(5.0)
    net.table = [first]
    net.take("swarm", ServerJoined(addresses_of(first)))
    net.run(5.0)
    net.table = []
    net.run(120.0)
    said = [send for _, send in net.sent if isinstance(send.message, Readiness)]
    assert {send.to for send in said} == {"gateway", "metrics"}
    ready = [send.message.ready for send in said if send.to == "gateway"]
    assert ready[0] is False
    assert ready[-2:] == [True, False]


def test_without_bootstrap_peers_the_dht_is_not_missed() -> None:
    """A node that only looks on its own host is ready."""
    net = SimulatedDht(1, 0)
    net.poll()
    assert [send.message.ready for _, send in net.sent if isinstance(send.message, Readiness)] == [True, True]


def test_bootstrap_peers_are_asked_when_the_table_is_empty() -> None:
    """A lookup begins with the configured peers while the swarm has no server yet."""
    net = SimulatedDht(1, 5)
    net.store(TRUE)
    first = next(iter(net.servers))
    net = _with_bootstrap(net, first)
    net.swarm_comes_up()
    net.find()
    net.run(1.0)
    assert TRUE in net.candidates


def _with_bootstrap(net: SimulatedDht, first: bytes) -> SimulatedDht:
    net.core = Discovery(DiscoveryConfig(runtime_dir="/nowhere", bootstrap=(addresses_of(first),)), 1)
    return net


def test_the_servers_that_a_search_has_asked_are_no_reason_to_search_again() -> None:
    """In a large DHT each is a new connection, for which another gave way, and joins after identify."""
    net = SimulatedDht(1, 60)
    net.table = list(net.servers)
    net.swarm_comes_up()
    net.find()
    for _ in range(60):
        begun = len(net.to_swarm(ClosestServers))
        net.run(10.0, lambda begun=begun: len(net.to_swarm(ClosestServers)) > begun)
        net.run(10.0, lambda: net.core._searches[FINDER]._lookup is None)
        for _when, asked in net.to_swarm(KadRequest)[-5:]:
            net.take("swarm", ServerJoined(addresses_of(asked.peer)))
    assert net.now - 1000.0 > 200.0
    begun = len(net.to_swarm(ClosestServers))
    net.take("swarm", ServerJoined(addresses_of(peer("another"))))
    net.run(0.5)
    assert len(net.to_swarm(ClosestServers)) > begun


def test_a_hint_that_names_this_node_is_looked_at_whatever_else_is_entered() -> None:
    """Also when another code is entered at the same moment, or both waited for the swarm."""
    own = PeerAddresses(OWN, ("/ip4/198.51.100.1/tcp/1",))
    core = Discovery(DiscoveryConfig(runtime_dir="/nowhere"), 1)
    core.handle(FINDER, Find(KEY, INSTANCE, (own,)), 0.0)
    core.handle(SECOND, Find(KEY, INSTANCE), 0.0)
    core.handle("swarm", SwarmUp(OWN, (), ()), 0.0)
    assert [send.message for send in core.poll(0.0)].count(Bootstrap(OWN, own.addresses)) == 1


def test_open_requests_are_bounded() -> None:
    """A hundred searches at once never have more requests pending than the swarm's queue holds."""
    core = Discovery(DiscoveryConfig(runtime_dir="/nowhere"), 1)
    core.handle("swarm", SwarmUp(OWN, (), ()), 0.0)
    for number in range(100):
        core.handle(f"session-{number:016x}", Find(bytes([number]) * 34, INSTANCE), 0.0)
    core.set_same_host(tuple(addresses_of(peer(n)) for n in range(30)), 0.0)
    opened = [send for send in core.poll(0.0) if isinstance(send.message, KadRequest | ClosestServers)]
    assert len(opened) == MAX_PENDING_REQUESTS
    assert core.wake_at() > 0.0


def test_many_searches_and_announcements_at_once() -> None:
    """Forty searches and forty announcements share the requests there are, and none of them starves."""
    net = SimulatedDht(1, 60)
    net.table = list(net.servers)[:5]
    net.swarm_comes_up()
    keys = [b"\x12\x20" + bytes([n]) * 32 for n in range(80)]
    for number, key in enumerate(keys[:40]):
        for server in net.closest(key):
            net.servers[server].stored[key] = {TRUE: addresses_of(TRUE)}
        net.take(f"session-{number:016x}", Find(key, INSTANCE))
    for number, key in enumerate(keys[40:], 40):
        net.provide(key, f"session-{number:016x}")
    net.run(60.0)
    satisfied = {send.to for _, send in net.sent if isinstance(send.message, CandidateFound)}
    assert len(satisfied) == 40
    for key in keys[40:]:
        assert sum(OWN in server.stored.get(key, {}) for server in net.servers.values()) >= 15


def test_request_ids_of_two_incarnations_differ() -> None:
    """An answer to a request of the process before this one is not taken for one of this one's."""
    core = Discovery(DiscoveryConfig(runtime_dir="/nowhere"), 7)
    core.handle("swarm", SwarmUp(OWN, (), ()), 0.0)
    core.handle(FINDER, Find(KEY, INSTANCE), 0.0)
    ids = [send.message.request for send in core.poll(0.0) if isinstance(send.message, ClosestServers)]
    assert [number >> 32 for number in ids] == [7, 7]
    core.handle("swarm", Servers(ids[0] - (1 << 32), (addresses_of(TRUE),)), 0.0)
    core.handle("swarm", KadReply(ids[0] + 999), 0.0)
    assert not [send for send in core.poll(0.0) if isinstance(send.message, KadRequest)]


def test_the_first_candidate_of_each_finder_is_measured() -> None:
    """discovery_first_candidate_seconds has one label, the finder."""
    net = SimulatedDht(1, 5)
    net.store(TRUE)
    net.table = list(net.servers)
    net.swarm_comes_up()
    net.find(hints=(addresses_of(peer("hinted")),))
    net.run(3.0)
    last = [send.message for _, send in net.sent if isinstance(send.message, Observed)][-1]
    counted = {(found.name, found.labels): sum(found.counts) for found in last.distributions}
    assert counted["discovery_first_candidate_seconds", ("hint",)] == 1
    assert counted["discovery_first_candidate_seconds", ("dht",)] == 1
    assert counted["dht_query_seconds", ("find_providers", "found")] >= 1


def test_stop_finding() -> None:
    """After StopFinding nothing more is asked and no candidate comes."""
    net = SimulatedDht(1, 5)
    net.table = list(net.servers)
    net.swarm_comes_up()
    net.find()
    net.run(0.01)
    net.take(FINDER, StopFinding())
    before = len(net.requests)
    net.store(TRUE)
    net.run(20.0)
    assert len(net.requests) == before
    assert not net.candidates


def test_addresses_of_a_liar_do_not_push_out_good_ones() -> None:
    """Twenty servers that name the true device with wrong addresses leave room for the honest server's."""
    candidates = Candidates(OWN)
    for liar in range(19):
        wrong = tuple(f"/ip4/203.0.113.{liar}/tcp/{n}" for n in range(1, 31))
        candidates.offer("dht", peer(liar), [PeerAddresses(TRUE, wrong)])
    candidates.offer("dht", peer("honest"), [addresses_of(TRUE)])
    candidates.offer("same_host", b"", [PeerAddresses(TRUE, ("/ip4/127.0.0.1/tcp/9",))])
    candidates.offer("dht", TRUE, [PeerAddresses(TRUE, ("/ip4/192.0.2.77/tcp/9",))])
    [candidate] = candidates.pop_changed(0.0)
    assert {*addresses_of(TRUE).addresses, "/ip4/127.0.0.1/tcp/9", "/ip4/192.0.2.77/tcp/9"} <= set(
        candidate.addresses
    )
    assert len(candidate.addresses) == 32
    assert candidates.pop_changed(0.0) == []


def addresses_in(network: int) -> tuple[str, ...]:
    """Two of its own, and two of each of two relays."""
    own = tuple(f"/ip4/198.51.{network}.1/tcp/{port}" for port in (1, 2))
    return own + tuple(f"/ip4/203.0.113.{network}/tcp/{port}" for port in range(1, 5))


def test_a_device_that_is_elsewhere_by_now_is_known_there() -> None:
    """Network after network, by the same servers: they name its addresses now, and those before are old."""
    net = SimulatedDht(1, 20)
    net.table = list(net.servers)
    net.swarm_comes_up()
    net.find()
    for network in range(30):
        for server in net.servers.values():
            server.stored[KEY] = {TRUE: PeerAddresses(TRUE, addresses_in(network))}
        net.run(15.0)
        assert set(addresses_in(network)) <= set(net.candidates[TRUE].addresses)


def test_a_liar_with_ever_new_addresses_does_not_hide_the_true_ones() -> None:
    """Nor is the session told of them without end."""
    candidates = Candidates(OWN)
    told = 0
    for round_number in range(1000):
        wrong = tuple(f"/ip4/203.0.113.1/tcp/{1 + 8 * round_number + n}" for n in range(8))
        candidates.offer("dht", peer("liar"), [PeerAddresses(TRUE, wrong)])
        told += len(candidates.pop_changed(round_number / 10))
    assert told <= 1 + MAX_QUICK_UPDATES + 100.0 / SLOW_UPDATE_SECONDS
    candidates.offer("dht", peer("honest"), [addresses_of(TRUE)])
    [candidate] = candidates.pop_changed(100.0 + SLOW_UPDATE_SECONDS)
    assert set(addresses_of(TRUE).addresses) <= set(candidate.addresses)
    assert candidates.pop_changed(200.0) == []
    assert len(candidates._found[TRUE].known) <= 16


LISTENING = ("/ip4/0.0.0.0/tcp/7520",)
UP = SwarmUp(OWN, ("/ip4/192.0.2.9/tcp/7520",), (), LISTENING)
OTHER = "f" * 16
PROVIDER, SECOND = "session-" + "1" * 16, "session-" + "2" * 16


def to_lan(core: Discovery, now: float = 0.0) -> list[object]:
    """What is sent to lan; the slot of each message is its instance."""
    sends = [send for send in core.poll(now) if send.to == "lan"]
    assert all(send.slot == send.message.instance.encode() for send in sends)  # type: ignore[attr-defined]
    return [send.message for send in sends]


def discovery(*, mdns: bool = True) -> Discovery:
    return Discovery(DiscoveryConfig(runtime_dir="/nowhere", mdns=mdns), 1)


def test_lan_announces_the_codes_that_are_shown() -> None:
    """Once the swarm listens, with what it listens on; while any session shows that code."""
    core = discovery()
    core.handle(PROVIDER, StartProviding(KEY, INSTANCE), 0.0)
    core.handle(SECOND, StartProviding(KEY, INSTANCE), 0.0)
    assert to_lan(core) == []
    core.handle("swarm", UP, 0.0)
    assert to_lan(core) == [Announce(INSTANCE, OWN, LISTENING)]
    core.handle("swarm", UP, 0.0)
    assert to_lan(core) == []
    core.handle("swarm", SwarmUp(OWN, (), (), ("/ip6/::/tcp/1",)), 0.0)
    assert to_lan(core) == [Announce(INSTANCE, OWN, ("/ip6/::/tcp/1",))]
    core.handle(PROVIDER, StopProviding(), 0.0)
    assert to_lan(core) == []
    core.handle(SECOND, StopProviding(), 0.0)
    assert to_lan(core) == [StopAnnouncing(INSTANCE)]


def test_lan_looks_for_the_codes_that_were_entered() -> None:
    """Anew for each session, so that the second gets what the first was given; until the last stops.

    Not before the swarm is up: what was found would be lost, because there is no search yet.
    """
    core = discovery()
    core.handle(FINDER, Find(KEY, INSTANCE), 0.0)
    assert to_lan(core) == []
    core.handle("swarm", UP, 0.0)
    assert to_lan(core) == [Browse(INSTANCE)]
    core.handle(SECOND, Find(KEY, INSTANCE), 0.0)
    assert to_lan(core) == [Browse(INSTANCE)]
    core.handle(SECOND, Find(KEY, OTHER), 0.0)
    assert to_lan(core) == [Browse(OTHER)]
    core.handle(FINDER, StopFinding(), 0.0)
    core.handle(SECOND, StopFinding(), 0.0)
    assert to_lan(core) == [StopBrowsing(INSTANCE), StopBrowsing(OTHER)]


def test_without_mdns_nothing_is_sent_to_lan() -> None:
    core = discovery(mdns=False)
    core.handle("swarm", UP, 0.0)
    core.handle(FINDER, Find(KEY, INSTANCE), 0.0)
    core.handle(PROVIDER, StartProviding(KEY, OTHER), 0.0)
    core.handle(FINDER, StopFinding(), 0.0)
    core.handle(PROVIDER, StopProviding(), 0.0)
    assert to_lan(core) == []


def test_a_device_on_the_lan_is_a_candidate_of_those_who_look_for_its_code() -> None:
    net = SimulatedDht(1, 0)
    net.swarm_comes_up()
    net.find()
    named = PeerAddresses(TRUE, ("/ip4/10.0.0.2/tcp/1", "/ip4/10.0.0.3/tcp/1"), ("/ip4/10.0.0.3/tcp/1",))
    net.take("lan", LanPeer(OTHER, bytes((10, 0, 0, 2)), named))
    assert not net.candidates
    net.take("lan", LanPeer(INSTANCE, bytes((10, 0, 0, 2)), named))
    assert net.candidates[TRUE] == CandidateFound(TRUE, named.addresses, ("mdns",), named.hearsay)
    net.take("lan", LanPeer(INSTANCE, bytes((10, 0, 0, 2)), addresses_of(OWN)))
    assert set(net.candidates) == {TRUE}


def test_liars_on_the_lan_leave_room_for_others() -> None:
    """However many addresses they have there: for candidates of other finders, and for their addresses."""
    candidates = Candidates(OWN)
    for liar in range(200):
        source = bytes((10, 0, 0, liar))
        wrong = PeerAddresses(TRUE, (f"/ip4/10.0.0.{liar}/tcp/1",))
        candidates.offer("mdns", source, [addresses_of(peer(liar)), wrong])
    found = {one.peer: one for one in candidates.pop_changed(0.0)}
    assert len(found) <= MAX_CANDIDATES // 4
    candidates.offer("dht", peer("honest server"), [addresses_of(TRUE)])
    (true,) = candidates.pop_changed(0.0)
    assert set(addresses_of(TRUE).addresses) <= set(true.addresses)
    assert len(true.addresses) <= MAX_LAN_SOURCES + len(addresses_of(TRUE).addresses)
