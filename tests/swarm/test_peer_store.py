"""Peer records that arrive late: the defect of the library, and its absence with the correction."""

from typing import Any

from libp2p.peer.envelope import seal_record
from libp2p.peer.id import ID
from libp2p.peer.peer_record import PeerRecord
from libp2p.peer.peerstore import PeerStore

from spacedrive_node.actors.swarm.library import peer_store
from spacedrive_node.tests.harness.library_hosts import LOCAL, keys


def test_an_older_peer_record_is_no_offence() -> None:
    """A record older than the stored one makes the library drop its bearer; ours passes it over."""
    pair = keys(1)
    peer = ID.from_pubkey(pair.public_key)

    def record(sequence: int) -> Any:
        return seal_record(PeerRecord(peer, [LOCAL], sequence), pair.private_key)

    for store, accepted in ((PeerStore(), False), (peer_store.TolerantPeerStore(), True)):
        assert store.consume_peer_record(record(5), 60)
        assert store.consume_peer_record(record(4), 60) is accepted
        assert store.peer_record_map[peer].seq == 5
