"""The Kademlia server: the defect of the library, and its absence with the correction.

A test whose first half fails shows that the library no longer needs that correction: remove it.
"""

import contextlib
import time
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
from libp2p.custom_types import TProtocol
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.kad_dht.provider_store import ProviderStore
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo

from spacedrive_node.actors.swarm.kad import dht_client, dht_server
from spacedrive_node.actors.swarm.library import streams
from spacedrive_node.tests.harness.library_hosts import LOCAL, keys, our_host, running


async def test_the_dht_protocol_can_be_chosen() -> None:
    """KadDHT(protocol_prefix=…) changes nothing; use_protocol does."""
    dht_server.use_protocol("/ipfs/kad/1.0.0")
    host = our_host(1)
    KadDHT(host, DHTMode.SERVER, protocol_prefix=TProtocol("/mine"))
    assert not any("mine" in str(protocol) for protocol in host.get_mux().get_protocols())
    dht_server.use_protocol("/mine/kad/1.0.0")
    dht_server.DhtServer(host, DHTMode.SERVER)
    assert TProtocol("/mine/kad/1.0.0") in host.get_mux().get_protocols()


async def test_the_provider_store_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library keeps whatever it is sent; ours keeps so many keys, in all and of each peer."""
    monkeypatch.setattr(dht_server, "MAX_KEYS", 20)
    monkeypatch.setattr(dht_server, "MAX_KEYS_PER_PEER", 15)
    host = our_host(1)
    own = b"\x12\x20" + bytes(32)
    library, ours = ProviderStore(host), dht_server.BoundedProviderStore(host, None, own.__eq__)
    peers = [PeerInfo(ID.from_pubkey(keys(n).public_key), [LOCAL] * 50) for n in (2, 3, 4)]
    for number in range(100):
        for store in (library, ours):
            store.add_provider(number.to_bytes(34, "big"), peers[number % 3])
    assert len(library.providers) == 100
    assert len(ours.providers) == 20
    assert all(len(r.addresses) == 32 for records in ours.providers.values() for r in records.values())
    assert [info.peer_id for info in ours.get_providers(own)] == [host.get_id()]
    assert sum(len(keys) for keys in ours._keys_of_peer.values()) == 20


async def test_the_newest_announcement_of_a_peer_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that shows one code after another is found by the last ones, and pushes out only its own."""
    monkeypatch.setattr(dht_server, "MAX_KEYS_PER_PEER", 15)
    ours = dht_server.BoundedProviderStore(our_host(1), None, lambda _key: False)
    busy, other = (PeerInfo(ID.from_pubkey(keys(n).public_key), [LOCAL]) for n in (2, 3))
    wanted = [number.to_bytes(34, "big") for number in range(100)]
    ours.add_provider(wanted[0], other)
    for key in wanted:
        ours.add_provider(key, busy)
        ours.add_provider(wanted[0], busy)  # announced again and again
    there = [number for number, key in enumerate(wanted) if ours.get_providers(key)]
    assert there == [0, *range(86, 100)]
    assert {info.peer_id for info in ours.get_providers(wanted[0])} == {busy.peer_id, other.peer_id}
    monkeypatch.setattr(time, "time", lambda: 1e12)
    assert ours.get_providers(wanted[0]) == []
    ours.add_provider(wanted[1], busy)
    ours.cleanup_expired()
    assert list(ours._keys_of_peer) == [str(busy.peer_id)]
    assert len(ours.providers) == len(ours._keys_of_peer[str(busy.peer_id)]) == 1


@pytest.mark.parametrize("corrected", [False, True])
async def test_silent_streams_do_not_stop_the_dht(corrected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve streams that say nothing keep the library's server busy for ever; ours bounds a peer's share."""
    monkeypatch.setattr(dht_server, "_MAX_STREAMS", 12)
    monkeypatch.setattr(dht_server, "_MAX_STREAMS_PER_PEER", 4)
    dht_server.use_protocol("/test/kad")
    server, client, other = our_host(1), our_host(2), our_host(3)
    dht: Any = dht_server.DhtServer(server, DHTMode.SERVER) if corrected else KadDHT(server, DHTMode.SERVER)
    request = dht_client.encode_request("find_node", b"\x12\x20" + bytes(32), b"", ())
    async with running(server, client, other) as (address, *_), AsyncExitStack() as silent:
        connection = await client.get_network().dial_addr(address, server.get_id())
        for _ in range(12):
            with contextlib.suppress(streams.StreamError):
                await silent.enter_async_context(streams.open_stream(connection, "/test/kad"))
        with trio.fail_after(5):
            while dht._inbound_limiter.borrowed_tokens < (4 if corrected else 12):
                await trio.lowlevel.checkpoint()
        honest = await other.get_network().dial_addr(address, server.get_id())
        served = False
        with contextlib.suppress(streams.StreamError), trio.fail_after(5):
            async with streams.open_stream(honest, "/test/kad") as stream:
                await streams.write(stream, bytes([len(request)]) + request)
                served = bool(await streams.read_varint_message(stream, 65536))
        assert served is corrected


async def test_a_silent_stream_of_the_dht_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours resets a stream that lives too long; the library would wait for ever."""
    monkeypatch.setattr(dht_server, "_STREAM_TIMEOUT_S", 0.05)
    dht_server.use_protocol("/test/kad")
    server, client = our_host(1), our_host(2)
    dht_server.DhtServer(server, DHTMode.SERVER)
    async with running(server, client) as (address, _):
        connection = await client.get_network().dial_addr(address, server.get_id())
        with pytest.raises(streams.StreamError), trio.fail_after(5):
            async with streams.open_stream(connection, "/test/kad") as stream:
                await streams.read_exactly(stream, 1)
