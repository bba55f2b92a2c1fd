"""Which addresses a device names where there is room for four."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacedrive_node.protocol.best_addresses import MAX_NAMED_ADDRESSES, Place, best
from spacedrive_node.protocol.multiaddrs import parse

TCP, QUIC, WS = "/tcp/1", "/udp/1/quic-v1", "/tcp/2/ws"
FOUR, SIX, LINK = "/ip4/192.0.2.{}", "/ip6/2001:db8::{}", "/ip6/fe80::{}"


def place(ip: str, form: str, rank: int = 0, *, good: bool = True) -> Place:
    return Place(parse(ip + form), rank, good)


def named(places: Sequence[Place]) -> list[str]:
    return [str(endpoint) for endpoint in best(places)]


@pytest.mark.parametrize(
    ("forms", "expected"),
    [
        ((TCP,), [FOUR.format(1) + TCP, FOUR.format(2) + TCP, SIX.format(1) + TCP, SIX.format(2) + TCP]),
        ((TCP, QUIC),
         [FOUR.format(1) + TCP, FOUR.format(1) + QUIC, SIX.format(1) + TCP, SIX.format(1) + QUIC]),
        ((TCP, QUIC, WS),
         [FOUR.format(1) + TCP, FOUR.format(1) + WS, SIX.format(1) + TCP, SIX.format(1) + QUIC]),
    ],
)  # fmt: skip
def test_each_transport_over_each_ip_version(forms: tuple[str, ...], expected: list[str]) -> None:
    """As far as there is room: each transport, and two addresses of each IP version."""
    ips = [FOUR.format(1), FOUR.format(2), SIX.format(1), SIX.format(2)]
    assert named([place(ip, form) for ip in ips for form in forms]) == expected


def test_the_default_route_comes_before_other_interfaces() -> None:
    """Of one kind; an IP version that only another interface has is named as well."""
    first, second = FOUR.format(1), FOUR.format(2)
    ranked = [place(second, TCP, 1), place(second, QUIC, 1), place(first, TCP), place(first, QUIC)]
    six = [place(SIX.format(1), TCP, 1)]
    assert set(named([*ranked[:2], *six, *ranked[2:]])) >= {first + TCP, first + QUIC, SIX.format(1) + TCP}


def test_bridges_come_last_whatever_kind_they_have() -> None:
    """Whatever is named of one takes no room from others."""
    good = [place(FOUR.format(number), form) for number in (1, 2) for form in (TCP, QUIC)]
    assert named([place(SIX.format(9), TCP, 2, good=False), *good]) == [str(one.endpoint) for one in good]


def test_what_only_the_link_reaches_is_a_kind_of_its_own() -> None:
    """Who has nothing but a link-local address finds one; others find what they know."""
    places = [place(ip.format(1), form) for ip in (FOUR, SIX, LINK) for form in (TCP, QUIC)]
    assert {(one.ip is not None and one.ip.is_link_local, one.family) for one in best(places)} == {
        (False, "ip4"), (False, "ip6"), (True, "ip6")
    }  # fmt: skip


@given(
    st.lists(
        st.builds(
            place,
            st.sampled_from([ip.format(n) for ip in (FOUR, SIX, LINK) for n in (1, 2)]),
            st.sampled_from([TCP, QUIC, WS]),
            st.integers(0, 3),
            good=st.booleans(),
        ),
        max_size=12,
    )
)
def test_whatever_there_is(places: list[Place]) -> None:
    """At most four, no repeats, in their order; good ones first; of one rank every transport is named."""
    found = best(places)
    first = {one.endpoint: one for one in reversed(places)}
    in_order = list(dict.fromkeys(one.endpoint for one in places))
    assert len(found) == min(len(first), MAX_NAMED_ADDRESSES)
    assert found == [one for one in in_order if one in found]
    good = {endpoint for endpoint, one in first.items() if one.is_good}
    assert len(good & set(found)) == min(len(good), MAX_NAMED_ADDRESSES)
    if len({first[endpoint].rank for endpoint in good}) == 1:
        assert {one.transport for one in good} <= {one.transport for one in found}
