"""The limits of docs/protocol.md as pure functions of time."""

from spacedrive_node.actors.swarm.pairing.frame_routing import Tables
from spacedrive_node.actors.swarm.pairing.limits import (
    EXCHANGES,
    Abuse,
    RateWindow,
    RecentTable,
    Slot,
    Slots,
    in_the_way,
)
from spacedrive_node.messages.to_swarm import Serve

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


def test_a_window_keeps_nobody_whose_events_have_left_it() -> None:
    """A thousand attempts, one after another, leave only the last ones: there is one for each pairing."""
    window: RateWindow[int] = RateWindow(3, 10.0)
    for attempt in range(1000):
        window.count(attempt, float(attempt))
        window.count(attempt - 1, float(attempt))
    assert len(window) < 15
    assert not window.count(998, 1000.0)
    assert window.count(998, 1000.0)


def test_the_connection_that_makes_room_is_one_of_a_crowd() -> None:
    """Of the block that has most; there an idle one before one in use, and the oldest of these."""
    crowd = [(FAR, False), (NEAR, True), (NEAR, False), (NEAR, False), (None, False)]
    assert in_the_way(crowd) == 2
    assert in_the_way([crowd[0], crowd[1], (NEAR, True)]) == 1
    assert in_the_way([(FAR, True), (NEAR, False), (None, False)]) == 1


class Taken:
    """Slots taken by a test, by name, and which of them were lost."""

    def __init__(self, **bounds: int) -> None:
        self.slots = Slots(**bounds)
        self.held: dict[str, Slot] = {}
        self.lost: list[str] = []

    def take(self, name: str, block: str | None, peer: str | None = None) -> bool:
        slot = self.slots.take((peer or name).encode(), block, lambda: self.lost.append(name))
        if slot is not None:
            self.held[name] = slot
        return slot is not None


NEAR, FAR, HERE = "192.0.2.0/24", "198.51.100.0/24", "127.0.0.0/24"


def test_slots_of_a_peer_are_bounded() -> None:
    """It gets no more by letting its own ones wait; one that is given back is free again."""
    taken = Taken(total=9, for_block=9, for_peer=2)
    assert [taken.take(name, NEAR, "peer") for name in "abc"] == [True, True, False]
    taken.slots.give_back(taken.held["a"])
    assert taken.take("d", NEAR, "peer")
    assert taken.lost == []


def test_slots_of_a_block_are_bounded() -> None:
    """The one that waits longest makes room; one that waits for an actor of this node does not."""
    taken = Taken(total=9, for_block=3, for_peer=2)
    assert all(taken.take(name, NEAR) for name in "abc")
    taken.held["a"].waits_for_peer = False
    assert taken.take("d", NEAR)
    assert taken.lost == ["b"]
    assert taken.take("e", FAR)
    for slot in taken.held.values():
        slot.waits_for_peer = False
    assert not taken.take("f", NEAR)
    assert taken.take("g", FAR)
    assert taken.lost == ["b"]


def test_slots_of_this_host_are_not_bounded_by_its_block() -> None:
    """Many nodes may run on one host, and all have its address; in all they are bounded like others."""
    taken = Taken(total=6, for_block=2, for_peer=2)
    assert all(taken.take(name, HERE) for name in "abcd")
    assert all(taken.take(name, "::1/128") for name in "ef")
    assert taken.lost == []
    assert taken.take("g", FAR)
    assert taken.lost == ["a"]


def test_when_all_slots_are_taken_those_who_hold_most_make_room() -> None:
    """First the block, then the peer, then whoever came first; a slot lost is not given back twice."""
    taken = Taken(total=6, for_block=5, for_peer=3)
    assert taken.take("early", FAR)
    assert taken.take("alone", NEAR)
    assert all(taken.take(name, NEAR, "crowd") for name in ("first", "second"))
    assert all(taken.take(name, None, name) for name in ("nowhere", "somewhere"))
    assert taken.take("new", FAR)
    assert taken.lost == ["first"]
    taken.slots.give_back(taken.held["first"])
    assert taken.take("newer", FAR)
    assert taken.lost == ["first", "early"]  # both blocks have two now, each of another peer


def test_strangers_cannot_keep_anybody_out() -> None:
    """However many of them say nothing: sixteen peers of one block, or one peer of each of 256 blocks."""
    for blocks in (1, 256):
        taken = Taken()
        for number in range(EXCHANGES):
            taken.take(f"stranger {number}", f"10.0.{number % blocks}.0/24", f"peer {number // 16}, {blocks}")
        assert len(taken.held) - len(taken.lost) == (64 if blocks == 1 else 256)
        assert taken.take("legitimate", "203.0.113.0/24")
        taken.held["legitimate"].waits_for_peer = False
        for number in range(1000):
            assert taken.take(f"late {number}", f"10.0.{number % blocks}.0/24", f"late {number}")
        assert "legitimate" not in taken.lost


def test_a_session_that_has_ended_is_in_no_table() -> None:
    """A node that makes a thousand pairings a day keeps nothing of them here."""
    tables = Tables()
    for number in range(3):
        actor = f"session-{number:016x}"
        tables.serve(actor, Serve(bytes(32), "initiator"))
        assert tables.needs_vouch(actor, b"peer")
        assert not tables.needs_vouch(actor, b"peer")
        tables.forwarded(actor, b"peer")
        assert tables.end(actor) == b"peer"
    assert not tables.served
    assert not tables._last_sender
    assert len(tables._vouched) == 0
