"""What a relay grants: every limit is reached, and what has ended makes room."""

from functools import partial

from spacedrive_node.actors.swarm.relay.limits import Allowance, Circuits, Reservations, ServiceLimits

LIMITS = ServiceLimits()
LOOPBACK = "127.0.0.0/24"


def peer(number: int) -> bytes:
    return number.to_bytes(34, "big")


def block(number: int) -> str:
    return f"192.0.{number}.0/24"


def test_reservations_have_a_bound_in_all() -> None:
    """Whoever has one renews it all the same; one that ends makes room."""
    table = Reservations(LIMITS)
    assert all(table.reserve(peer(one), block(one), 0.0) for one in range(LIMITS.reservations))
    assert not table.reserve(peer(999), block(999 % 256), 0.0)
    assert table.reserve(peer(0), block(0), 1.0)
    table.remove(peer(5))
    assert table.reserve(peer(999), block(5), 1.0)
    assert len(table) == LIMITS.reservations


def test_an_address_block_has_four_reservations() -> None:
    """Made-up peer ids of one place take nothing from others; on loopback many nodes may be."""
    table = Reservations(LIMITS)
    granted = [table.reserve(peer(one), block(1), 0.0) for one in range(6)]
    assert granted == [True] * 4 + [False] * 2
    assert table.reserve(peer(50), block(2), 0.0)
    assert all(table.reserve(peer(100 + one), LOOPBACK, 0.0) for one in range(6))


def test_a_reservation_ends_by_itself() -> None:
    """After its life, without an event; a renewal counts from its own time."""
    table = Reservations(LIMITS)
    life = LIMITS.reservation_life_s
    table.reserve(peer(1), block(1), 0.0)
    table.reserve(peer(2), block(2), 0.0)
    table.reserve(peer(1), block(1), life / 2)
    assert table.holds(peer(2), life - 0.1)
    assert not table.holds(peer(2), life)
    assert table.holds(peer(1), life)
    assert not table.holds(peer(1), 1.5 * life)
    table.expire(1.5 * life)
    assert len(table) == 0


def test_circuits_have_bounds_in_all_for_each_peer_and_block() -> None:
    """Either end counts, whoever asked; what has ended does not count any more."""
    table = Circuits(LIMITS)
    to_one = [table.begin(peer(one), block(one), peer(500), 0.0) for one in range(LIMITS.circuits_per_peer)]
    assert all(to_one)
    assert table.begin(peer(90), block(90), peer(500), 0.0) is None
    assert table.begin(peer(500), block(91), peer(92), 0.0) is None
    first = to_one[0]
    assert first is not None
    assert first.expires_at == LIMITS.duration_s
    table.end(first)
    table.end(first)
    assert len(table) == LIMITS.circuits_per_peer - 1

    of_block = [
        table.begin(peer(100 + one), block(200), peer(600 + one), 0.0)
        for one in range(LIMITS.circuits_per_block + 1)
    ]
    assert of_block[-1] is None
    assert all(of_block[:-1])
    rest = LIMITS.circuits - len(table)
    assert all(table.begin(peer(1000 + one), LOOPBACK, peer(2000 + one), 0.0) for one in range(rest))
    assert table.begin(peer(3000), block(3), peer(3001), 0.0) is None


def test_a_crowd_that_has_all_circuits_with_a_peer_makes_room_for_others() -> None:
    """A stranger who knows where a device is reached cannot keep the other device from it."""
    table, ended = Circuits(LIMITS), list[int]()
    for one in range(LIMITS.circuits_per_peer):
        circuit = table.begin(peer(one), block(1), peer(500), 0.0)
        assert circuit is not None
        circuit.give_way = partial(ended.append, one)
    assert table.begin(peer(90), block(1), peer(500), 0.0) is None
    assert table.begin(peer(91), block(2), peer(500), 0.0)
    assert ended == [7]
    assert table.begin(peer(7), block(1), peer(500), 0.0) is None
    for number in range(3):
        assert table.begin(peer(100 + number), block(2), peer(500), 0.0)
    assert ended == [7, 6, 5, 4]
    assert table.begin(peer(200), block(2), peer(500), 0.0) is None
    assert len(table) == LIMITS.circuits_per_peer


def test_one_of_two_circuits_between_the_same_peers_ends_alone() -> None:
    """The other one goes on (the library's relay ended both)."""
    table = Circuits(LIMITS)
    one, other = (table.begin(peer(1), block(1), peer(2), 0.0) for _ in range(2))
    assert one is not None
    assert other is not None
    table.end(one)
    assert len(table) == 1


def test_each_direction_has_its_bytes() -> None:
    """They only get fewer, and never less than none."""
    counted: list[int] = []
    allowance = Allowance(LIMITS, counted.append)
    allowance.spend(LIMITS.data_bytes - 1)
    assert allowance.left == 1
    allowance.spend(5)
    assert allowance.left == 0
    assert counted == [LIMITS.data_bytes - 1, 5]
