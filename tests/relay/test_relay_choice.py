"""Which relays are kept: two, in different blocks, renewed in time, replaced at once; all in virtual time."""

import math
from collections.abc import Sequence
from itertools import pairwise

from spacedrive_node.actors.swarm.relay.relay_choice import (
    FIRST_PAUSE_S,
    MAX_FOUND,
    MAX_LIFE_S,
    MAX_PAUSE_ALONE_S,
    MAX_PAUSE_S,
    REFUSED_PAUSE_S,
    STEADY_S,
    RelayChoice,
)
from spacedrive_node.messages.types import PeerAddresses

LIFE = 3600.0


def relay(number: int) -> PeerAddresses:
    return PeerAddresses(number.to_bytes(34, "big"), (f"/ip4/192.0.{number}.1/tcp/1",))


def block(number: int) -> str:
    return f"192.0.{number}.0/24"


def circuits(number: int, count: int = 1) -> tuple[str, ...]:
    return tuple(f"through {number}, address {place}" for place in range(count))


def asked(choice: RelayChoice, now: float) -> list[int]:
    return [int.from_bytes(one.peer, "big") for one in choice.poll(now)]


def grant(choice: RelayChoice, number: int, now: float, *, life: float = LIFE, addresses: int = 1) -> bool:
    return choice.granted(relay(number).peer, block(number), circuits(number, addresses), life, now)


def having(numbers: Sequence[int], *, found: Sequence[int] = ()) -> RelayChoice:
    choice = RelayChoice([relay(number) for number in numbers])
    choice.wants_found = True
    for number in found:
        choice.found(relay(number), block(number))
    return choice


def test_two_are_kept_of_three_that_are_configured() -> None:
    """The third is asked when one of the two does not grant."""
    choice = having([1, 2, 3])
    assert asked(choice, 0.0) == [1, 2]
    assert asked(choice, 0.1) == []
    assert choice.wake_at() == math.inf
    assert grant(choice, 1, 0.2)
    choice.refused(relay(2).peer, 0.2)
    assert asked(choice, 0.2) == [3]
    assert grant(choice, 3, 0.3)
    assert choice.circuits == (*circuits(1), *circuits(3))


def test_a_reservation_is_renewed_at_three_quarters_of_its_life() -> None:
    """Not earlier, and once; its circuits stay meanwhile."""
    choice = having([1])
    asked(choice, 0.0)
    grant(choice, 1, 100.0, life=1000.0)
    assert choice.wake_at() == 850.0
    assert asked(choice, 849.9) == []
    assert asked(choice, 850.0) == [1]
    assert asked(choice, 851.0) == []
    assert choice.circuits == circuits(1)
    grant(choice, 1, 852.0, life=1000.0)
    assert choice.wake_at() == 852.0 + 750.0


def test_a_renewal_that_fails_is_tried_again_until_the_end() -> None:
    """The reservation holds until it is over by this node's clock, and then it is gone."""
    choice = having([1])
    asked(choice, 0.0)
    grant(choice, 1, 0.0, life=1000.0)
    at, tries = 750.0, 0
    while at < 1000.0:
        assert asked(choice, at) == [1]
        choice.refused(relay(1).peer, at)
        assert choice.circuits == circuits(1)
        at, tries = choice.wake_at(), tries + 1
    assert 8 < tries < 40
    assert choice.poll(1000.0) is not None
    assert choice.circuits == ()


def test_the_relay_s_clock_may_be_wrong() -> None:
    """A life of minus a day or of a year counts as a minute or an hour."""
    choice = having([1, 2])
    asked(choice, 0.0)
    grant(choice, 1, 0.0, life=-86400.0)
    grant(choice, 2, 0.0, life=3e7)
    assert asked(choice, 45.0) == [1]
    grant(choice, 1, 45.0, life=LIFE)
    assert asked(choice, 0.75 * MAX_LIFE_S) == [2]


def test_a_lost_one_is_replaced_at_once_and_taken_back() -> None:
    """By another candidate in the same moment, or by itself after a quarter of a second if it was steady."""
    choice = having([1, 2, 3])
    asked(choice, 0.0)
    grant(choice, 1, 0.0)
    grant(choice, 2, 0.0)
    assert choice.lost(relay(1).peer, 100.0)
    assert not choice.lost(relay(1).peer, 100.0)
    assert asked(choice, 100.0) == [3]
    choice.refused(relay(3).peer, 100.0)
    assert choice.wake_at() == 100.0 + FIRST_PAUSE_S
    assert asked(choice, 100.0 + FIRST_PAUSE_S) == [1]


def test_one_that_grants_and_leaves_is_asked_ever_more_seldom() -> None:
    """Neither a relay that is restarting nor one that plays makes this node ask without a pause."""
    choice = having([1])
    at, times = 0.0, 0
    while at < 3600.0:
        assert asked(choice, at) == [1]
        grant(choice, 1, at)
        choice.lost(relay(1).peer, at)
        at, times = choice.wake_at(), times + 1
    assert times < 20 + 3600.0 / MAX_PAUSE_S
    assert asked(choice, at) == [1]
    grant(choice, 1, at)
    choice.lost(relay(1).peer, at + STEADY_S)
    assert choice.wake_at() == at + STEADY_S + FIRST_PAUSE_S


def test_found_ones_are_in_different_blocks() -> None:
    """Where the block is known before, or only when it was asked; what the user has named is not judged."""
    choice = having([], found=[1])
    choice.found(relay(2), block(1))
    choice.found(relay(3), None)
    choice.found(relay(4), block(4))
    assert asked(choice, 0.0) == [1, 3]
    assert grant(choice, 1, 0.0)
    assert not choice.granted(relay(3).peer, block(1), circuits(3), LIFE, 0.0)
    assert asked(choice, 0.0) == [4]
    assert grant(choice, 4, 0.0)
    assert choice.kept == [relay(1).peer, relay(4).peer]
    named = having([1, 2])
    asked(named, 0.0)
    assert all(named.granted(relay(one).peer, block(1), circuits(one), LIFE, 0.0) for one in (1, 2))


def test_found_ones_come_after_those_that_are_named_and_only_where_they_are_wanted() -> None:
    """A node that others reach as it is uses no stranger's relay."""
    choice = having([7], found=[1, 2])
    assert asked(choice, 0.0) == [7, 1]
    choice = having([7], found=[1, 2])
    choice.wants_found = False
    assert asked(choice, 0.0) == [7]
    choice.wants_found = True
    assert asked(choice, 0.0) == [1]


def test_what_others_say_of_a_relay_s_addresses_stays_what_others_say() -> None:
    """Also when it says others, by then."""
    choice = RelayChoice([])
    choice.wants_found = True
    for number in (1, 2):
        named = PeerAddresses(relay(7).peer, circuits(number, 2), circuits(number, 1))
        choice.found(named, block(7))
        assert choice.poll(float(number)) == [named]
        choice.refused(named.peer, float(number))
        choice.begin_anew(float(number))


def test_a_found_one_that_says_no_is_left_alone_for_a_while() -> None:
    """Full, or without a valid voucher."""
    choice = having([], found=[1])
    assert asked(choice, 0.0) == [1]
    choice.refused(relay(1).peer, 0.0, for_long=True)
    assert choice.wake_at() == REFUSED_PAUSE_S


def test_found_ones_are_bounded() -> None:
    """One that has failed makes room for a new one; nobody else does."""
    choice = having([], found=range(1, 1 + MAX_FOUND))
    choice.found(relay(200), block(200))
    assert asked(choice, 0.0) == [1, 2]
    grant(choice, 1, 0.0)
    choice.refused(relay(2).peer, 0.0, for_long=True)
    choice.found(relay(201), block(201))
    choice.found(relay(202), block(202))
    seen: set[int] = set()
    for _ in range(2 * MAX_FOUND):
        for number in asked(choice, 1.0):
            seen.add(number)
            choice.refused(relay(number).peer, 1.0, for_long=True)
    assert 201 in seen
    assert not {2, 200, 202} & seen
    assert len(seen) == MAX_FOUND - 1


def test_of_each_relay_one_address_comes_first() -> None:
    """Whoever takes two addresses gets one of each relay."""
    choice = having([1, 2])
    asked(choice, 0.0)
    grant(choice, 1, 0.0, addresses=2)
    grant(choice, 2, 0.0, addresses=1)
    assert choice.circuits == (circuits(1, 2)[0], circuits(2)[0], circuits(1, 2)[1])


def lonely(choice: RelayChoice, seconds: float, numbers: Sequence[int], at: float) -> list[float]:
    """Let nobody answer for so long; return when one of these was asked."""
    times: list[float] = []
    end = at + seconds
    while (at := max(at, choice.wake_at())) < end:
        for number in asked(choice, at):
            choice.refused(relay(number).peer, at)
            times += [at] if number in numbers else []
    return times


def test_one_that_was_of_use_is_asked_often_while_there_is_none() -> None:
    """Nobody reaches this node; that the line is back makes no event. Found or configured is the same."""
    for choice in (having([1]), having([], found=[1])):
        asked(choice, 0.0)
        grant(choice, 1, 0.0)
        choice.lost(relay(1).peer, 100.0)
        times = lonely(choice, 600.0, [1], 100.0)
        assert max(later - former for former, later in pairwise(times)) <= MAX_PAUSE_ALONE_S
        assert len(times) < 20 + 600.0 / MAX_PAUSE_ALONE_S
    strangers = having([], found=[1])
    assert len(lonely(strangers, 600.0, [1], 0.0)) < 20 + 600.0 / MAX_PAUSE_S


def test_when_the_last_one_is_lost_another_is_not_waited_for_as_long_as_before() -> None:
    """It was away while there was one, and so was asked seldom. The last one was lost, or ran out."""
    for runs_out in (False, True):
        choice = having([1, 2])
        asked(choice, 0.0)
        grant(choice, 1, 0.0)
        choice.refused(relay(2).peer, 0.0)
        lonely(choice, 600.0, [2], 0.0)
        lost_at = choice.wake_at() - MAX_PAUSE_S + 1.0
        if runs_out:
            grant(choice, 1, lost_at - 60.0, life=60.0)
        else:
            choice.lost(relay(1).peer, lost_at)
        assert 2 in [number for at in (lost_at, lost_at + MAX_PAUSE_ALONE_S) for number in asked(choice, at)]


def test_one_that_connects_again_is_asked_at_once() -> None:
    """It was away. One that has refused, or that grants and leaves, keeps its pause."""
    for configured, found in (([1], []), ([], [1])):
        choice = having(configured, found=found)
        at = lonely(choice, 300.0, [1], 0.0)[-1] + 0.1
        assert asked(choice, at) == []
        choice.joined(relay(1), block(1), at)
        assert asked(choice, at) == [1]
    refuses = having([], found=[1])
    asked(refuses, 0.0)
    refuses.refused(relay(1).peer, 0.0, for_long=True)
    refuses.joined(relay(1), block(1), 1.0)
    assert refuses.wake_at() == REFUSED_PAUSE_S
    leaves = having([1])
    at = 0.0
    for _ in range(12):
        asked(leaves, at)
        grant(leaves, 1, at)
        leaves.lost(relay(1).peer, at)
        leaves.joined(relay(1), block(1), at)
        at, before = leaves.wake_at(), at
    assert at - before == MAX_PAUSE_S


def test_a_line_that_is_gone_again_soon_is_no_relay_that_leaves() -> None:
    """What was asked in vain while it was away does not count against the relay afterwards."""
    choice = having([1])
    at = lonely(choice, 300.0, [1], 0.0)[-1]
    at = choice.wake_at()
    assert asked(choice, at) == [1]
    grant(choice, 1, at)
    choice.lost(relay(1).peer, at + 1.0)
    assert choice.wake_at() <= at + 1.0 + 2 * FIRST_PAUSE_S
