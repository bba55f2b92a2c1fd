"""What dialling teaches: on which network, for how long, and that it stays bounded."""

import pytest

from spacedrive_node.actors.swarm.dial import history
from spacedrive_node.actors.swarm.dial.addresses import Endpoint
from spacedrive_node.actors.swarm.dial.history import DialHistory
from spacedrive_node.actors.swarm.dial.plan import NOTHING_KNOWN

HOME, CAFE = frozenset({"192.168.1.5"}), frozenset({"10.0.0.7"})
A, B = Endpoint("ip4", "192.0.2.1", 1), Endpoint("ip4", "192.0.2.2", 1)
QUIC = Endpoint("ip4", "192.0.2.1", 1, "quic")


def peer(number: int) -> bytes:
    return number.to_bytes(8, "big")


def test_what_worked_is_known_for_that_peer_on_that_network() -> None:
    """The newest first; the round trip is the time of the dial by its round trips."""
    seen = DialHistory()
    seen.worked(HOME, peer(1), A, 0.2)
    seen.worked(HOME, peer(1), QUIC, 0.15)
    known = seen.known(HOME, peer(1), 0.0)
    assert (known.worked, known.round_trip_s) == ((QUIC, A), 0.15)
    seen.worked(HOME, peer(1), A, 0.2)
    assert seen.known(HOME, peer(1), 0.0).worked == (A, QUIC)
    assert seen.known(HOME, peer(1), 0.0).round_trip_s == 0.1
    assert seen.known(CAFE, peer(1), 0.0) == seen.known(HOME, peer(2), 0.0) == NOTHING_KNOWN


def test_a_failure_is_known_for_a_while() -> None:
    """It takes a success away, and a success takes it away."""
    seen = DialHistory()
    seen.worked(HOME, peer(1), A, 0.2)
    seen.failed(HOME, peer(1), A, 100.0)
    assert seen.known(HOME, peer(1), 100.0).worked == ()
    assert seen.known(HOME, peer(1), 100.0 + history.FAILED_S - 1).failed == {A}
    assert seen.known(HOME, peer(1), 100.0 + history.FAILED_S).failed == frozenset()
    seen.worked(HOME, peer(1), A, 0.2)
    assert seen.known(HOME, peer(1), 100.0).failed == frozenset()


def silence(seen: DialHistory, peers: int, now: float = 0.0) -> None:
    for number in range(peers):
        seen.udp_was_silent(HOME, peer(number), now)


def test_udp_that_nobody_answers() -> None:
    """Several peers have to be silent; one time after a while it is tried again, and on another network."""
    seen = DialHistory()
    silence(seen, history.SILENT_PEERS - 1)
    seen.udp_was_silent(HOME, peer(0), 0.0)
    assert not seen.known(HOME, peer(9), 1.0).udp_is_silent
    assert not seen.udp_is_blocked
    silence(seen, history.SILENT_PEERS)
    assert seen.known(HOME, peer(9), 1.0).udp_is_silent
    assert seen.udp_is_blocked
    assert not seen.known(CAFE, peer(9), 1.0).udp_is_silent
    later = history.UDP_RETRY_S
    assert not seen.known(HOME, peer(9), later).udp_is_silent
    assert seen.known(HOME, peer(9), later).udp_is_silent
    assert seen.udp_is_blocked
    seen.forget_failures()
    assert not seen.udp_is_blocked


def test_one_answer_over_udp_is_enough() -> None:
    """All that was noted before says nothing any more, and whoever reports it hears of it."""
    changes: list[bool] = []
    seen = DialHistory(lambda: changes.append(seen.udp_is_blocked))
    silence(seen, history.SILENT_PEERS)
    seen.worked(HOME, peer(9), A, 0.1)
    assert seen.known(HOME, peer(9), 1.0).udp_is_silent
    assert changes[-1]
    seen.worked(HOME, peer(9), QUIC, 0.1)
    assert not seen.known(HOME, peer(9), 1.0).udp_is_silent
    assert not changes[-1]
    silence(seen, 1)
    assert not seen.known(HOME, peer(9), 1.0).udp_is_silent


@pytest.mark.parametrize("what", ["peers", "endpoints", "networks"])
def test_it_stays_bounded(what: str) -> None:
    """What was used longest ago goes."""
    seen = DialHistory()
    for number in range(3 * history.MAX_PEERS):
        endpoint = Endpoint("ip4", f"192.0.2.{number % 200}", number)
        network = frozenset({str(number)}) if what == "networks" else HOME
        one = peer(0) if what == "endpoints" else peer(number)
        seen.worked(network, one, endpoint, 0.1)
        seen.failed(network, one, Endpoint("ip6", "2001:db8::1", number), 0.0)
        for silent in range(2 * history.SILENT_PEERS):
            seen.udp_was_silent(network, peer(silent), 0.0)
    assert len(seen._peers) <= history.MAX_PEERS
    assert len(seen._udp) <= history.MAX_NETWORKS
    assert all(len(udp.silent_peers) <= history.SILENT_PEERS for udp in seen._udp.values())
    for record in seen._peers.values():
        assert len(record.worked) <= history.MAX_ENDPOINTS
        assert len(record.failed) <= history.MAX_FAILED
    assert seen.known(network, one, 0.0).worked[0] == endpoint


def test_what_is_recalled_comes_behind_what_has_worked_since() -> None:
    """The newest first; of no more peers and addresses than all else."""
    seen = DialHistory()
    seen.recall(HOME, peer(1), [A, B])
    assert seen.known(HOME, peer(1), 0.0).worked == (A, B)
    assert seen.known(HOME, peer(1), 0.0).round_trip_s is None
    seen.worked(HOME, peer(1), QUIC, 0.1)
    seen.recall(HOME, peer(1), [A, B])
    assert seen.known(HOME, peer(1), 0.0).worked == (QUIC, A, B)
    seen.failed(HOME, peer(1), A, 0.0)
    assert seen.known(HOME, peer(1), 0.0).worked == (QUIC, B)
    for number in range(2 * history.MAX_PEERS):
        seen.recall(HOME, peer(number), [Endpoint("ip4", "192.0.2.1", port) for port in range(1, 20)])
    assert len(seen._peers) == history.MAX_PEERS
    assert len(seen.known(HOME, peer(2 * history.MAX_PEERS - 1), 0.0).worked) == history.MAX_ENDPOINTS
