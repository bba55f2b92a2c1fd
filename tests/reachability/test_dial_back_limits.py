"""Whom an AutoNAT server dials, at which price, and how often."""

import pytest
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.dial.addresses import Endpoint, parse
from spacedrive_node.actors.swarm.reachability import dial_back_limits as limits
from spacedrive_node.actors.swarm.reachability.autonat_messages import (
    MAX_DIAL_DATA_BYTES,
    MIN_DIAL_DATA_BYTES,
)
from spacedrive_node.actors.swarm.reachability.dial_back_limits import DialBackLimits, choose, price

GOOD = "/ip4/45.77.1.1/tcp/7520"


def chosen(*texts: str, own: str = "/ip4/45.1.1.1/tcp/1", versions: tuple[int, ...] = (4, 6)) -> object:
    binary = [Multiaddr(text).to_bytes() for text in texts]
    return choose(binary, ["tcp", "quic"], versions, lambda endpoint: endpoint == parse(own))


@pytest.mark.parametrize(
    "text",
    [
        "/ip4/127.0.0.1/tcp/1",
        "/ip4/10.0.0.1/tcp/1",
        "/ip4/192.168.1.1/tcp/1",
        "/ip4/172.16.0.1/udp/1/quic-v1",
        "/ip4/100.64.0.1/tcp/1",
        "/ip4/169.254.1.1/tcp/1",
        "/ip4/0.0.0.0/tcp/1",
        "/ip4/224.0.0.1/udp/1/quic-v1",
        "/ip6/::1/tcp/1",
        "/ip6/fe80::1/tcp/1",
        "/ip6/fd00::1/tcp/1",
        "/ip6/::ffff:127.0.0.1/tcp/1",
        "/ip6/64:ff9b::7f00:1/tcp/1",
        "/ip6/2002:7f00:1::/tcp/1",
        "/ip4/45.77.1.1/tcp/0",
        "/ip4/45.77.1.1/tcp/1/ws",
        "/ip4/45.77.1.1/udp/1",
        "/dns4/example.org/tcp/1",
        "/ip4/45.1.1.1/tcp/1",
    ],
)
def test_private_own_and_unknown_addresses_are_never_dialled(text: str) -> None:
    assert chosen(text) is None
    assert chosen(text, GOOD) == (1, parse(GOOD))


def test_the_first_that_can_be_dialled_is_and_no_other() -> None:
    assert chosen("/ip4/45.77.1.1/udp/1/quic-v1", GOOD) == (0, parse("/ip4/45.77.1.1/udp/1/quic-v1"))
    six = "/ip6/2a01:4f8::1/tcp/1"
    assert chosen(six, GOOD, versions=(4,)) == (1, parse(GOOD))
    assert chosen(six, GOOD) == (0, parse(six))
    assert choose([b"\xff" * 8, b""], ["tcp"], (4,), lambda _one: False) is None


def test_the_own_address_is_free_and_any_other_costs_what_the_specification_says() -> None:
    endpoint: Endpoint = parse(GOOD)
    assert price(endpoint, "45.77.1.1", 0.5) == 0
    assert price(endpoint, "45.77.1.2", 0.0) == MIN_DIAL_DATA_BYTES
    assert MIN_DIAL_DATA_BYTES < price(endpoint, "45.77.1.2", 0.9999) <= MAX_DIAL_DATA_BYTES
    assert price(endpoint, "2a01::1", 0.0) == MIN_DIAL_DATA_BYTES


def test_one_at_once_for_each_peer_and_so_many_in_all() -> None:
    found = DialBackLimits()
    assert found.begin(b"a", "block", 0.0)
    assert not found.begin(b"a", "block", 0.0)
    found.end(b"a")
    assert found.begin(b"a", "block", 0.0)
    for number in range(limits.MAX_AT_ONCE - 1):
        assert found.begin(bytes([number]), f"block {number}", 0.0)
    assert not found.begin(b"late", "another", 0.0)
    assert not found.begin(b"gone", None, 0.0)


def test_a_block_and_everybody_have_their_rates() -> None:
    """Peer ids cost nothing, so a block is counted, and in the end all blocks together."""
    found = DialBackLimits()
    served = 0
    for number in range(100):
        peer = number.to_bytes(2, "big")
        if found.begin(peer, "block", 0.0):
            served += 1
            found.end(peer)
    assert served == limits.MAX_PER_BLOCK_AND_MINUTE
    for number in range(200):
        peer = number.to_bytes(2, "big")
        if found.begin(peer, f"other {number}", 1.0):
            served += 1
            found.end(peer)
    assert served == limits.MAX_PER_MINUTE
    assert found.begin(b"later", "block", 62.0)
