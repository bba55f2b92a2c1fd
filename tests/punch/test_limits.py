"""Which addresses are dialled, how much is sent there, and how often: for peers that name anybody."""

import ipaddress

from spacedrive_node.actors.swarm.punch import candidates
from spacedrive_node.actors.swarm.punch.limits import (
    BLOCK_WINDOW_S,
    MAX_ATTEMPTS_PER_BLOCK,
    MAX_PACKETS,
    PACKETS_OF_QUIC,
    PACKETS_OF_TCP,
    PacketBudget,
    TargetLimit,
)
from spacedrive_node.protocol.multiaddrs import Endpoint, parse

RELAY, OWN = ipaddress.ip_address("45.33.1.1"), ipaddress.ip_address("45.77.1.1")


def test_only_public_addresses_of_tcp_and_quic_are_dialled() -> None:
    """Not the relay's, not this node's, over no relay, by no name: js-libp2p sends some of each."""
    good = ["/ip4/45.77.2.1/tcp/7520", "/ip4/45.77.2.1/udp/7520/quic-v1", "/ip6/2a01:4f8::1/tcp/1"]
    bad = [
        "/ip4/127.0.0.1/tcp/7520",
        "/ip4/192.168.1.11/tcp/7520",
        "/ip4/10.0.0.1/udp/7520/quic-v1",
        "/ip4/100.64.0.1/tcp/7520",
        "/ip4/169.254.169.254/tcp/80",
        "/ip4/203.0.113.7/tcp/7520",
        "/ip4/224.0.0.1/udp/7520/quic-v1",
        "/ip4/0.0.0.0/tcp/7520",
        "/ip6/::1/tcp/1",
        "/ip6/fe80::1/tcp/1",
        "/ip6/fd00::1/tcp/1",
        "/ip6/::ffff:192.168.1.11/tcp/1",
        "/ip6/64:ff9b::c0a8:10b/tcp/1",
        "/dns4/example.org/tcp/7520",
        "/ip4/45.77.2.1/tcp/80/ws",
        "/ip4/45.33.1.1/tcp/7520",
        "/ip4/45.77.1.1/udp/53/quic-v1",
        "/ip4/45.33.2.1/tcp/1/p2p/12D3KooWEJracPWUSfKNoAc2pzgZN5jb9seDBK7W72P68kgy9Dya/p2p-circuit",
    ]
    found = candidates.dialled([parse(one) for one in bad + good], {RELAY, OWN})
    assert [str(one) for one in found] == good


def test_eight_addresses_at_most() -> None:
    named = [Endpoint("ip4", "45.77.2.1", port) for port in range(1, 100)]
    assert candidates.dialled([*named[:1], *named], set()) == tuple(named[: candidates.MAX_ADDRESSES])
    assert len(candidates.told(named)) == candidates.MAX_ADDRESSES == 8


def test_sixty_packets_at_most() -> None:
    budget, dials = PacketBudget(), 0
    while budget.take(PACKETS_OF_QUIC):
        dials += 1
    assert dials * PACKETS_OF_QUIC <= MAX_PACKETS == 60
    assert not budget.take(MAX_PACKETS)
    assert not PacketBudget(1).take(PACKETS_OF_TCP)


def test_an_address_block_is_dialled_nine_times_a_minute_whoever_names_it() -> None:
    limit, victims = TargetLimit(), [Endpoint("ip4", f"45.77.2.{n}", 1) for n in range(1, 9)]
    other = Endpoint("ip4", "45.77.3.1", 1)
    for attempt in range(MAX_ATTEMPTS_PER_BLOCK):
        assert limit.allowed(victims, float(attempt)) == tuple(victims)
    assert limit.allowed([*victims, other], 10.0) == (other,)
    assert limit.allowed(victims, BLOCK_WINDOW_S + 20.0) == tuple(victims)
