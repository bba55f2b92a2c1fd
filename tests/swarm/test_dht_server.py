"""The Kademlia server: what the library's does, and what ours does instead.

A test whose first half fails shows that the library no longer has that defect.
"""

import contextlib
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
from libp2p.custom_types import TProtocol
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.kad import dht_client, dht_server, routing_table
from spacedrive_node.actors.swarm.kad.dht_server import DhtServer, RefusedRequestError
from spacedrive_node.actors.swarm.kad.routing_table import RoutingTable
from spacedrive_node.actors.swarm.library import streams
from spacedrive_node.actors.swarm.pairing.rate_limits import Pace
from spacedrive_node.tests.harness.library_hosts import keys, our_host, running

KAD = "/test/kad"
KEY = b"\x12\x20" + bytes(32)
TYPES = Message.MessageType


def make_server(host: Any, own_key: bytes = b"") -> DhtServer:
    own = host.get_id().to_bytes()
    table = RoutingTable(own, KAD, host.get_peerstore(), lambda _peer: Connected("192.168.1.7"))
    server = DhtServer(host, table, own_key.__eq__)
    server.serve(KAD)
    return server


def asked(server: DhtServer, kind: Any, key: bytes = KEY, peer: bytes = b"p") -> Any:
    request = Message(type=kind, key=key)
    if kind == TYPES.ADD_PROVIDER:
        entry = request.providerPeers.add()
        entry.id = peer
        entry.addrs.append(Multiaddr("/ip4/192.0.2.1/tcp/1").to_bytes())
    answer = Message()
    answer.ParseFromString(server.answer(peer, None, request.SerializeToString()))
    return answer


async def test_the_dht_protocol_can_be_chosen() -> None:
    """KadDHT(protocol_prefix=…) changes nothing; ours serves what it is told."""
    host = our_host(1)
    KadDHT(host, DHTMode.SERVER, protocol_prefix=TProtocol("/mine"))
    assert not any("mine" in str(protocol) for protocol in host.get_mux().get_protocols())
    make_server(host)
    assert TProtocol(KAD) in host.get_mux().get_protocols()


async def test_own_keys_are_answered_first_and_never_stored() -> None:
    """With the present addresses, as long as the node provides them."""
    host = our_host(1)
    server = make_server(host, KEY)
    asked(server, TYPES.ADD_PROVIDER)
    named = [entry.id for entry in asked(server, TYPES.GET_PROVIDERS).providerPeers]
    assert named == [host.get_id().to_bytes(), b"p"]
    assert len(server.records) == 1


async def test_only_the_sender_is_announced() -> None:
    """Others in the same message are passed over, and so is one without a usable address."""
    server = make_server(our_host(1))
    request = Message(type=TYPES.ADD_PROVIDER, key=KEY)
    for peer in (b"other", b"p"):
        entry = request.providerPeers.add()
        entry.id = peer
        entry.addrs.append(Multiaddr("/ip4/192.0.2.1/udp/1/quic-v1/webtransport").to_bytes())
    server.answer(b"p", None, request.SerializeToString())
    assert len(server.records) == 0
    request.providerPeers[0].addrs.append(Multiaddr("/ip4/192.0.2.1/tcp/1").to_bytes())
    server.answer(b"p", None, request.SerializeToString())
    assert len(server.records) == 0
    request.providerPeers[1].addrs.append(Multiaddr("/ip4/192.0.2.1/tcp/1").to_bytes())
    server.answer(b"p", None, request.SerializeToString())
    [(peer, record)] = server.records.providers(KEY, 0.0)
    assert (peer, record.addresses) == (b"p", (Multiaddr("/ip4/192.0.2.1/tcp/1").to_bytes(),))


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (TYPES.FIND_NODE, b""),
        (TYPES.GET_PROVIDERS, bytes(129)),
        (TYPES.ADD_PROVIDER, bytes(81)),
        (TYPES.GET_VALUE, KEY),
        (TYPES.PUT_VALUE, KEY),
    ],
)
async def test_what_is_not_served_is_refused(kind: Any, key: bytes) -> None:
    """Keys of no sensible length, and values."""
    server = make_server(our_host(1))
    with pytest.raises(RefusedRequestError):
        asked(server, kind, key)
    with pytest.raises(RefusedRequestError):
        server.answer(b"p", None, b"\xff" * 40)
    assert asked(server, TYPES.PING).type == TYPES.PING


async def test_the_peer_that_is_looked_for_is_named() -> None:
    """If its addresses are known, server or not; and this node itself."""
    host = our_host(1)
    server = make_server(host)
    peer = ID(KEY)
    assert not asked(server, TYPES.FIND_NODE).closerPeers
    host.get_peerstore().add_addrs(peer, [Multiaddr(f"/ip4/192.0.2.1/tcp/{n}") for n in range(1, 30)], 60)
    [entry] = asked(server, TYPES.FIND_NODE).closerPeers
    assert (entry.id, len(entry.addrs)) == (KEY, 8)
    assert not asked(server, TYPES.FIND_NODE, peer=KEY).closerPeers
    [entry] = asked(server, TYPES.FIND_NODE, host.get_id().to_bytes()).closerPeers
    assert entry.id == host.get_id().to_bytes()


async def test_the_largest_answer_is_one_that_our_client_reads() -> None:
    """Forty peers, each with the longest names for addresses."""
    host = our_host(1)
    server = make_server(host)
    names = [Multiaddr(f"/dns4/{letter * 60}.{'b' * 60}.{'c' * 60}.example/tcp/1") for letter in "adefghij"]
    for number in range(40):
        peer = b"\x12\x20" + number.to_bytes(32, "big")
        host.get_peerstore().add_addrs(ID(peer), names, 60)
        host.get_peerstore().set_protocols(ID(peer), [KAD])
        server._routing_table.add_if_server(ID(peer))
        request = Message(type=TYPES.ADD_PROVIDER, key=KEY)
        entry = request.providerPeers.add()
        entry.id = peer
        entry.addrs.extend(name.to_bytes() for name in names)
        if number < 20:
            server.answer(peer, None, request.SerializeToString())
    data = server.answer(b"p", None, Message(type=TYPES.GET_PROVIDERS, key=KEY).SerializeToString())
    assert 32 * 1024 < len(data) <= dht_client.MAX_ANSWER_BYTES
    closer, providers = dht_client.decode_answer(data, b"own")
    assert (len(closer), len(providers)) == (20, 20)


@pytest.mark.parametrize("corrected", [False, True])
async def test_silent_streams_do_not_stop_the_dht(corrected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve streams that say nothing keep the library's server busy for ever; ours bounds a peer's share."""
    monkeypatch.setattr(dht_server, "MAX_STREAMS", 12)
    monkeypatch.setattr(dht_server, "MAX_STREAMS_PER_PEER", 4)
    server, client, other = our_host(1), our_host(2), our_host(3)
    dht: Any = make_server(server) if corrected else KadDHT(server, DHTMode.SERVER)
    protocol = KAD if corrected else "/ipfs/kad/1.0.0"
    request = dht_client.encode_request("find_node", KEY, b"", ())
    async with running(server, client, other) as (address, *_), AsyncExitStack() as silent:
        connection = await client.get_network().dial_addr(address, server.get_id())
        for _ in range(12):
            with contextlib.suppress(streams.StreamError):
                await silent.enter_async_context(streams.open_stream(connection, protocol))
        with trio.fail_after(60):
            while (len(dht._slots) if corrected else dht._inbound_limiter.borrowed_tokens) < (
                4 if corrected else 12
            ):
                await trio.lowlevel.checkpoint()
        honest = await other.get_network().dial_addr(address, server.get_id())
        served = False
        with contextlib.suppress(streams.StreamError), trio.fail_after(60):
            async with streams.open_stream(honest, protocol) as stream:
                await streams.write(stream, bytes([len(request)]) + request)
                served = bool(await streams.read_varint_message(stream, 65536))
        assert served is corrected


async def ping(stream: Any, count: int = 1) -> None:
    """Send some requests in one packet and read their answers. Raises StreamError."""
    request = Message(type=TYPES.PING).SerializeToString()
    await streams.write(stream, (bytes([len(request)]) + request) * count)
    for _ in range(count):
        await streams.read_varint_message(stream, 65536)


async def test_a_crowd_that_holds_all_streams_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three strangers of one block hold as many streams as there are and say nothing: others are served."""
    monkeypatch.setattr(dht_server, "MAX_STREAMS", 12)
    monkeypatch.setattr(dht_server, "MAX_STREAMS_PER_PEER", 4)
    server, honest, *crowd = [our_host(number) for number in range(1, 6)]
    dht = make_server(server)
    async with running(server, honest, *crowd) as (address, *_), AsyncExitStack() as silent:
        for stranger in crowd:
            connection = await stranger.get_network().dial_addr(address, server.get_id())
            for _ in range(4):
                await silent.enter_async_context(streams.open_stream(connection, KAD))
        with trio.fail_after(60):
            while len(dht._slots) < 12:
                await trio.lowlevel.checkpoint()
        elsewhere = await honest.get_network().dial_addr(address, server.get_id(), source=("127.0.9.1", 0))
        with trio.fail_after(60):
            async with streams.open_stream(elsewhere, KAD) as stream:
                await ping(stream)


async def test_hundreds_of_requests_in_a_packet_wait_for_their_turn() -> None:
    """They are answered at a pace, and nobody else has to wait for it."""
    server, stranger, honest = our_host(1), our_host(2), our_host(3)
    dht = make_server(server)
    dht._pace = Pace(per_second=4, burst=5)
    async with running(server, stranger, honest) as (address, *_), trio.open_nursery() as nursery:
        connection = await stranger.get_network().dial_addr(address, server.get_id())
        other = await honest.get_network().dial_addr(address, server.get_id())
        is_through = trio.Event()

        async def flood() -> None:
            async with streams.open_stream(connection, KAD) as stream:
                await ping(stream, 15)
            is_through.set()

        began = trio.current_time()
        with trio.fail_after(30):
            nursery.start_soon(flood)
            async with streams.open_stream(other, KAD) as stream:
                await ping(stream)
            assert not is_through.is_set()
            await is_through.wait()
        assert trio.current_time() - began >= 9 / 4


async def test_a_silent_stream_of_the_dht_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours resets a stream that lives too long; the library would wait for ever."""
    monkeypatch.setattr(dht_server, "_STREAM_TIMEOUT_S", 0.05)
    server, client = our_host(1), our_host(2)
    make_server(server)
    async with running(server, client) as (address, _):
        connection = await client.get_network().dial_addr(address, server.get_id())
        with pytest.raises(streams.StreamError), trio.fail_after(60):
            async with streams.open_stream(connection, KAD) as stream:
                await streams.read_exactly(stream, 1)


# -- the routing table ---------------------------------------------------------------------------------


class Connected:
    """A live connection of a test, from an address."""

    def __init__(self, address: str, *, is_initiator: bool = False) -> None:
        self.muxed_conn = self
        self.address = address
        self.is_initiator = is_initiator

    def get_remote_address(self) -> tuple[str, int]:
        return self.address, 1


def in_one_bucket(own: bytes, count: int) -> list[ID]:
    """Return peers that are all in the bucket that is farthest from `own`."""
    point = routing_table.kademlia_point(own)
    peers = (ID(b"\x12\x20" + number.to_bytes(32, "big")) for number in range(10_000))
    far = (one for one in peers if (routing_table.kademlia_point(one.to_bytes()) ^ point).bit_length() == 256)
    return [next(far) for _ in range(count)]


def test_a_full_bucket_keeps_whom_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new server takes the place of one without a connection that was not seen for an hour, of no other."""
    store = our_host(1).get_peerstore()
    own = ID.from_pubkey(keys(1).public_key).to_bytes()
    connected: dict[bytes, Any] = {}
    table = RoutingTable(own, KAD, store, connected.get)
    peers = in_one_bucket(own, 25)
    for peer in peers:
        store.add_addrs(peer, [Multiaddr("/ip4/192.0.2.1/tcp/1")], 7200)
        store.set_protocols(peer, [KAD])
        connected[peer.to_bytes()] = Connected("192.0.2.1")
    assert all(table.add_if_server(peer) for peer in peers[:20])
    assert not any(table.add_if_server(peer) for peer in peers[20:])
    assert table.size == 20
    for peer in peers[1:20]:
        del connected[peer.to_bytes()]
    present = routing_table.now()
    monkeypatch.setattr(routing_table, "now", lambda: present + 3601)
    assert table.add_if_server(peers[20])
    names = {server.peer for server in table.closest(KEY)}
    assert peers[0].to_bytes() in names
    assert peers[1].to_bytes() not in names


def test_who_is_not_connected_does_not_come_in_nor_back() -> None:
    """Identify is over for it all the same, and what it said before is still in the peer store."""
    store = our_host(1).get_peerstore()
    own, peer = ID.from_pubkey(keys(1).public_key), ID.from_pubkey(keys(2).public_key)
    connected: dict[bytes, Any] = {}
    table = RoutingTable(own.to_bytes(), KAD, store, connected.get)
    store.add_addrs(peer, [Multiaddr("/ip4/192.0.2.1/tcp/1")], 7200)
    store.set_protocols(peer, [KAD])
    assert table.add_if_server(peer) is None
    assert table.size == 0
    connected[peer.to_bytes()] = Connected("8.8.8.8")
    assert table.add_if_server(peer)
    del connected[peer.to_bytes()]
    assert table.handle_disconnected(peer)
    assert table.add_if_server(peer) is None
    connected[peer.to_bytes()] = Connected("8.8.8.8")
    assert table.add_if_server(peer)


@pytest.mark.parametrize("is_dialled", [True, False])
def test_a_server_that_names_no_address_is_known_by_the_one_that_was_dialled(is_dialled: bool) -> None:
    """js-libp2p names no public address before somebody has verified it. One that has dialled has none."""
    store = our_host(1).get_peerstore()
    own, peer = ID.from_pubkey(keys(1).public_key), ID.from_pubkey(keys(2).public_key)
    connection = Connected("192.0.2.1", is_initiator=is_dialled)
    table = RoutingTable(own.to_bytes(), KAD, store, lambda _peer: connection)
    store.set_protocols(peer, [KAD])
    found = table.add_if_server(peer)
    assert (found and found.addresses) == (("/ip4/192.0.2.1/tcp/1",) if is_dialled else None)


def test_one_public_block_has_two_places_in_a_bucket() -> None:
    """However many peer ids it makes: what counts is where they connect from. A private block has more."""
    store = our_host(1).get_peerstore()
    own = ID.from_pubkey(keys(1).public_key).to_bytes()
    for address, places in (("8.8.8.8", 2), ("192.168.1.7", 10)):
        table = RoutingTable(own, KAD, store, lambda _peer, address=address: Connected(address))
        for peer in in_one_bucket(own, 10):
            store.add_addrs(peer, [Multiaddr("/ip4/192.0.2.1/tcp/1")], 7200)
            store.set_protocols(peer, [KAD])
            table.add_if_server(peer)
        assert table.size == places
