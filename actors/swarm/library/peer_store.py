"""The peer store of a host: bounded however an entry comes in, and tolerant of peer records that arrive late.

Owns what is remembered of a peer. The bounds hold at insertion, for every part of the library that stores
something: identify, signed records, dialing. Implements docs/protocol.md, "Limits" (what is remembered of a
peer).
"""

from collections.abc import Callable, Sequence
from typing import Any

from libp2p.peer.id import ID
from libp2p.peer.peerdata import PeerData
from libp2p.peer.peerstore import PeerStore

MAX_PEERS = 1024
MAX_ADDRESSES = 32
MAX_ADDRESS_BYTES = 256
MAX_PROTOCOLS = 128
MAX_PROTOCOL_CHARACTERS = 256
MAX_METADATA_ENTRIES = 16
MAX_METADATA_CHARACTERS = 256
MAX_KEY_BYTES = 4096
MAX_RECORD_BYTES = 8 * 1024


class BoundedPeerData(PeerData):  # type: ignore[misc]
    """What is remembered of one peer: the first addresses, protocols and metadata, as many as are allowed."""

    protocols: list[str]

    def add_addrs(self, addrs: Sequence[Any]) -> None:
        """Add addresses, of which the first 32 are looked at."""
        for address in addrs[:MAX_ADDRESSES]:
            if len(self.addrs) >= MAX_ADDRESSES:
                return
            if len(address.to_bytes()) <= MAX_ADDRESS_BYTES and address not in self.addrs:
                self.addrs.append(address)

    def add_protocols(self, protocols: Sequence[str]) -> None:
        """Add protocols, as far as there is room."""
        fitting = [one for one in protocols[:MAX_PROTOCOLS] if len(one) <= MAX_PROTOCOL_CHARACTERS]
        self.protocols = list(dict.fromkeys([*self.protocols, *fitting]))[:MAX_PROTOCOLS]

    def set_protocols(self, protocols: Sequence[str]) -> None:
        """Replace the protocols."""
        self.protocols = []
        self.add_protocols(protocols)

    def put_metadata(self, key: str, val: Any) -> None:
        """Add one value; what is too long or too much is dropped."""
        has_room = key in self.metadata or len(self.metadata) < MAX_METADATA_ENTRIES
        if has_room and len(key) + len(str(val)) <= MAX_METADATA_CHARACTERS:
            super().put_metadata(key, val)

    def add_pubkey(self, pubkey: Any) -> None:
        """Keep the public key, if it has a sensible size."""
        if len(pubkey.serialize()) <= MAX_KEY_BYTES:
            super().add_pubkey(pubkey)


class _PeerTable(dict[ID, BoundedPeerData]):
    """The peers of a store, the one changed last at the end; a new one takes the place of another."""

    def __init__(
        self, limit: int, is_connected: Callable[[ID], bool], forget: Callable[[ID], object]
    ) -> None:
        super().__init__()
        self._limit = limit
        self._is_connected = is_connected
        self._forget = forget

    def setdefault(self, peer_id: ID, _default: Any = None) -> BoundedPeerData:
        """Return what is remembered of a peer, from now on as the one changed last."""
        data = self.pop(peer_id, None)
        if data is None:
            self._make_room()
            data = BoundedPeerData()
        self[peer_id] = data
        return data

    def _make_room(self) -> None:
        """Forget the peer that has not changed for longest: never this host; a connected one if all are."""
        while len(self) >= self._limit:
            others = [peer_id for peer_id, data in self.items() if data.privkey is None]
            if not others:
                return
            peer_id = next((one for one in others if not self._is_connected(one)), others[0])
            del self[peer_id]
            self._forget(peer_id)


class TolerantPeerStore(PeerStore):  # type: ignore[misc]
    """A bounded peer store that ignores an older record instead of punishing the peer that sent it.

    Defect (0.8.1, peer/peerdata.py:88): the addresses of a peer have no bound, and each new one is compared
    with all others: 20 000 in one signed record block the process for seconds. Protocols and metadata have no
    bound either. Here each has one, at insertion.
    Defect (0.8.1, peer/peerstore.py:195): the number of peers is bounded only when an address is added; the
    one that goes first may be this host itself, with its private key. Here the bound holds for every
    insertion, and the host and connected peers stay.
    Defect (0.8.1, peer/peerstore.py:402): a signed peer record older than the stored one counts as an attack:
    the request that carries it is reset, or the peer is skipped (kad_dht/peer_routing.py:429). But a record
    becomes old by a delay, or by a clock that was set back. Here it is ignored, and everything else in the
    message is used.
    Tests: tests/swarm/test_peer_store.py; tests/limits/test_strangers_bytes.py.
    """

    def __init__(self, max_peers: int = MAX_PEERS) -> None:
        super().__init__(max_peers=max_peers)
        self.is_connected: Callable[[ID], bool] = lambda _peer_id: False
        """Whether there is a connection with a peer; host_factory.py sets it."""
        self.peer_data_map = _PeerTable(
            max_peers,
            lambda peer_id: self.is_connected(peer_id),
            lambda peer_id: self.peer_record_map.pop(peer_id, None),
        )

    def consume_peer_record(self, envelope: Any, ttl: int) -> bool:
        """Store a newer record; accept an older one of the same key without storing it."""
        if len(envelope.raw_payload) > MAX_RECORD_BYTES:
            return False
        record = envelope.record()
        known = self.peer_record_map.get(record.peer_id)
        if known is not None and known.seq > record.seq:
            return bool(envelope.public_key.serialize() == known.envelope.public_key.serialize())
        return bool(super().consume_peer_record(envelope, ttl))
