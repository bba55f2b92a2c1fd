"""Getting back into the DHT after the server that was its door has gone."""

from collections import Counter
from itertools import pairwise

from spacedrive_node.actors.discovery.bootstrap import MAX_ALONE_BACKOFF_SECONDS, SPREAD
from spacedrive_node.actors.discovery.core import Discovery
from spacedrive_node.messages.actor_configs import DiscoveryConfig
from spacedrive_node.messages.to_discovery import RememberedServers, ServerJoined, ServerLost, SwarmUp
from spacedrive_node.messages.to_swarm import Bootstrap
from spacedrive_node.messages.types import PeerAddresses
from spacedrive_node.tests.harness.simulated_dht import OWN, SimulatedDht, addresses_of, peer

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


def test_alone_a_node_looks_every_few_seconds() -> None:
    """However long nobody was there: that a line, a server or a name server is back makes no event."""
    for has_been_connected in (True, False):
        net = connected() if has_been_connected else SimulatedDht(11, 1, bootstrap=(SERVER,))
        if has_been_connected:
            net.take("swarm", ServerLost(SERVER.peer))
        else:
            net.swarm_comes_up()
        times = offers(net, 600.0)
        assert max(later - former for former, later in pairwise(times)) <= MAX_ALONE_BACKOFF_SECONDS
        assert len(times) <= 10 + 600.0 / (MAX_ALONE_BACKOFF_SECONDS * (1.0 - SPREAD))


def test_a_connection_that_gave_way_is_no_loss() -> None:
    """The server is there; only when the others are lost too is this node alone."""
    net = connected()
    other = addresses_of(peer("other"))
    net.take("swarm", ServerJoined(other))
    net.run(30.0)
    net.take("swarm", ServerLost(SERVER.peer, gave_way=True))
    assert offers(net, 20.0) == []
    net.take("swarm", ServerLost(other.peer))
    times = offers(net, 300.0)
    assert times[0] < 0.5
    assert max(later - former for former, later in pairwise(times)) <= MAX_ALONE_BACKOFF_SECONDS


def test_nodes_that_lose_the_same_server_come_back_out_of_step() -> None:
    """A thousand lose their door at once. After some tries no tenth of a second has a tenth of them."""
    came = Counter[int]()
    for number in range(1000):
        core = Discovery(DiscoveryConfig(runtime_dir="/nowhere", bootstrap=(SERVER,)), 1)
        core.handle("swarm", SwarmUp(peer(("node", number)), (), ()), 0.0)
        core.handle("swarm", ServerJoined(SERVER), 0.0)
        core.poll(0.0)
        core.handle("swarm", ServerLost(SERVER.peer), 100.0)
        while (at := core.wake_at()) < 160.0:
            came[int(10 * at)] += any(isinstance(send.message, Bootstrap) for send in core.poll(at))
    assert max(count for tenth, count in came.items() if tenth > 1010) < 100


def test_one_of_several_that_stays_away_is_sought_ever_more_seldom() -> None:
    """The others are connected."""
    net = connected()
    other = addresses_of(peer("other"))
    net.take("swarm", ServerJoined(other))
    net.take("swarm", ServerLost(SERVER.peer))
    assert len(offers(net, 600.0)) < 20


def test_a_line_that_takes_all_servers_along_is_one_loss() -> None:
    """The door is sought as soon as if it had been the only one."""
    net = connected()
    others = [addresses_of(peer(("other", number))) for number in range(20)]
    for one in others:
        net.take("swarm", ServerJoined(one))
    net.run(300.0)
    for one in (SERVER, *others):
        net.take("swarm", ServerLost(one.peer))
        net.run(0.01)
    times = offers(net, 60.0)
    assert times[0] < 0.5
    assert max(later - former for former, later in pairwise(times)) <= MAX_ALONE_BACKOFF_SECONDS


def test_a_server_that_always_hangs_up_is_not_besieged() -> None:
    """One loss right after the other: ever longer pauses."""
    net = connected()
    before = len(net.to_swarm(Bootstrap))
    for _ in range(200):
        net.take("swarm", ServerLost(SERVER.peer))
        net.run(0.5)
        net.take("swarm", ServerJoined(SERVER))
    assert len(net.to_swarm(Bootstrap)) - before < 20


def test_a_stranger_that_comes_and_goes_keeps_no_node_alone() -> None:
    """When the server that was there all the time is lost, it is sought as soon as if nobody else were."""
    net = connected()
    stranger = addresses_of(peer("stranger"))
    for _ in range(30):
        net.take("swarm", ServerJoined(stranger))
        net.run(1.0)
        net.take("swarm", ServerLost(stranger.peer))
        net.run(1.0)
    net.take("swarm", ServerLost(SERVER.peer))
    times = offers(net, 300.0)
    assert times[0] < 0.5
    assert max(later - former for former, later in pairwise(times)) <= MAX_ALONE_BACKOFF_SECONDS


def test_a_server_that_is_named_twice_is_offered_with_both_addresses() -> None:
    """One of each transport, for example, of which one may be blocked."""
    tcp, quic = ("/ip4/45.33.1.1/tcp/7520",), ("/ip4/45.33.1.1/udp/7520/quic-v1",)
    net = SimulatedDht(11, 1, bootstrap=(PeerAddresses(SERVER.peer, tcp), PeerAddresses(SERVER.peer, quic)))
    net.swarm_comes_up()
    net.run(1.0)
    offered = {send.message.addresses for _, send in net.sent if isinstance(send.message, Bootstrap)}
    assert offered == {(*tcp, *quic)}


REMEMBERED = tuple(addresses_of(peer((12, number))) for number in range(30))


def remembered_offers(net: SimulatedDht) -> list[tuple[float, bytes]]:
    """Return when which remembered server was offered."""
    sent = [(when, send.message) for when, send in net.sent]
    return [(when, one.peer) for when, one in sent if isinstance(one, Bootstrap) and one.remembered]


def test_remembered_servers_are_tried_first_and_in_turn_while_none_is_known() -> None:
    """Sixteen, then eight, then four, from the first again after the last; and no more once one is there."""
    net = SimulatedDht(11, 1, bootstrap=(SERVER,))
    net.swarm_comes_up()
    net.take("swarm", RememberedServers(REMEMBERED))
    first = net.now
    net.run(300.0)
    offered = remembered_offers(net)
    assert [one for when, one in offered if when == first] == [one.peer for one in REMEMBERED[:16]]
    assert {one for _, one in offered} == {one.peer for one in REMEMBERED}
    times = Counter(when for when, _ in offered)
    assert list(times.values())[:5] == [16, 8, 4, 2, 4]
    assert len(times) < 10 + 300.0 / MAX_ALONE_BACKOFF_SECONDS
    net.table = [REMEMBERED[3].peer]
    net.take("swarm", ServerJoined(REMEMBERED[3]))
    net.run(300.0)
    assert remembered_offers(net) == offered


def test_the_best_remembered_servers_are_tried_though_one_is_known() -> None:
    """The one may be a node of this host that knows nobody."""
    net = connected()
    net.take("swarm", RememberedServers(REMEMBERED))
    net.run(300.0)
    assert len(remembered_offers(net)) == 16


def test_a_lookup_that_begins_before_any_server_is_known_asks_remembered_ones() -> None:
    net = SimulatedDht(11, 30)
    servers = tuple(addresses_of(server) for server in net.servers)
    net.store(peer("provider"))
    net.swarm_comes_up()
    net.take("swarm", RememberedServers(servers[:3]))
    net.find()
    net.run(5.0, lambda: bool(net.candidates))
    assert list(net.candidates) == [peer("provider")]


def test_a_remembered_server_that_is_this_node_itself_is_left_out() -> None:
    net = SimulatedDht(11, 1)
    net.swarm_comes_up()
    net.take("swarm", RememberedServers((addresses_of(OWN),)))
    net.run(10.0)
    assert net.to_swarm(Bootstrap) == []
