"""The Kademlia server of this node: the library's, corrected and bounded (docs/decisions/0004).

Answers other peers' requests and keeps the routing table and the provider records. Never looks anything up
and never announces: discovery does, request by request (dht_client.py). The defects are those of libp2p
0.8.1; tests/swarm/test_dht_server.py and test_kad.py (clients) show them.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import libp2p.kad_dht.common
import libp2p.kad_dht.kad_dht
import libp2p.kad_dht.peer_routing
import libp2p.kad_dht.provider_store
import libp2p.kad_dht.value_store
import trio
from libp2p.custom_types import TProtocol
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.kad_dht.provider_store import ProviderStore
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo

from ..library import streams

_MODULES_WITH_PROTOCOL_ID = (
    libp2p.kad_dht.common,
    libp2p.kad_dht.kad_dht,
    libp2p.kad_dht.peer_routing,
    libp2p.kad_dht.provider_store,
    libp2p.kad_dht.value_store,
)
MAX_KEYS = 8192
MAX_KEYS_PER_PEER = 256
_MAX_PROVIDER_ADDRESSES = 32
_MAX_STREAMS = 128
_MAX_STREAMS_PER_PEER = 32
_STREAM_TIMEOUT_S = 15.0


def use_protocol(protocol: str) -> None:
    """Set the protocol id of Kademlia, for the whole process.

    Defect (0.8.1, kad_dht/kad_dht.py:340): KadDHT(protocol_prefix=…) is ignored.
    """
    for module in _MODULES_WITH_PROTOCOL_ID:
        module.PROTOCOL_ID = TProtocol(protocol)


class BoundedProviderStore(ProviderStore):  # type: ignore[misc]
    """A provider store with a bound on keys, in all and for each peer, and on the addresses of a provider.

    Defect (0.8.1, kad_dht/provider_store.py): the library's store is unbounded.
    This node's own keys are not stored: `provides` decides at each request whether the node provides a key.
    So they never expire, are gone as soon as a session ends, and come with the present addresses.
    """

    def __init__(self, host: Any, peer_routing: Any, provides: Callable[[bytes], bool]) -> None:
        super().__init__(host=host, peer_routing=peer_routing)
        self.provides = provides
        self._keys_of_peer: dict[str, dict[bytes, None]] = {}
        """By peer: its keys, the one announced last at the end."""

    def add_provider(self, key: bytes, provider: PeerInfo) -> None:
        """Keep a record for `key`; beyond the bounds the oldest key makes room, of this peer or of all."""
        peer = str(provider.peer_id)
        keys = self._keys_of_peer.get(peer, {})
        if key not in keys and len(keys) >= MAX_KEYS_PER_PEER:
            self._drop(next(iter(keys)), peer)
        while key not in self.providers and len(self.providers) >= MAX_KEYS:
            self._drop(next(iter(self.providers)))
        bounded = PeerInfo(provider.peer_id, list(provider.addrs)[:_MAX_PROVIDER_ADDRESSES])
        super().add_provider(key, bounded)
        if peer in self.providers[key]:
            keys = self._keys_of_peer.setdefault(peer, {})
            keys.pop(key, None)
            keys[key] = None

    def get_providers(self, key: bytes) -> list[PeerInfo]:
        """Return the providers of `key`, this node itself first if it is one."""
        found = [info for info in super().get_providers(key) if info.peer_id != self.local_peer_id]
        if self.provides(key):
            found.insert(0, PeerInfo(self.local_peer_id, [_bare(addr) for addr in self.host.get_addrs()]))
        return found

    def cleanup_expired(self) -> None:
        """Drop expired records."""
        super().cleanup_expired()
        for peer, keys in list(self._keys_of_peer.items()):
            for key in [key for key in keys if peer not in self.providers.get(key, {})]:
                self._forget(key, peer)

    def _drop(self, key: bytes, peer: str | None = None) -> None:
        """Drop the records for a key: one peer's, or all of them."""
        records = self.providers.get(key, {})  # the library has dropped it already if it had expired
        for one in list(records) if peer is None else [peer]:
            records.pop(one, None)
            self._forget(key, one)
        if not records:
            self.providers.pop(key, None)

    def _forget(self, key: bytes, peer: str) -> None:
        keys = self._keys_of_peer.get(peer, {})
        keys.pop(key, None)
        if not keys:
            self._keys_of_peer.pop(peer, None)


def _bare(address: Any) -> Any:
    return address.decapsulate_code(421) if "/p2p/" in str(address) else address


class DhtServer(KadDHT):  # type: ignore[misc]
    """The library's DHT with bounded streams, and only servers in its routing table.

    Defect (0.8.1, kad_dht/kad_dht.py, _inbound_limiter): twelve streams that send nothing keep the server
    busy for ever. Here a stream ends after 15 s, and one peer has 32 at once.
    Defect (0.8.1, add_peer with skip_server_mode_check): a client, which only sends requests, enters the
    routing table as a server. Here only a peer enters that identify has shown to be a server.
    """

    def __init__(
        self, host: Any, mode: DHTMode, provides: Callable[[bytes], bool] = lambda _key: False
    ) -> None:
        super().__init__(host, mode)
        self.provider_store = BoundedProviderStore(host, self.peer_routing, provides)
        self._inbound_limiter = trio.CapacityLimiter(_MAX_STREAMS)
        self._streams_of_peer: Counter[bytes] = Counter()

    async def handle_stream(self, stream: Any) -> None:
        """Serve one stream, for 15 s at most."""
        peer = stream.muxed_conn.peer_id.to_bytes()
        if self._streams_of_peer[peer] >= _MAX_STREAMS_PER_PEER:
            await streams.reset(stream)
            return
        self._streams_of_peer[peer] += 1
        try:
            with trio.move_on_after(_STREAM_TIMEOUT_S) as timeout:
                await super().handle_stream(stream)
            if timeout.cancelled_caught:
                await streams.reset(stream)
        finally:
            self._streams_of_peer[peer] -= 1
            if not self._streams_of_peer[peer]:
                del self._streams_of_peer[peer]

    async def add_peer(self, peer_id: ID, *, skip_server_mode_check: bool = False) -> bool:
        """Add a peer to the routing table; return whether it was added.

        One that is no server never is, also where the library wants its own check skipped.
        """
        if skip_server_mode_check and not self.is_server(peer_id):
            return False
        return bool(await super().add_peer(peer_id, skip_server_mode_check=skip_server_mode_check))

    def is_server(self, peer_id: ID) -> bool:
        """Return whether identify has shown that the peer serves this DHT."""
        try:
            protocols = self.host.get_peerstore().get_protocols(peer_id)
        except Exception:  # not in the store: not identified yet
            return False
        return str(libp2p.kad_dht.common.PROTOCOL_ID) in protocols
