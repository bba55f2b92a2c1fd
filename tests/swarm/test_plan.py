"""In which order addresses are dialled, and when: without sockets and without time."""

import hypothesis.strategies as st
from hypothesis import given

from spacedrive_node.actors.swarm.dial import plan
from spacedrive_node.actors.swarm.dial.addresses import Endpoint
from spacedrive_node.actors.swarm.dial.plan import Known, Target
from spacedrive_node.messages.types import ConnectionKind, Transport


def four(number: int, transport: Transport = "tcp") -> Endpoint:
    return Endpoint("ip4", f"192.0.2.{number}", 7520, transport)


def six(number: int, transport: Transport = "tcp") -> Endpoint:
    return Endpoint("ip6", f"2001:db8::{number}", 7520, transport)


def order(endpoints: list[Endpoint], known: Known = plan.NOTHING_KNOWN) -> list[Endpoint]:
    return [one.endpoint for one in plan.in_order([Target(endpoint) for endpoint in endpoints], known)]


def test_versions_in_turns_as_they_come() -> None:
    """So that a version that leads nowhere holds up the other by one stagger."""
    assert order([four(1), four(2), four(3), six(1)]) == [four(1), six(1), four(2), four(3)]
    assert order([six(1), six(2), four(1)]) == [six(1), four(1), six(2)]


def test_transports_in_turns_quic_first() -> None:
    """QUIC connects in one round trip; TCP follows after one stagger, whatever else there is over QUIC."""
    given_order = [four(1), six(1), four(1, "quic"), six(1, "quic"), four(2, "quic")]
    assert order(given_order) == [four(1, "quic"), four(1), six(1, "quic"), six(1), four(2, "quic")]


def test_websocket_comes_after_tcp() -> None:
    """It costs the same round trips and those of HTTP, and TLS another."""
    given_order = [four(1, transport) for transport in ("wss", "ws", "tcp", "quic")]
    assert order(given_order) == [four(1, transport) for transport in ("quic", "tcp", "ws", "wss")]


def test_what_worked_first_and_what_failed_last() -> None:
    """The newest success first, whatever its transport; an address that is not known is tried before."""
    known = Known(worked=(six(2), four(4)), failed=frozenset({four(1), four(1, "quic")}))
    given_order = [four(1), four(1, "quic"), four(2), four(3), four(4), six(2)]
    assert order(given_order, known) == [six(2), four(4), four(2), four(3), four(1, "quic"), four(1)]


def test_silent_udp_is_last() -> None:
    """Behind TCP addresses that have failed, and behind relays; it stays in the race."""
    known = Known(udp_is_silent=True, failed=frozenset({four(1)}))
    assert order([four(1, "quic"), four(1), four(2)], known) == [four(2), four(1), four(1, "quic")]
    relayed = Target(four(9), kind="relayed")
    found = plan.in_order([Target(four(1, "quic")), relayed, Target(four(2))], known)
    assert [one.endpoint for one in found] == [four(2), four(9), four(1, "quic")]


def test_a_relay_that_turned_bad_is_last_and_late() -> None:
    """Behind relays that have failed, though circuits through it have stood; a second after them."""
    bad, good, failed = [four(9).through(name) for name in ("Qmbad", "Qmgood", "Qmfailed")]
    known = Known(worked=(bad,), failed=frozenset({failed}), bad_relays=frozenset({"Qmbad"}))
    targets = [Target(one, kind="relayed") for one in (bad, failed, good)]
    assert [one.endpoint for one in plan.in_order(targets, known)] == [good, failed, bad]
    assert [one.at_s for one in plan.plan(targets, known)] == [0.0, 0.25, 1.25]


def test_direct_before_relayed() -> None:
    """Also before one that worked, and also when the direct one has failed."""
    targets = [Target(four(9), kind="relayed"), Target(four(1)), Target(four(2))]
    known = Known(worked=(four(9),), failed=frozenset({four(1)}))
    assert [one.endpoint for one in plan.in_order(targets, known)] == [four(2), four(1), four(9)]


def times(targets: list[Target], known: Known = plan.NOTHING_KNOWN) -> list[tuple[float, float]]:
    return [(round(start.at_s, 6), start.timeout_s) for start in plan.plan(targets, known)]


def test_each_begins_a_stagger_after_the_one_before() -> None:
    """250 ms; what is hearsay has a time of its own."""
    targets = [Target(four(1)), Target(four(2), is_hearsay=True), Target(four(3))]
    usual, hearsay = plan.DIAL_TIMEOUT_S, plan.HEARSAY_TIMEOUT_S
    assert times(targets) == [(0, usual), (0.25, hearsay), (0.5, usual)]


def test_the_stagger_follows_the_round_trip() -> None:
    """It is what connecting to the peer takes: one round trip for QUIC, two for TCP, within bounds."""
    targets = [Target(four(1, "quic")), Target(four(1)), Target(four(2))]
    for round_trip, expected in (
        (0.2, [0, 0.2, 0.6]),
        (0.001, [0, plan.MIN_STAGGER_S, 2 * plan.MIN_STAGGER_S]),
        (9.0, [0, plan.MAX_STAGGER_S, 2 * plan.MAX_STAGGER_S]),
    ):
        assert [at for at, _timeout in times(targets, Known(round_trip_s=round_trip))] == expected


def test_a_relayed_address_waits_for_no_more_than_one_stagger() -> None:
    """However many direct ones come before; but each of these 50 ms at least."""
    relayed = [Target(four(8), kind="relayed"), Target(four(9), kind="relayed")]
    for direct, expected in ((1, 0.25), (2, 0.25), (5, 0.25), (8, 0.4)):
        targets = [Target(four(number)) for number in range(direct)]
        starts = [at for at, _timeout in times([*relayed, *targets])]
        assert starts[direct:] == [expected, expected + 0.25]
        assert starts[:direct] == [round(place * expected / direct, 6) for place in range(direct)]
    near = times([*relayed, Target(four(1)), Target(four(2))], Known(round_trip_s=0.001))
    assert [at for at, _timeout in near] == [0, plan.MIN_STAGGER_S, 0.2, 0.3]


endpoints = st.builds(
    Endpoint,
    st.sampled_from(["ip4", "ip6", "dns"]),
    st.sampled_from("abcd"),
    st.integers(1, 3),
    st.sampled_from(["tcp", "quic"]),
)
kinds: list[ConnectionKind] = ["direct", "relayed"]


@given(
    st.lists(st.builds(Target, endpoints, st.booleans(), st.sampled_from(kinds)), max_size=12, unique=True),
    st.builds(
        Known,
        st.lists(endpoints, max_size=4, unique=True).map(tuple),
        st.frozensets(endpoints),
        st.none() | st.floats(0, 100),
        st.booleans(),
    ),
)
def test_whatever_is_known(targets: list[Target], known: Known) -> None:
    """Nothing is left out or repeated, the times rise, and no address costs more than one stagger."""
    starts = plan.plan(targets, known)
    assert sorted(map(repr, (start.target for start in starts))) == sorted(map(repr, targets))
    at = 0.0
    for start in starts:
        assert start.at_s == at
        assert plan.MIN_STAGGER_BEFORE_RELAYED_S <= start.pause_s <= plan.MAX_STAGGER_S
        at += start.pause_s
    places = [
        (known.udp_is_silent and start.target.endpoint.transport == "quic", start.target.kind == "relayed")
        for start in starts
    ]
    assert places == sorted(places)
