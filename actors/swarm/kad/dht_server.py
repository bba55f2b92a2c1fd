"""The Kademlia server of this node: the library's, with its defects corrected (libp2p 0.8.1).

Answers other peers' requests and keeps the routing table. Never looks anything up and never announces:
that is discovery's, request by request (dht_client.py). docs/decisions/0004-libp2p-corrections.md.
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

_MODULES = (
    libp2p.kad_dht.common,
    libp2p.kad_dht.kad_dht,
    libp2p.kad_dht.peer_routing,
    libp2p.kad_dht.provider_store,
    libp2p.kad_dht.value_store,
)
MOST_KEYS = 8192
MOST_KEYS_OF_PEER = 256
_ADDRESSES_OF_PROVIDER = 32
_STREAMS = 128
_STREAMS_OF_PEER = 32
_STREAM_LIFE = 15.0


def use_protocol(protocol: str) -> None:
    """Defect: KadDHT(protocol_prefix=…) is ignored (kad_dht/kad_dht.py:340). Set for the whole process."""
    for module in _MODULES:
        module.PROTOCOL_ID = TProtocol(protocol)


class Providers(ProviderStore):  # type: ignore[misc]
    """Defect: the provider store is unbounded. Here keys are, in all and for each peer, and addresses.

    Own keys stand apart: they never expire, go at once when withdrawn, and carry the present addresses.
    """

    def __init__(self, host: Any, peer_routing: Any, provides: Callable[[bytes], bool]) -> None:
        super().__init__(host=host, peer_routing=peer_routing)
        self.provides = provides
        self._keys_of_peer: dict[str, dict[bytes, None]] = {}
        """The key announced last is the last one."""

    def add_provider(self, key: bytes, provider: PeerInfo) -> None:
        """Keep a record for `key`, within the bounds: a peer's oldest one makes room for its newest."""
        peer = str(provider.peer_id)
        keys = self._keys_of_peer.get(peer, {})
        if key not in keys and len(keys) >= MOST_KEYS_OF_PEER:
            self._drop(next(iter(keys)), peer)
        while key not in self.providers and len(self.providers) >= MOST_KEYS:
            self._drop(next(iter(self.providers)))
        bounded = PeerInfo(provider.peer_id, list(provider.addrs)[:_ADDRESSES_OF_PROVIDER])
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
        """Drop expired records, and what is kept about them."""
        super().cleanup_expired()
        for peer, keys in list(self._keys_of_peer.items()):
            for key in [key for key in keys if peer not in self.providers.get(key, {})]:
                self._forget(key, peer)

    def _drop(self, key: bytes, peer: str | None = None) -> None:
        """Drop the record of one peer for a key, or all of them."""
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


class Dht(KadDHT):  # type: ignore[misc]
    """The library's DHT with two more corrections.

    Defect: twelve streams that send nothing keep a server busy for ever (kad_dht.py, _inbound_limiter); here
    a stream has a life and a peer a share. Defect: a peer that only asks, a client, enters the routing table
    as a server (add_peer with skip_server_mode_check); here only one that identify has shown to be a server.
    """

    def __init__(
        self, host: Any, mode: DHTMode, provides: Callable[[bytes], bool] = lambda _key: False
    ) -> None:
        super().__init__(host, mode)
        self.provider_store = Providers(host, self.peer_routing, provides)
        self._inbound_limiter = trio.CapacityLimiter(_STREAMS)
        self._streams_of_peer: Counter[bytes] = Counter()

    async def handle_stream(self, stream: Any) -> None:
        """Serve one stream for a bounded time."""
        peer = stream.muxed_conn.peer_id.to_bytes()
        if self._streams_of_peer[peer] >= _STREAMS_OF_PEER:
            await streams.reset(stream)
            return
        self._streams_of_peer[peer] += 1
        try:
            with trio.move_on_after(_STREAM_LIFE) as life:
                await super().handle_stream(stream)
            if life.cancelled_caught:
                await streams.reset(stream)
        finally:
            self._streams_of_peer[peer] -= 1
            if not self._streams_of_peer[peer]:
                del self._streams_of_peer[peer]

    async def add_peer(self, peer_id: ID, *, skip_server_mode_check: bool = False) -> bool:
        """Add a peer that identify has shown to speak the DHT protocol."""
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
