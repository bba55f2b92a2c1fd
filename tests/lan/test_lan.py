"""The whole actor without its I/O: two of them on one network, and restarts of discovery."""

from ipaddress import ip_interface

import pytest

from spacedrive_node.actors.lan.interfaces import Interface
from spacedrive_node.actors.lan.lan import REPEAT_SECONDS, REPORT_INTERVAL_SECONDS, Lan
from spacedrive_node.actors.lan.packets import MDNS_PORT
from spacedrive_node.messages.from_supervisor import ActorRestarted
from spacedrive_node.messages.to_discovery import LanPeer
from spacedrive_node.messages.to_gateway import LanStatus
from spacedrive_node.messages.to_lan import Announce, Browse, StopAnnouncing, StopBrowsing
from spacedrive_node.messages.types import PeerAddresses
from spacedrive_node.tests.harness.sample_frames import PEER

ONE, OTHER = "0" * 15 + "1", "0" * 15 + "2"
LISTENING = ("/ip4/0.0.0.0/tcp/7520", "/ip6/::/tcp/7520")
ADDRESSES = {"a": "10.0.0.1", "b": "10.0.0.2"}


class Network:
    """Two hosts on one network, in virtual time, on which each hears what either says."""

    def __init__(self) -> None:
        self.now = 0.0
        self.hosts = {name: Lan(random=lambda: 0.5) for name in ADDRESSES}
        self.found: list[LanPeer] = []
        self.packets = 0

    def up(self, *names: str) -> None:
        for name in names:
            found = Interface(2, (ip_interface(f"{ADDRESSES[name]}/24"),))
            self.hosts[name].set_interfaces([found], self.now)

    def run(self, end: float) -> None:
        while True:
            for name, host in self.hosts.items():
                for packet in host.poll(self.now):
                    self.packets += 1
                    hearers = [other for other in ADDRESSES if other != name]
                    if packet.to is not None:
                        hearers = [h for h in hearers if ADDRESSES[h] == str(packet.to.ip)]
                    for hearer in hearers:
                        self.found += self.hosts[hearer].handle_packet(
                            packet.data, ADDRESSES[name], MDNS_PORT, 2, self.now
                        )
                host.report(self.now)
            wake_at = min(host.wake_at() for host in self.hosts.values())
            if wake_at > end:
                self.now = end
                return
            self.now = max(self.now, wake_at)


@pytest.mark.parametrize("first", ["a", "b"])
def test_who_is_first_does_not_matter(first: str) -> None:
    """A code that is shown is found by one who has looked for it before, or who looks for it afterwards."""
    network = Network()
    network.up("a", "b")
    messages = {"a": Announce(ONE, PEER, LISTENING), "b": Browse(ONE)}
    network.hosts[first].handle(messages.pop(first), network.now)
    network.run(100.0)
    assert network.found == []
    ((second, message),) = messages.items()
    network.hosts[second].handle(message, network.now)
    network.run(100.2)
    text = f"/ip4/{ADDRESSES['a']}/tcp/7520"
    assert network.found == [LanPeer(ONE, bytes((10, 0, 0, 1)), PeerAddresses(PEER, (text,)))]


def test_without_a_code_a_host_says_nothing_and_needs_no_socket() -> None:
    network = Network()
    network.up("a", "b")
    network.run(1000.0)
    host = network.hosts["a"]
    assert (network.packets, host.busy) == (0, False)
    host.handle(Browse(ONE), network.now)
    assert host.busy
    host.handle(StopBrowsing(ONE), network.now)
    host.handle(Announce(ONE, PEER, LISTENING), network.now)
    assert host.busy
    network.run(1001.0)
    host.handle(StopAnnouncing(ONE), network.now)
    assert not host.busy
    before = network.packets
    network.run(5000.0)
    assert network.packets == before + 1  # the goodbye


def test_groups_are_joined_where_there_is_something_to_hear() -> None:
    """Everywhere while a code is looked for; otherwise where this node can be reached. Users are told."""
    host = Lan(random=lambda: 0.5)
    one, other = (Interface(n, (ip_interface(f"10.{n}.0.1/24"),)) for n in (2, 3))
    host.set_interfaces([one, other], 0.0)
    assert host.heard_on() == ()
    assert host.status() == LanStatus(False, False, 0)
    host.handle(Announce(ONE, PEER, ("/ip4/127.0.0.1/tcp/1",)), 0.0)
    assert host.heard_on() == ()
    host.handle(Announce(ONE, PEER, ("/ip4/10.3.0.1/tcp/1",)), 0.0)
    assert host.heard_on() == (other,)
    assert host.status() == LanStatus(True, False, 1)
    host.handle(Browse(OTHER), 0.0)
    assert host.heard_on() == (one, other)
    assert host.status() == LanStatus(True, True, 2)
    host.handle(StopBrowsing(OTHER), 0.0)
    host.handle(StopAnnouncing(ONE), 0.0)
    assert host.heard_on() == ()


def test_what_a_new_incarnation_of_discovery_does_not_repeat_has_ended() -> None:
    network = Network()
    network.up("a")
    host = network.hosts["a"]
    host.handle(Announce(ONE, PEER, LISTENING), network.now)
    host.handle(Announce(OTHER, PEER, LISTENING), network.now)
    host.handle(Browse(ONE), network.now)
    host.handle(Browse(OTHER), network.now)
    network.run(10.0)
    host.handle(ActorRestarted("discovery"), network.now)
    host.handle(Announce(ONE, PEER, LISTENING), network.now)
    host.handle(Browse(ONE), network.now)
    network.run(10.0 + REPEAT_SECONDS)
    assert host._responder.instances == host._browser.instances == {ONE}
    host.handle(ActorRestarted("discovery"), network.now)
    network.run(network.now + 2 * REPEAT_SECONDS)
    assert not host.busy


def test_packets_are_counted_by_what_became_of_them() -> None:
    host = Lan(random=lambda: 0.5)
    host.set_interfaces([Interface(2, (ip_interface("10.0.0.1/24"),))], 0.0)
    assert host.report(0.0) is not None
    assert host.report(5.0) is None
    host.handle_packet(b"rubbish", "10.0.0.2", MDNS_PORT, 2, 5.0)
    host.handle_packet(b"rubbish", "10.0.1.2", MDNS_PORT, 2, 5.0)
    assert host.wake_at() <= 5.0
    report = host.report(5.0)
    assert report is not None
    assert {sample.labels[0]: sample.value for sample in report.samples} == {
        "read": 0, "malformed": 0, "too_many": 0, "other_service": 1, "off_link": 1,
    }  # fmt: skip
    assert all(sample.name == "mdns_packets_total" for sample in report.samples)
    assert host.wake_at() > 5.0 + REPORT_INTERVAL_SECONDS
