"""The limits of docs/protocol.md as pure functions of time."""

from spacedrive_node.actors.swarm.limits import Abuse, RateWindow, RecentTable, Slots

PEER = b"p" * 38
BLOCK = "192.0.2.0/24"


def test_thirty_strikes_in_a_minute_block_a_peer_for_ten() -> None:
    """Twenty-nine do not; and strikes older than a minute do not count."""
    abuse = Abuse()
    assert not any(abuse.strike(PEER, BLOCK, 0.0) for _ in range(29))
    assert not any(abuse.strike(PEER, BLOCK, 61.0) for _ in range(29))
    assert abuse.strike(PEER, BLOCK, 62.0)
    assert abuse.is_blocked(PEER, 62.0)
    assert abuse.is_blocked(PEER, 661.0)
    assert not abuse.is_blocked(PEER, 663.0)
    assert not abuse.is_blocked(BLOCK, 62.0)


def test_fresh_peer_ids_do_not_help() -> None:
    """Three hundred strikes of one block count, whichever peers they come from; others are unharmed."""
    abuse = Abuse()
    for number in range(299):
        assert not abuse.strike(number.to_bytes(38, "big"), BLOCK, 1.0)
    assert abuse.strike(PEER, BLOCK, 1.0)
    assert abuse.is_blocked(BLOCK, 1.0)
    assert not abuse.is_blocked("198.51.100.0/24", 1.0)
    assert not abuse.is_blocked(None, 1.0)
    assert not abuse.strike(b"q" * 38, None, 1.0)


def test_ten_repeats_in_a_second_are_allowed() -> None:
    """The eleventh after the first frame is too often, and a second later it is not."""
    abuse = Abuse()
    assert not any(abuse.too_often(b"attempt", 5.0) for _ in range(11))
    assert abuse.too_often(b"attempt", 5.5)
    assert not abuse.too_often(b"other", 5.5)
    assert not abuse.too_often(b"attempt", 7.0)


def test_tables_are_bounded() -> None:
    """The least recently used entry goes; a rate window holds one more than it allows."""
    table: RecentTable[int, int] = RecentTable(2)
    table.put(1, 1)
    table.put(2, 2)
    assert table.get(1) == 1
    table.put(3, 3)
    assert (table.get(1), table.get(2), table.get(3), len(table)) == (1, None, 3, 2)
    window: RateWindow[int] = RateWindow(3, 10.0)
    assert [window.count(1, float(time)) for time in range(6)] == [False, False, False, True, True, True]


def test_slots_are_bounded_in_all_and_for_each_peer() -> None:
    """A slot given back is free again."""
    slots = Slots(total=3, for_peer=2)
    assert [slots.take(b"a"), slots.take(b"a"), slots.take(b"a")] == [True, True, False]
    assert [slots.take(b"b"), slots.take(b"b")] == [True, False]
    slots.give_back(b"a")
    assert slots.take(b"b")
