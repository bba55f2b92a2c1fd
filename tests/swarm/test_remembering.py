"""A swarm and the memory of its vault: what it tells it, and what it does with what it gets."""

import hashlib
from typing import Any

import pytest
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.kad import dht_client
from spacedrive_node.actors.swarm.library import streams
from spacedrive_node.messages.actor_configs import SwarmConfig
from spacedrive_node.messages.to_discovery import (
    KadFailed,
    KadReply,
    RememberedServers,
    ServerJoined,
    ServerLost,
)
from spacedrive_node.messages.to_swarm import Bootstrap, ForgetPeer, KadRequest, KnownPeer, RecalledPeers
from spacedrive_node.messages.to_vault import PeerReport, PeersBehaved, RecallPeers
from spacedrive_node.messages.types import RememberedPeer
from spacedrive_node.tests.harness.stranger_peer import stranger_host
from spacedrive_node.tests.harness.transports import listen_addresses

DHT = "/spacedrive/kad/1.0.0"
KEY = b"\x12\x20" + hashlib.sha256(b"rendezvous").digest()


@pytest.fixture(autouse=True)
def nobody_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take more than a second for an answer."""
    monkeypatch.setattr(dht_client, "SLOW_S", 60.0)


def tells(peer: bytes, **more: Any) -> Any:
    """Return what a message to the vault has to say."""

    def fits(message: PeersBehaved) -> bool:
        return any(
            one.peer == peer and all(getattr(one, name) == value for name, value in more.items())
            for one in message.reports
        )

    return fits


async def ask(node: Any, number: int, peer: bytes, addresses: tuple[str, ...]) -> Any:
    await node.deliver("discovery", KadRequest(number, peer, addresses, "find_node", KEY, 10.0))
    return await node.expect(KadReply | KadFailed, "discovery", lambda m: m.request == number)


async def test_a_swarm_asks_for_its_memory_at_its_start(swarm: Any) -> None:
    async with swarm("a", SwarmConfig(listen=listen_addresses(), dht_protocol="/other/kad")) as a:
        assert await a.expect(RecallPeers, "vault") == RecallPeers("/other/kad")


async def test_one_that_is_offline_asks_nobody(swarm: Any) -> None:
    async with swarm("a", SwarmConfig(listen=listen_addresses(), offline=True)) as a:
        await a.deliver("discovery", Bootstrap(a.peer, ()))
        assert a.count(RecallPeers) == 0


async def test_a_server_that_answers_is_told_of_and_one_that_has_gone_too(swarm: Any) -> None:
    async with swarm("a") as a:
        async with swarm("server") as server:
            peer, addresses = server.peer, server.addresses
            assert isinstance(await ask(a, 1, peer, addresses), KadReply)
            told = await a.expect(PeersBehaved, "vault", tells(peer, answered=1))
            assert told.dht_protocol == DHT
            assert [one.addresses for one in told.reports if one.kind == "server"] == [addresses[:1]]
        async with swarm("other") as other:
            assert isinstance(await ask(a, 2, other.peer, other.addresses), KadReply)
            assert isinstance(await ask(a, 3, peer, addresses), KadFailed)
            await a.expect(PeersBehaved, "vault", tells(peer, dropped=1))


async def test_who_has_only_connected_is_not_remembered(swarm: Any) -> None:
    """Nobody enters the memory by what it says of itself: only where a dial led to it."""
    async with swarm("a") as a, swarm("b") as b, swarm("c") as c:
        await b.deliver("discovery", Bootstrap(a.peer, a.addresses))
        await a.expect(ServerJoined, "discovery", lambda m: m.server.peer == b.peer)
        assert isinstance(await ask(a, 1, b.peer, ()), KadReply)
        assert isinstance(await ask(a, 2, c.peer, c.addresses), KadReply)
        told = await a.expect(PeersBehaved, "vault", tells(c.peer, answered=1))
        assert b.peer not in [one.peer for one in told.reports]


async def test_a_server_that_answers_with_rubbish_has_lied(swarm: Any) -> None:
    async with swarm("a") as a, stranger_host() as liar:

        async def answer(stream: Any) -> None:
            await streams.write(stream, b"\x05\xff\xff\xff\xff\xff")
            await streams.close(stream)

        liar.set_stream_handler(TProtocol(DHT), answer)
        await liar.get_network().listen(Multiaddr("/ip4/127.0.0.1/tcp/0"))
        where = (str(liar.get_transport_addrs()[0]),)
        assert isinstance(await ask(a, 1, liar.get_id().to_bytes(), where), KadFailed)
        await a.expect(PeersBehaved, "vault", tells(liar.get_id().to_bytes(), lied=1))


async def test_remembered_servers_are_named_to_discovery_the_best_first(swarm: Any) -> None:
    servers = [RememberedPeer("server", _peer(number), ("/ip4/127.0.0.1/tcp/9",)) for number in range(100)]
    relay = RememberedPeer("relay", _peer(200), ("/ip4/127.0.0.1/tcp/9",))
    async with swarm("a") as a:
        await a.deliver("vault", RecalledPeers((relay, *servers[:70])))
        await a.deliver("vault", RecalledPeers(tuple(servers[70:])))
        for _part in range(2):
            named = await a.expect(RememberedServers, "discovery")
        assert [one.peer for one in named.servers] == [_peer(number) for number in range(64)]
        assert all(one.hearsay == one.addresses for one in named.servers)  # on loopback: test_hearsay.py


def _peer(number: int) -> bytes:
    return b"\x12\x20" + number.to_bytes(32, "big")


async def test_where_a_device_was_reached_is_told_of_and_no_more_once_it_is_forgotten(swarm: Any) -> None:
    async with swarm("device") as device, swarm("a") as a:
        await a.deliver("vault", KnownPeer(device.peer))
        await a.deliver("discovery", Bootstrap(device.peer, device.addresses))
        told = await a.expect(PeersBehaved, "vault", lambda m: _device(m, device.peer) is not None)
        assert _device(told, device.peer) == PeerReport(
            "device", device.peer, device.addresses[:1], answered=1
        )
        await a.deliver("vault", ForgetPeer(device.peer))
        await a.expect(ServerLost, "discovery")
        await a.deliver("discovery", Bootstrap(device.peer, device.addresses))
        await a.expect(PeersBehaved, "vault", tells(device.peer, kind="server"))
        assert sum(_device(m, device.peer) is not None for _to, m, _id in a.sent) == 1


async def test_a_device_that_becomes_known_on_a_connection_is_told_of(swarm: Any) -> None:
    """As after a pairing: it was dialled before it was a device."""
    async with swarm("device") as device, swarm("a") as a:
        await a.deliver("discovery", Bootstrap(device.peer, device.addresses))
        await a.expect(ServerJoined, "discovery")
        await a.deliver("vault", KnownPeer(device.peer))
        await a.expect(PeersBehaved, "vault", lambda m: _device(m, device.peer) is not None)


def _device(message: Any, peer: bytes) -> PeerReport | None:
    """Return what a message to the vault says of a device."""
    reports = message.reports if isinstance(message, PeersBehaved) else ()
    return next((one for one in reports if (one.kind, one.peer) == ("device", peer)), None)


async def test_another_peer_at_a_remembered_address_is_no_mistake_of_the_user(swarm: Any) -> None:
    """Where a bootstrap peer was named by the user, it is told to correct that; a memory is just old."""
    async with swarm("a") as a, swarm("b") as b:
        await a.deliver("discovery", Bootstrap(_peer(1), b.addresses, remembered=True))
        await a.deliver("discovery", Bootstrap(_peer(2), b.addresses))
        log = await a.expect_log("a bootstrap peer has another peer id: correct --bootstrap")
        assert log.fields["named"] == ID(_peer(2)).to_base58()
        assert ID(_peer(1)).to_base58() not in repr(a.logs)


async def test_a_peer_that_this_node_may_not_dial_is_not_blamed(swarm: Any) -> None:
    """A node that is started with --lan-only, or without a transport, keeps what it knows of the others."""
    config = SwarmConfig(listen=listen_addresses(), lan_only=True)
    elsewhere, quic, silent = _peer(1), _peer(2), _peer(3)
    known = {
        elsewhere: "/ip4/45.1.1.1/tcp/1",
        quic: "/ip4/127.0.0.1/udp/1/quic-v1",
        silent: "/ip4/127.0.0.1/tcp/1",
    }
    peers = tuple(RememberedPeer("server", peer, (address,)) for peer, address in known.items())
    async with swarm("a", config) as a, swarm("b") as b:
        await a.deliver("vault", RecalledPeers(peers))
        for peer in (elsewhere, quic):
            await a.deliver("discovery", Bootstrap(peer, (known[peer],), remembered=True))
            assert isinstance(await ask(a, 1, peer, (known[peer],)), KadFailed)
        assert isinstance(await ask(a, 2, b.peer, b.addresses), KadReply)
        assert isinstance(await ask(a, 3, silent, (known[silent],)), KadFailed)
        told = await a.expect(PeersBehaved, "vault", tells(silent))
        assert not {elsewhere, quic} & {one.peer for one in told.reports}
