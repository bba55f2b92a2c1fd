"""The peer store: the defects of the library, and their absence with the corrections."""

from typing import Any

import pytest
from libp2p.crypto.keys import KeyPair
from libp2p.peer.envelope import seal_record
from libp2p.peer.id import ID
from libp2p.peer.peer_record import PeerRecord
from libp2p.peer.peerstore import PeerStore
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.library import peer_store
from spacedrive_node.tests.harness.library_hosts import LOCAL, keys

ADDRESSES = [Multiaddr(f"/ip4/192.0.2.1/tcp/{port}") for port in range(1, 101)]


def id_of(pair: KeyPair) -> ID:
    return ID.from_pubkey(pair.public_key)


def some_peer(number: int) -> ID:
    return ID(b"\x12\x20" + number.to_bytes(32, "big"))


def record(pair: KeyPair, sequence: int, addresses: list[Multiaddr]) -> Any:
    return seal_record(PeerRecord(id_of(pair), addresses, sequence), pair.private_key)


def test_an_older_peer_record_is_no_offence() -> None:
    """A record older than the stored one makes the library drop its bearer; ours passes it over."""
    pair = keys(1)
    for store, accepted in ((PeerStore(), False), (peer_store.TolerantPeerStore(), True)):
        assert store.consume_peer_record(record(pair, 5, [LOCAL]), 60)
        assert store.consume_peer_record(record(pair, 4, [LOCAL]), 60) is accepted
        assert store.peer_record_map[id_of(pair)].seq == 5


WAYS = {
    "signed record": lambda store: store.consume_peer_record(record(keys(1), 1, ADDRESSES), 60),
    "all at once": lambda store: store.add_addrs(id_of(keys(1)), ADDRESSES, 60),
    "one by one": lambda store: [store.add_addr(id_of(keys(1)), one, 60) for one in ADDRESSES],
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_peer_has_32_addresses_at_most(way: Any) -> None:
    """However they come in; the library keeps them all."""
    for store, kept in ((PeerStore(), 100), (peer_store.TolerantPeerStore(), 32)):
        way(store)
        assert len(store.addrs(id_of(keys(1)))) == kept


def test_protocols_and_metadata_of_a_peer_are_bounded() -> None:
    """A megabyte of each is kept by the library."""
    for store, most in ((PeerStore(), None), (peer_store.TolerantPeerStore(), 80_000)):
        peer = some_peer(1)
        store.add_protocols(peer, ["x" * 1_000_000])
        store.set_protocols(peer, [f"/{number}".ljust(250) for number in range(4_000)])
        store.add_protocols(peer, [f"/more/{number}".ljust(250) for number in range(4_000)])
        for number in range(4_000):
            store.put(peer, f"key {number}", "x" * 200)
        store.put(peer, "long", "x" * 1_000_000)
        data = store.peer_data_map[peer]
        size = sum(map(len, data.protocols)) + sum(len(k) + len(v) for k, v in data.metadata.items())
        assert size > 1_000_000 if most is None else size < most


INSERTIONS = {
    "addresses": lambda store, peer: store.add_addrs(peer, [LOCAL], 60),
    "protocols": lambda store, peer: store.add_protocols(peer, ["/p/1"]),
    "set_protocols": lambda store, peer: store.set_protocols(peer, ["/p/1"]),
    "metadata": lambda store, peer: store.put(peer, "key", "value"),
    "latency": lambda store, peer: store.record_latency(peer, 0.1),
}


@pytest.mark.parametrize("insert", INSERTIONS.values(), ids=INSERTIONS)
def test_the_number_of_peers_is_bounded_at_insertion(insert: Any) -> None:
    """Who has not changed for longest goes; this host and connected peers stay."""
    store = peer_store.TolerantPeerStore(max_peers=10)
    own, connected = id_of(keys(1)), some_peer(0)
    store.add_key_pair(own, keys(1))
    store.is_connected = connected.__eq__
    for number in range(100):
        insert(store, some_peer(number))
    assert store.peer_ids() == [own, connected, *(some_peer(number) for number in range(92, 100))]
    insert(store, some_peer(92))
    insert(store, some_peer(100))
    assert store.has_peer(some_peer(92))
    assert not store.has_peer(some_peer(93))
    assert store.privkey(own) == keys(1).private_key


def test_signed_records_go_with_their_peers() -> None:
    """As many are kept as peers, and none that is large."""
    store = peer_store.TolerantPeerStore(max_peers=10)
    for number in range(1, 31):
        assert store.consume_peer_record(record(keys(number), 1, [LOCAL]), 60)
    assert list(store.peer_record_map) == store.peer_ids()
    assert len(store.peer_record_map) == 10
    assert not store.consume_peer_record(record(keys(40), 1, ADDRESSES * 20), 60)
    assert not store.has_peer(id_of(keys(40)))


def test_the_library_may_forget_its_own_key() -> None:
    """Too many peers push out the host itself, which has no address in its own store."""
    store = PeerStore(max_peers=10)
    store.add_key_pair(id_of(keys(1)), keys(1))
    for number in range(11):
        store.add_addrs(some_peer(number), [LOCAL], 60)
    assert not store.has_peer(id_of(keys(1)))
