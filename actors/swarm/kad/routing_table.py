"""The Kademlia servers that this node knows, and which changes of them are news for discovery.

A peer enters once identify has shown, over a live connection, that it serves this DHT; it leaves when it does
not answer a request. Owns no connection, sends nothing, and never looks a peer up: node.py reports what
changes here. (The library's table pings and dials its entries, docs/decisions/0004.)
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from libp2p.peer.id import ID

from ....messages.types import PeerAddresses
from ...base import now
from ..dial.addresses import is_public_block
from ..dial.hearsay import heard
from ..library.connections import address_block_of, dialled_address, host_of
from . import dht_client

BUCKET_SIZE = 20
"""kad-dht, "Replication parameter (k)"."""
MAX_PER_BLOCK = 2
"""Servers in one bucket that are connected from one address block, where that is a public one."""
UNSEEN_S = 3600.0
"""A server without a connection makes room for a new one after this time."""


@dataclass(slots=True)
class _Server:
    point: int
    addresses: tuple[bytes, ...]
    address_block: str | None
    reached_at: str | None
    """The IP address at which it was reached last: what it says of its addresses is judged by it."""
    seen_at: float


def kademlia_point(data: bytes) -> int:
    """Return the position of a key or a binary peer id in the key space: its SHA-256 as a number."""
    return int.from_bytes(hashlib.sha256(data).digest(), "big")


class RoutingTable:
    """The routing table of one host. `existing` returns a live connection with a peer, or None.

    A bucket has the servers whose distance from this node has the same number of bits.
    """

    def __init__(
        self, own_peer: bytes, protocol: str, peer_store: Any, existing: Callable[[bytes], Any | None]
    ) -> None:
        self._own_point = kademlia_point(own_peer)
        self._own_peer = own_peer
        self._protocol = protocol
        self._peer_store = peer_store
        self._existing = existing
        self._buckets: dict[int, dict[bytes, _Server]] = {}
        """By number of bits; in each the server seen last is at the end."""
        self._disconnected: set[bytes] = set()
        """Servers of the table with which no connection is left."""

    @property
    def size(self) -> int:
        """How many servers are in the table."""
        return sum(map(len, self._buckets.values()))

    def closest_peers(self, key: bytes, limit: int) -> list[tuple[bytes, tuple[bytes, ...]]]:
        """Return the servers closest to `key`, each with its addresses as binary multiaddrs."""
        return [(peer, server.addresses) for peer, server in self._closest(key, limit)]

    def closest(self, key: bytes) -> tuple[PeerAddresses, ...]:
        """Return the servers closest to `key`, at most 20, with their addresses."""
        return tuple(_heard(peer, server) for peer, server in self._closest(key, dht_client.MAX_CLOSER_PEERS))

    def add_if_server(self, peer_id: ID) -> PeerAddresses | None:
        """Add a peer that serves this DHT and is connected, or refresh its addresses.

        Return it if that is news: it was not in the table, or had lost its connection. Identify also tells of
        one whose connection ended before it had an answer; what it said before is no sign that it is there.
        """
        peer = peer_id.to_bytes()
        addresses = self._addresses_of_server(peer_id)
        if peer == self._own_peer or addresses is None:
            return None
        bucket = self._bucket(peer)
        is_news = peer not in bucket or peer in self._disconnected
        connection = self._existing(peer)
        if connection is None:
            return None
        block = address_block_of(connection.muxed_conn)
        former = bucket.pop(peer, None)
        if former is None and not self._has_room(bucket, block):
            return None
        self._disconnected.discard(peer)
        bucket[peer] = _Server(kademlia_point(peer), addresses, block, host_of(connection), now())
        return _heard(peer, bucket[peer]) if is_news else None

    def handle_disconnected(self, peer_id: ID) -> bool:
        """Return whether the last connection with a server of the table has ended. The server stays in it."""
        peer = peer_id.to_bytes()
        if peer in self._bucket(peer) and self._existing(peer) is None:
            self._disconnected.add(peer)
            return True
        return False

    def has_retired(self, peer_id: ID) -> bool:
        """Return whether a peer of the table says by now that it serves this DHT no more."""
        peer = peer_id.to_bytes()
        if peer not in self._bucket(peer):
            return False
        try:
            return self._protocol not in self._peer_store.get_protocols(peer_id)
        except Exception:  # as in _addresses_of_server
            return False

    def remove(self, peer: bytes) -> bool:
        """Remove a server that does not answer; return whether it was there. Identify brings it back."""
        self._disconnected.discard(peer)
        return self._bucket(peer).pop(peer, None) is not None

    def _closest(self, key: bytes, limit: int) -> list[tuple[bytes, _Server]]:
        point = kademlia_point(key)
        servers = [item for bucket in self._buckets.values() for item in bucket.items()]
        servers.sort(key=lambda item: item[1].point ^ point)
        return servers[:limit]

    def _bucket(self, peer: bytes) -> dict[bytes, _Server]:
        return self._buckets.setdefault((kademlia_point(peer) ^ self._own_point).bit_length(), {})

    def _has_room(self, bucket: dict[bytes, _Server], address_block: str | None) -> bool:
        """Return whether a new server may enter; one that has not been seen for an hour makes room for it."""
        if is_public_block(address_block):
            same = sum(server.address_block == address_block for server in bucket.values())
            if same >= MAX_PER_BLOCK:
                return False
        if len(bucket) < BUCKET_SIZE:
            return True
        for peer, server in bucket.items():
            if server.seen_at + UNSEEN_S <= now() and self._existing(peer) is None:
                return self.remove(peer)
        return False

    def _addresses_of_server(self, peer_id: ID) -> tuple[bytes, ...] | None:
        """Return the addresses of a peer that identify has shown to serve this DHT; None for any other.

        Where it names none there is the one at which it was dialled.
        """
        try:
            if self._protocol not in self._peer_store.get_protocols(peer_id):
                return None
        except Exception:  # not in the peer store, or expired: not identified yet
            return None
        try:
            known = self._peer_store.addrs(peer_id)
        except Exception:  # as above: no address is known
            known = []
        if not known and (connection := self._existing(peer_id.to_bytes())) is not None:
            dialled = dialled_address(connection)
            known = [] if dialled is None else [dialled]
        return dht_client.dialable_addresses(known) if known else None


def _heard(peer: bytes, server: _Server) -> PeerAddresses:
    """Return a server with those of its addresses that are believed of it, as it was reached."""
    return heard(PeerAddresses(peer, dht_client.readable_addresses(server.addresses)), server.reached_at)
