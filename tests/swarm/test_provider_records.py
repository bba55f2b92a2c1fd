"""Which provider record makes room for a new one (docs/protocol.md, "Limits")."""

from libp2p.kad_dht.provider_store import ProviderStore
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo

from spacedrive_node.actors.swarm.kad.provider_records import ProviderRecords
from spacedrive_node.tests.harness.library_hosts import LOCAL, our_host

HONEST, CROWD = "192.0.2.0/24", "198.51.100.0/24"


def key(number: int) -> bytes:
    return b"\x12\x20" + number.to_bytes(32, "big")


def named(records: ProviderRecords, number: int, now: float = 0.0) -> list[bytes]:
    return [peer for peer, _ in records.providers(key(number), now)]


def test_a_crowd_pushes_out_nobody_else() -> None:
    """As many records as one host can announce in a minute, under ever new peer ids."""
    records, library = ProviderRecords(), ProviderStore(our_host(1))
    records.store(key(0), b"honest", [b"address"], HONEST, 0.0)
    for number in range(1, 10_001):
        records.store(key(number), b"stranger %d" % (number // 40), [b"address"], CROWD, 1.0)
        library.add_provider(key(number), PeerInfo(ID(key(number)), [LOCAL]))
    assert named(records, 0) == [b"honest"]
    assert len(records) == 2049
    assert len(library.providers) == 10_000


def test_a_crowd_of_the_same_block_pushes_out_its_busiest() -> None:
    """An honest device behind the same address has one code; strangers that have more lose theirs first."""
    records = ProviderRecords()
    records.store(key(0), b"honest", [b"address"], CROWD, 0.0)
    for number in range(1, 10_001):
        records.store(key(number), b"stranger %d" % (number // 40), [b"address"], CROWD, 1.0)
    assert named(records, 0) == [b"honest"]


def test_many_blocks_push_out_those_that_have_most() -> None:
    """When all places are taken, the block with most makes room; there the peer with most; its oldest."""
    records = ProviderRecords(total=6, per_block=4, per_peer=3)
    for number in range(3):
        records.store(key(number), b"busy", [], CROWD, 0.0)
    records.store(key(3), b"other", [], CROWD, 0.0)
    for number, block in ((4, HONEST), (5, None)):
        records.store(key(number), b"x", [], block, 0.0)
    records.store(key(6), b"y", [], "203.0.113.0/24", 0.0)
    assert [bool(named(records, number)) for number in range(7)] == [False, *[True] * 6]
    records.store(key(7), b"third", [], CROWD, 0.0)
    assert not named(records, 1)
    assert len(records) == 6


def test_the_newest_announcements_of_a_peer_are_kept() -> None:
    """Who shows one code after another is found by the last ones; a renewed record is no old one."""
    records = ProviderRecords(per_peer=15)
    for number in range(100):
        records.store(key(number), b"busy", [], CROWD, 0.0)
        records.store(key(0), b"busy", [], CROWD, 0.0)
    assert [number for number in range(100) if named(records, number)] == [0, *range(86, 100)]
    assert len(records) == 15


def test_a_crowd_of_providers_does_not_take_a_key() -> None:
    """Decoys of one block came first: the true device is stored all the same, and stays while more come."""
    records = ProviderRecords()
    for number in range(20):
        assert records.store(key(0), b"decoy %d" % number, [], CROWD, 0.0)
    assert records.store(key(0), b"true", [], HONEST, 0.0)
    for number in range(20, 100):
        assert not records.store(key(0), b"decoy %d" % number, [], CROWD, 0.0)
    assert named(records, 0) == [*(b"decoy %d" % number for number in range(19)), b"true"]
    assert len(records) == 20


def test_the_first_provider_of_a_key_stays() -> None:
    """Decoys of its own block, and of a hundred others, come later and take its place by no means."""
    records = ProviderRecords()
    records.store(key(0), b"true", [], HONEST, 0.0)
    for number in range(200):
        block = HONEST if number % 2 else f"10.0.{number}.0/24"
        records.store(key(0), b"decoy %d" % number, [], block, 0.0)
        records.store(key(0), b"true", [], HONEST, 1.0)
    assert named(records, 0)[0] == b"true"
    assert len(records) == 20


def test_a_peer_that_moves_is_counted_where_it_is() -> None:
    """The same peer and key from another block is the same record, with the addresses announced last."""
    records = ProviderRecords()
    records.store(key(0), b"peer", [b"old"], HONEST, 0.0)
    records.store(key(0), b"peer", [b"new"], CROWD, 1.0)
    [(_, record)] = records.providers(key(0), 1.0)
    assert (record.addresses, record.address_block, len(records)) == ((b"new",), CROWD, 1)


def test_records_expire() -> None:
    """After two days, as elsewhere, unless they were renewed; nothing is left of them."""
    records = ProviderRecords()
    records.store(key(0), b"gone", [], HONEST, 0.0)
    records.store(key(0), b"there", [], HONEST, 10.0)
    assert named(records, 0, 48 * 3600) == [b"there"]
    assert named(records, 0, 48 * 3600 + 10) == []
    assert len(records) == 0
