"""Which peers are remembered: scores, half-life, bounds, ties, and crowds that want all places."""

import math
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from spacedrive_node.actors.vault import peer_scores
from spacedrive_node.actors.vault.peer_scores import MAX_SCORE, Entry, PeerMemory, faded
from spacedrive_node.messages.to_vault import PeerReport
from spacedrive_node.messages.types import RememberedKind, RememberedPeer

DHT = "/spacedrive/kad/1.0.0"
TODAY = 20_000
SALT = b"salt"


def peer(number: int) -> bytes:
    return b"\x12\x20" + number.to_bytes(32, "big")


def address(number: int, network: int = 1) -> str:
    """Return a public address; each number has a block of its own, each network a /16."""
    return f"/ip4/45.{network % 256}.{number % 256}.7/tcp/7520"


def good(
    number: int, where: str | None = None, kind: RememberedKind = "server", times: int = 1
) -> PeerReport:
    return PeerReport(kind, peer(number), (where or address(number),), answered=times)


def memory(*reports: PeerReport, day: int = TODAY) -> PeerMemory:
    found = PeerMemory()
    for report in reports:
        found.report(report, DHT, day)
    return found


def recalled(found: PeerMemory, day: int = TODAY) -> list[bytes]:
    return [one.peer for one in found.recall(DHT, day, SALT)]


def test_who_has_answered_is_remembered_with_the_address() -> None:
    found = memory(good(1)).recall(DHT, TODAY, SALT)
    assert found == [RememberedPeer("server", peer(1), (address(1),))]


def test_the_best_come_first() -> None:
    found = memory(good(1), good(2, times=3), PeerReport("server", peer(3), (address(3),), slow=1))
    assert recalled(found) == [peer(2), peer(1), peer(3)]


def test_a_liar_and_one_that_is_never_there_are_not_recalled() -> None:
    found = memory(good(1, times=4), good(2, times=4), good(3))
    found.report(PeerReport("server", peer(1), lied=1), DHT, TODAY)
    for _again in range(3):
        found.report(PeerReport("server", peer(2), dropped=1), DHT, TODAY)
    assert recalled(found) == [peer(3)]


def test_a_liar_has_to_answer_for_long_until_it_is_recalled_again() -> None:
    found = memory(good(1, times=4), PeerReport("server", peer(1), lied=1))
    for _report in range(2):
        found.report(good(1, times=1000), DHT, TODAY)
        assert recalled(found) == []
    found.report(good(1, times=1000), DHT, TODAY)
    found.report(good(1, times=1), DHT, TODAY)
    assert recalled(found) == [peer(1)]


def test_half_of_a_score_is_gone_after_a_week() -> None:
    entry = Entry("server", DHT, peer(1), (address(1),), 8.0, TODAY)
    assert [faded(entry, TODAY + days) for days in (0, 7, 14)] == [8.0, 4.0, 2.0]
    assert faded(entry, TODAY + 100_000) > 0  # never forgotten for its age alone


def test_a_clock_that_is_set_back_changes_no_score() -> None:
    entry = Entry("server", DHT, peer(1), (address(1),), 8.0, TODAY)
    assert faded(entry, TODAY - 5000) == 8.0


def test_a_day_that_is_still_to_come_counts_as_today() -> None:
    """A clock was a century ahead when this was written: it fades from today on, not in a century."""
    entry = Entry("server", DHT, peer(1), (address(1),), 8.0, TODAY + 36_500)
    found = PeerMemory([entry], TODAY)
    found.report(good(2, times=3), DHT, TODAY + 14)
    assert recalled(found, TODAY + 14) == [peer(2), peer(1)]


def test_who_was_never_of_use_is_not_kept() -> None:
    found = memory(
        PeerReport("server", peer(1), (address(1),), dropped=1),
        PeerReport("server", peer(2), (address(2),), lied=1),
        PeerReport("server", peer(3), (), answered=1),
        PeerReport("server", peer(4), ("/ip4/45.1.1.1/sctp/1", "nonsense"), answered=1),
        PeerReport("server", peer(5), (address(5),)),
    )
    assert len(found) == 0


def test_servers_and_relays_of_another_dht_are_not_recalled() -> None:
    found = memory(good(1), good(2, kind="relay"))
    found.report(good(3), "/ipfs/kad/1.0.0", TODAY)
    assert recalled(found) == [peer(2), peer(1)]
    assert [one.peer for one in found.recall("/ipfs/kad/1.0.0", TODAY, SALT)] == [peer(3)]


def test_of_a_peer_eight_addresses_are_kept_the_newest_first() -> None:
    found = memory(*(good(1, address(number)) for number in range(10)))
    kept = found.recall(DHT, TODAY, SALT)[0].addresses
    assert kept == tuple(address(number) for number in range(9, 1, -1))


def test_an_address_block_has_eight_servers_and_the_first_of_equals_stay() -> None:
    found = memory(*(good(number, f"/ip4/45.1.1.{number}/tcp/1") for number in range(1, 20)))
    assert set(recalled(found)) == {peer(number) for number in range(1, 9)}


def test_a_better_one_takes_the_place_of_the_worst_of_its_block() -> None:
    found = memory(*(good(number, f"/ip4/45.1.1.{number}/tcp/1", times=2) for number in range(1, 9)))
    found.report(PeerReport("server", peer(3), slow=1), DHT, TODAY)
    found.report(PeerReport("server", peer(5), dropped=1), DHT, TODAY)
    found.report(good(9, "/ip4/45.1.1.9/tcp/1"), DHT, TODAY)
    assert set(recalled(found)) == {peer(number) for number in (1, 2, 3, 4, 6, 7, 8, 9)}


def test_two_relays_of_a_block_and_32_in_all() -> None:
    block = memory(*(good(number, f"/ip4/45.1.1.{number}/tcp/1", "relay") for number in range(1, 9)))
    assert len(block) == 2
    everywhere = memory(*(good(number, address(0, number), "relay") for number in range(100)))
    assert len(everywhere) == 32


def test_a_liar_with_a_network_of_its_own_gets_a_share_and_no_more() -> None:
    """It has 65 536 addresses and any number of peer ids, and behaves best of all."""
    honest = [good(number, address(number, number)) for number in range(100)]
    found = memory(*honest)
    for number in range(1000, 9000):
        where = f"/ip4/66.1.{number % 256}.{number // 256}/tcp/1"
        found.report(good(number, where, times=4), DHT, TODAY)
    kept = recalled(found)
    assert {one.peer for one in honest} <= set(kept)
    assert len(kept) == 100 + peer_scores.MAX_PER_NETWORK["server"]
    # Nor does it have the first places: networks take turns.
    assert sum(one in {peer(number) for number in range(1000, 9000)} for one in kept[:50]) == 1


def test_the_same_of_ipv6_where_a_network_has_any_number_of_blocks() -> None:
    found = memory(*(good(number, address(number, number)) for number in range(10)))
    for number in range(1000, 3000):
        found.report(good(number, f"/ip6/2600:1:{number:x}::1/tcp/1", times=4), DHT, TODAY)
    assert len(found) == 10 + peer_scores.MAX_PER_NETWORK["server"]


def test_names_are_one_network() -> None:
    """Whoever has one name has as many as wanted."""
    found = memory(*(good(number, f"/dns4/n{number}.example.org/tcp/1") for number in range(200)))
    assert len(found) == peer_scores.MAX_PER_NETWORK["server"]


def test_when_all_is_full_the_fullest_network_makes_room() -> None:
    crowd = [good(number, address(number, number // 32), times=4) for number in range(256)]
    found = memory(*crowd)
    assert len(found) == 256
    found.report(good(1000, "/ip4/66.1.1.1/tcp/1"), DHT, TODAY)
    kept = recalled(found)
    assert len(kept) == 256
    assert peer(1000) in kept
    # One more of a network that has as many as any other makes room itself.
    found.report(good(1001, address(200, 0)), DHT, TODAY)
    assert peer(1001) not in recalled(found)


def test_devices_are_bounded_too() -> None:
    found = memory(*(good(number, f"/ip4/192.168.1.{number}/tcp/1", "device") for number in range(1, 200)))
    assert len(found) == 128


def test_a_device_does_not_age_and_says_nothing_of_a_day() -> None:
    found = memory(good(1, kind="device"))
    assert [entry.day for entry in found.changed.values()] == [0]
    assert recalled(found, TODAY + 5000) == [peer(1)]


def test_only_trusted_devices_are_kept() -> None:
    found = memory(good(1, kind="device"), good(2, kind="device"), good(2))
    found.written()
    found.keep_devices(lambda one: one == peer(1))
    assert set(recalled(found)) == {peer(1), peer(2)}
    assert found.removed == {("device", "", peer(2))}


def test_equals_come_in_an_order_that_nobody_foresees() -> None:
    found = memory(*(good(number, address(number, 1)) for number in range(8)))
    orders = {tuple(one.peer for one in found.recall(DHT, TODAY, bytes([salt]))) for salt in range(8)}
    assert len(orders) > 1
    assert len({frozenset(order) for order in orders}) == 1


def test_what_cannot_have_been_written_is_left_out_and_removed() -> None:
    sound = Entry("server", DHT, peer(1), (address(1),), 1.0, TODAY)
    wrong = [
        Entry("server", DHT, peer(2), (), 1.0, TODAY),
        Entry("server", DHT, peer(3), ("nonsense",), 1.0, TODAY),
        Entry("server", DHT, b"short", (address(1),), 1.0, TODAY),
        Entry("server", "", peer(4), (address(1),), 1.0, TODAY),
        Entry("relay", "", peer(5), (address(1),), 1.0, TODAY),
        Entry("server", DHT, peer(6), (address(1),), math.inf, TODAY),
        Entry("server", DHT, peer(7), (address(1),), 1.0, -1),
        Entry("friend", DHT, peer(8), (address(1),), 1.0, TODAY),  # type: ignore[arg-type]
    ]
    found = PeerMemory([sound, *wrong], TODAY)
    assert recalled(found) == [peer(1)]
    assert found.removed == {entry.key for entry in wrong}


Event = tuple[int, int, RememberedKind, tuple[int, ...], int]
REPORTS = st.lists(
    st.tuples(
        st.integers(0, 400),
        st.integers(0, 12),
        st.sampled_from(["server", "relay", "device"]),
        st.tuples(*[st.integers(0, 5)] * 4),
        st.integers(-30, 30),
    ),
    max_size=200,
)


@given(REPORTS)
def test_the_bounds_hold_whatever_is_reported(
    events: list[tuple[int, int, RememberedKind, tuple[int, ...], int]],
) -> None:
    found = PeerMemory()
    written: dict[object, Entry] = {}
    for number, network, kind, (answered, slow, dropped, lied), days in events:
        report = PeerReport(kind, peer(number), (address(number, network),), answered, slow, dropped, lied)
        found.report(report, DHT, TODAY + days)
        for key in found.removed:
            written.pop(key, None)
        written.update(found.changed)
        found.written()
    entries = list(written.values())
    assert len(entries) == len(found)  # what was to be written is what is remembered
    counts = Counter(entry.kind for entry in entries)
    assert all(counts[kind] <= limit for kind, limit in peer_scores.MAX_PEERS.items())
    for kind in ("server", "relay"):
        places = [peer_scores.place_of(entry.addresses[0]) for entry in entries if entry.kind == kind]
        assert (
            max(Counter(block for block, _ in places).values(), default=0) <= peer_scores.MAX_PER_BLOCK[kind]
        )
        assert max(Counter(net for _, net in places).values(), default=0) <= peer_scores.MAX_PER_NETWORK[kind]
    assert all(abs(entry.score) <= MAX_SCORE and len(entry.addresses) <= 8 for entry in entries)
    again = PeerMemory(entries, TODAY + 30)
    assert len(again) == len(entries)
    assert not again.removed
