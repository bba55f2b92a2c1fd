"""Which inbound exchange makes room (docs/protocol.md, "Limits")."""

from typing import Any

from spacedrive_node.actors.swarm.pairing.exchange_slots import MAX_EXCHANGES, ExchangeSlot, ExchangeSlots

NEAR, FAR, HERE = "192.0.2.0/24", "198.51.100.0/24", "127.0.0.0/24"


class Taken:
    """ExchangeSlots taken by a test, by name, and which of them were lost."""

    def __init__(self, **bounds: Any) -> None:
        self.slots = ExchangeSlots(**bounds)
        self.held: dict[str, ExchangeSlot] = {}
        self.lost: list[str] = []

    def take(self, name: str, block: str | None, peer: str | None = None) -> bool:
        slot = self.slots.acquire((peer or name).encode(), block, lambda: self.lost.append(name))
        if slot is not None:
            self.held[name] = slot
        return slot is not None


def test_slots_of_a_peer_are_bounded() -> None:
    """It gets no more by letting its own ones wait; one that is given back is free again."""
    taken = Taken(total=9, per_address_block=9, per_peer=2)
    assert [taken.take(name, NEAR, "peer") for name in "abc"] == [True, True, False]
    taken.slots.release(taken.held["a"])
    assert taken.take("d", NEAR, "peer")
    assert taken.lost == []


def test_slots_of_a_block_are_bounded() -> None:
    """The one that waits longest makes room; one that waits for an actor of this node does not."""
    taken = Taken(total=9, per_address_block=3, per_peer=2)
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
    taken = Taken(total=6, per_address_block=2, per_peer=2)
    assert all(taken.take(name, HERE) for name in "abcd")
    assert all(taken.take(name, "::1/128") for name in "ef")
    assert taken.lost == []
    assert taken.take("g", FAR)
    assert taken.lost == ["a"]


def test_when_all_slots_are_taken_those_who_hold_most_make_room() -> None:
    """First the block, then the peer, then whoever came first; a slot lost is not given back twice."""
    taken = Taken(total=6, per_address_block=5, per_peer=3)
    assert taken.take("early", FAR)
    assert taken.take("alone", NEAR)
    assert all(taken.take(name, NEAR, "crowd") for name in ("first", "second"))
    assert all(taken.take(name, None, name) for name in ("nowhere", "somewhere"))
    assert taken.take("new", FAR)
    assert taken.lost == ["first"]
    taken.slots.release(taken.held["first"])
    assert taken.take("newer", FAR)
    assert taken.lost == ["first", "early"]  # both blocks have two now, each of another peer


def test_a_slow_block_loses_its_slots_first() -> None:
    """However few it has."""
    taken = Taken(total=3, is_slow=NEAR.__eq__)
    assert all(taken.take(name, FAR) for name in ("a", "b"))
    assert taken.take("slow", NEAR)
    assert taken.take("new", FAR)
    assert taken.lost == ["slow"]


def test_strangers_cannot_keep_anybody_out() -> None:
    """However many of them say nothing: sixteen peers of one block, or one peer of each of 256 blocks."""
    for blocks in (1, 256):
        taken = Taken()
        for number in range(MAX_EXCHANGES):
            taken.take(f"stranger {number}", f"10.0.{number % blocks}.0/24", f"peer {number // 16}, {blocks}")
        assert len(taken.held) - len(taken.lost) == (64 if blocks == 1 else 256)
        assert taken.take("legitimate", "203.0.113.0/24")
        taken.held["legitimate"].waits_for_peer = False
        for number in range(1000):
            assert taken.take(f"late {number}", f"10.0.{number % blocks}.0/24", f"late {number}")
        assert "legitimate" not in taken.lost
