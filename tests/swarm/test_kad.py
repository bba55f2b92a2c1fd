"""Kademlia between real swarm actors: single requests, own records, the routing table, and its bounds."""

import hashlib
from contextlib import suppress
from typing import Any

import pytest
import trio
import varint
from libp2p.custom_types import TProtocol
from libp2p.identity.identify.identify import ID as IDENTIFY_ID
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.kad import dht_client
from spacedrive_node.actors.swarm.library import identify, streams
from spacedrive_node.actors.swarm.node import SwarmNode
from spacedrive_node.messages.actor_configs import SwarmConfig
from spacedrive_node.messages.from_supervisor import SessionEnded
from spacedrive_node.messages.to_discovery import KadFailed, KadReply, ServerJoined, ServerLost, Servers
from spacedrive_node.messages.to_gateway import SwarmStatus
from spacedrive_node.messages.to_swarm import (
    Bootstrap,
    ClosestServers,
    KadRequest,
    Serve,
)
from spacedrive_node.messages.types import PeerAddresses
from spacedrive_node.tests.harness.stranger_peer import dial, stranger_host
from spacedrive_node.tests.harness.transports import listen_addresses

KEY = b"\x12\x20" + hashlib.sha256(b"rendezvous").digest()


async def kad(node: Any, number: int, server: Any, op: Any, key: bytes = KEY, within: float = 10.0) -> Any:
    await node.deliver("discovery", KadRequest(number, server.peer, server.addresses, op, key, within))
    return await node.expect(KadReply | KadFailed, "discovery", lambda m: m.request == number)


async def test_a_third_server_brings_two_together(swarm: Any) -> None:
    """One node announces itself to a server, another asks that server and gets peer and addresses."""
    async with swarm("server") as server, swarm("a") as a, swarm("b") as b:
        assert (await kad(a, 1, server, "add_provider")) == KadReply(1)
        found = await kad(b, 2, server, "get_providers")
        assert found.providers == (PeerAddresses(a.peer, a.addresses),)
        assert a.peer in [peer.peer for peer in found.closer]


SESSION = "0123456789abcdef"


async def test_own_records_are_answered_until_withdrawn(swarm: Any) -> None:
    """Who shows a code is found by asking it alone; when the session ends, so does that."""
    async with swarm("a") as a, swarm("b") as b:
        assert (await kad(b, 1, a, "get_providers")).providers == ()
        await a.deliver(f"session-{SESSION}", Serve(b"r" * 32, "initiator", KEY))
        assert (await kad(b, 2, a, "get_providers")).providers == (PeerAddresses(a.peer, a.addresses),)
        await a.deliver("supervisor", SessionEnded(SESSION, "initiator", "expired"))
        assert (await kad(b, 3, a, "get_providers")).providers == ()


async def test_contact_fills_both_routing_tables(swarm: Any) -> None:
    """Bootstrap makes each side a server in the other's table, which is told and can be asked."""
    async with swarm("a") as a, swarm("b") as b:
        await b.deliver("discovery", Bootstrap(a.peer, a.addresses))
        assert (await b.expect(ServerJoined)).server == PeerAddresses(a.peer, a.addresses)
        assert (await a.expect(ServerJoined)).server == PeerAddresses(b.peer, b.addresses)
        await a.deliver("discovery", ClosestServers(5, KEY))
        assert (await a.expect(Servers)) == Servers(5, (PeerAddresses(b.peer, b.addresses),))
        assert (await a.expect(SwarmStatus, where=lambda m: m.dht_peers == 1)).dht_mode == "server"


async def test_a_client_is_no_server(swarm: Any) -> None:
    """A node in client mode asks and announces, but enters nobody's routing table and answers nobody."""
    client = SwarmConfig(listen=listen_addresses(), dht_mode="client")
    async with swarm("a") as a, swarm("c", client) as c, swarm("b") as b:
        assert (await kad(c, 1, a, "add_provider")) == KadReply(1)
        assert (await kad(b, 2, a, "get_providers")).providers == (PeerAddresses(c.peer, c.addresses),)
        assert isinstance(await kad(b, 3, c, "get_providers"), KadFailed)
        await a.expect(ServerJoined, where=lambda m: m.server.peer == b.peer)
        await a.deliver("discovery", ClosestServers(5, KEY))
        assert [peer.peer for peer in (await a.expect(Servers)).peers] == [b.peer]


async def test_a_server_knows_itself_who_has_announced_itself_to_it(swarm: Any) -> None:
    """It would otherwise look everywhere for a client of the DHT but in its own records."""
    client = SwarmConfig(listen=listen_addresses(), dht_mode="client")
    async with swarm("a") as a, swarm("c", client) as c:
        await kad(c, 1, a, "add_provider")
        await a.deliver("discovery", ClosestServers(5, KEY))
        (found,) = (await a.expect(Servers)).providers
        assert (found.peer, found.addresses) == (c.peer, c.addresses)
        await a.deliver("discovery", ClosestServers(6, b"\x12\x20" + bytes(32)))
        assert (await a.expect(Servers)).providers == ()


async def test_find_node_names_the_servers_that_are_known(swarm: Any) -> None:
    """A server hands on the servers that it knows, with addresses, and not the one who asks."""
    async with swarm("server") as server, swarm("a") as a, swarm("b") as b:
        await a.deliver("discovery", Bootstrap(server.peer, server.addresses))
        await server.expect(ServerJoined, where=lambda m: m.server.peer == a.peer)
        found = await kad(b, 1, server, "find_node")
        assert PeerAddresses(a.peer, a.addresses) in found.closer
        assert b.peer not in [peer.peer for peer in found.closer]


async def test_a_server_that_has_gone_leaves_the_table(swarm: Any) -> None:
    """A request to a dead server fails in time, and it is not named any more."""
    async with swarm("a") as a:
        async with swarm("b") as b:
            await a.deliver("discovery", Bootstrap(b.peer, b.addresses))
            await a.expect(ServerJoined)
        assert isinstance(await kad(a, 1, b, "find_node", within=3.0), KadFailed)
        await a.deliver("discovery", ClosestServers(5, KEY))
        assert (await a.expect(Servers)).peers == ()


async def test_a_restarted_server_is_found_again(swarm: Any) -> None:
    """A server that comes back under the same identity at another address is served with the new one.

    It is in the table again too, though a request that failed meanwhile had removed it.
    """
    async with swarm("a") as a:
        async with swarm("b") as b:
            await a.deliver("discovery", Bootstrap(b.peer, b.addresses))
            await a.expect(ServerJoined)
        assert isinstance(await kad(a, 1, b, "find_node", within=3.0), KadFailed)
        async with swarm("b") as b:
            assert isinstance(await kad(b, 2, a, "find_node"), KadReply)
            assert (await a.expect(ServerJoined)).server == PeerAddresses(b.peer, b.addresses)
            await a.deliver("discovery", ClosestServers(5, KEY))
            assert (await a.expect(Servers)).peers == (PeerAddresses(b.peer, b.addresses),)
            assert isinstance(await kad(a, 3, b, "find_node"), KadReply)


def test_answers_are_read_with_suspicion() -> None:
    """Entries that are no peers, no addresses, doubled or too many are dropped; the rest stays usable."""
    message = Message()
    message.type = Message.MessageType.GET_PROVIDERS
    own = b"\x00\x24\x08\x01\x12\x20" + b"o" * 32
    for number in range(100):
        entry = message.providerPeers.add()
        entry.id = b"\x00\x24\x08\x01\x12\x20" + number.to_bytes(32, "big")
        for port in range(1, 101):
            entry.addrs.append(Multiaddr(f"/ip4/127.0.0.1/tcp/{port}").to_bytes())
    for identity in (b"", b"short", b"\x00\x25" + b"x" * 36, b"x" * 80, own):
        message.closerPeers.add().id = identity
    good = message.closerPeers.add()
    good.id = b"\x12\x20" + b"g" * 32
    good.addrs.append(b"\xff\xff\xff garbage")
    good.addrs.append(Multiaddr("/ip4/192.0.2.1/udp/1/quic-v1/webtransport").to_bytes())
    good.addrs.append(Multiaddr("/ip4/0.0.0.0/tcp/1").to_bytes())
    good.addrs.append(Multiaddr("/ip4/192.0.2.1/tcp/4001").to_bytes())
    closer, providers = dht_client.decode_answer(message.SerializeToString(), own)
    assert len(providers) == 64
    assert all(len(peer.addresses) == 32 for peer in providers)
    assert closer == (PeerAddresses(good.id, ("/ip4/192.0.2.1/tcp/4001",)),)
    with pytest.raises(ValueError, match="Kademlia"):
        dht_client.decode_answer(b"\xff" * 40, own)


def test_a_zone_that_a_peer_names_is_left_out() -> None:
    """It is an interface of that peer, and might be one of this host by chance."""
    entry = Multiaddr("/ip6zone/eth0/ip6/fe80::1/tcp/1")
    for given in (entry, entry.to_bytes()):
        assert dht_client.readable_addresses([given]) == ("/ip6/fe80::1/tcp/1",)
    assert dht_client.dialable_addresses([entry]) == (Multiaddr("/ip6/fe80::1/tcp/1").to_bytes(),)


def answer_with(providers: int) -> Message:
    """Return an answer with so many providers, each with an address, behind one closer peer."""
    message = Message(type=Message.MessageType.GET_PROVIDERS, key=KEY)
    address = Multiaddr("/ip4/45.1.1.1/tcp/1").to_bytes()
    message.closerPeers.add(id=b"\x12\x20" + bytes(32), addrs=[address])
    for number in range(providers):
        message.providerPeers.add(id=b"\x12\x20" + number.to_bytes(32, "big"), addrs=[address])
    return message


async def test_an_answer_with_thousands_of_providers_counts_for_what_comes_first(swarm: Any) -> None:
    """A server of the public network names them all, in another order each time: decoys hide nobody."""
    async with swarm("a") as a, stranger_host() as server:
        data = answer_with(20_000).SerializeToString()

        async def answer(stream: Any) -> None:
            with suppress(streams.StreamError):  # the rest is not read
                await streams.write(stream, varint.encode(len(data)) + data)

        server.set_stream_handler(TProtocol("/spacedrive/kad/1.0.0"), answer)
        await server.get_network().listen(Multiaddr("/ip4/127.0.0.1/tcp/0"))
        where = PeerAddresses(server.get_id().to_bytes(), (str(server.get_transport_addrs()[0]),))
        found = await kad(a, 1, where, "get_providers")
        assert isinstance(found, KadReply)
        assert len(found.closer) == 1
        assert len(found.providers) == dht_client.MAX_PROVIDERS


def test_a_message_that_is_cut_anywhere_gives_its_whole_fields() -> None:
    data = answer_with(5).SerializeToString()
    for end in range(len(data) + 1):
        whole = dht_client.whole_fields(data[:end])
        assert data.startswith(whole)
        closer, providers = dht_client.decode_answer(whole, b"")
        assert (len(closer), len(providers)) <= (1, 5)
        assert end - len(whole) < 60
    assert dht_client.whole_fields(data) == data
    assert dht_client.whole_fields(b"\xff" * 100) == b""
    assert dht_client.whole_fields(b"\x0d\x01\x02\x03\x04") == b""  # a wire type that is not used


async def test_a_server_that_has_gone_before_identify_had_an_answer_is_not_there(
    swarm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was known before. Otherwise this node would count on it, and not look for others."""
    refused, given_up = trio.Event(), trio.Event()
    add = SwarmNode._add_to_routing_table

    async def watched(node: SwarmNode, peer_id: Any) -> None:
        await add(node, peer_id)
        if refused.is_set():
            given_up.set()

    async def refuse(stream: Any) -> None:
        await streams.reset(stream)
        refused.set()

    monkeypatch.setattr(SwarmNode, "_add_to_routing_table", watched)
    monkeypatch.setattr(identify, "_RETRY_PAUSES_S", (2.0, 0.0))
    async with swarm("a") as a, stranger_host() as server:
        server.set_stream_handler(TProtocol("/spacedrive/kad/1.0.0"), streams.reset)
        await server.get_network().listen(Multiaddr("/ip4/127.0.0.1/tcp/0"))
        connection = await dial(server, a)
        await a.expect(ServerJoined)
        await connection.close()
        await a.expect(ServerLost)
        server.set_stream_handler(IDENTIFY_ID, refuse)
        connection = await dial(server, a)
        with trio.fail_after(60):
            await refused.wait()
            await connection.close()
            await given_up.wait()
        await a.deliver("discovery", ClosestServers(5, KEY))
        await a.expect(Servers)  # which comes after all that was sent before
        assert a.count(ServerJoined) == 1
