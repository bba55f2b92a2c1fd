"""The Kademlia servers that this node knows, and which changes of them are news for discovery.

A peer enters once identify has shown that it serves this DHT, and leaves when it does not answer a request.
Owns no connection and sends nothing: node.py reports what changes here.
"""

from collections.abc import Callable
from typing import Any

from libp2p.peer.id import ID

from ....messages.types import PeerAddresses
from . import dht_client
from .dht_server import DhtServer


class RoutingTable:
    """The routing table of one host. `existing` returns a live connection with a peer, or None."""

    def __init__(self, dht: DhtServer, peer_store: Any, existing: Callable[[bytes], Any | None]) -> None:
        self._dht = dht
        self._peer_store = peer_store
        self._existing = existing
        self._disconnected: set[bytes] = set()
        """Servers of the table with which no connection is left."""

    @property
    def size(self) -> int:
        """How many servers are in the table."""
        return int(self._dht.get_routing_table_size())

    def closest(self, key: bytes) -> tuple[PeerAddresses, ...]:
        """Return the servers closest to `key`, at most 20, with their addresses."""
        limit = dht_client.MAX_CLOSER_PEERS
        peers = self._dht.routing_table.find_local_closest_peers(key, limit)
        return tuple(self._with_addresses(peer) for peer in peers[:limit])

    async def add_if_server(self, peer_id: ID) -> PeerAddresses | None:
        """Add a peer that serves this DHT, or refresh its addresses.

        Return it if that is news: it was not in the table, or had lost its connection.
        """
        if not self._dht.is_server(peer_id):
            return None
        table = self._dht.routing_table
        known = table.peer_in_table(peer_id)
        is_news = not known or peer_id.to_bytes() in self._disconnected
        self._disconnected.discard(peer_id.to_bytes())
        if known:
            table.remove_peer(peer_id)  # add_peer would keep the former addresses
        if await self._dht.add_peer(peer_id) and is_news:
            return self._with_addresses(peer_id)
        return None

    def handle_disconnected(self, peer_id: ID) -> bool:
        """Return whether the last connection with a server of the table has ended. The server stays in it."""
        peer = peer_id.to_bytes()
        if self._dht.routing_table.peer_in_table(peer_id) and self._existing(peer) is None:
            self._disconnected.add(peer)
            return True
        return False

    def remove(self, peer: bytes) -> bool:
        """Remove a server that does not answer; return whether it was there. Identify brings it back."""
        self._disconnected.discard(peer)
        if not self._dht.routing_table.peer_in_table(ID(peer)):
            return False
        self._dht.routing_table.remove_peer(ID(peer))
        return True

    def _with_addresses(self, peer_id: ID) -> PeerAddresses:
        try:
            known = self._peer_store.addrs(peer_id)
        except Exception:  # expired in the peer store: use what the routing table remembers
            info = self._dht.routing_table.get_peer_info(peer_id)
            known = [] if info is None else info.addrs
        return PeerAddresses(peer_id.to_bytes(), dht_client.readable_addresses(known))
