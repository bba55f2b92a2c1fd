"""The peer store of a host, tolerant of signed peer records that arrive late."""

from typing import Any

from libp2p.peer.peerstore import PeerStore


class TolerantPeerStore(PeerStore):  # type: ignore[misc]
    """A peer store that ignores an older record instead of punishing the peer that sent it.

    Defect (0.8.1, peer/peerstore.py:402): a signed peer record older than the stored one counts as an attack:
    the request that carries it is reset, or the peer is skipped (kad_dht/peer_routing.py:429). But a record
    becomes old by a delay, or by a clock that was set back. Here it is ignored, and everything else in the
    message is used.
    Test: tests/swarm/test_peer_store.py.
    """

    def consume_peer_record(self, envelope: Any, ttl: int) -> bool:
        """Store a newer record; accept an older one of the same key without storing it."""
        record = envelope.record()
        known = self.peer_record_map.get(record.peer_id)
        if known is not None and known.seq > record.seq:
            return bool(envelope.public_key.serialize() == known.envelope.public_key.serialize())
        return bool(super().consume_peer_record(envelope, ttl))
