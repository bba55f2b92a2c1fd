"""Messages of identify and Kademlia with which a stranger makes a real swarm work, remember or answer."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
import trio.testing
import varint
from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.identity.identify_push.identify_push import ID_PUSH
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.peer.envelope import seal_record
from libp2p.peer.id import ID
from libp2p.peer.peer_record import PeerRecord
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.kad import dht_client, dht_server
from spacedrive_node.actors.swarm.library import identify, peer_store, streams
from spacedrive_node.messages.actor_configs import SwarmConfig
from spacedrive_node.messages.peer_protocol import PROTOCOL_ID, Refused, decode_wire
from spacedrive_node.messages.to_discovery import KadReply, ServerJoined
from spacedrive_node.messages.to_swarm import Bootstrap, KadRequest
from spacedrive_node.tests.harness.stranger_peer import REQUEST, dial, stranger_host
from spacedrive_node.tests.harness.swarm_actors import FakeSupervisor, local, open_swarm

KAD = local().dht_protocol
KEY = b"\x12\x20" + bytes(range(32))
LONGEST_STEP_S = 1.0
"""Of processor time; one record with 20 000 addresses took the library more than six seconds."""
TYPES = Message.MessageType


@asynccontextmanager
async def no_long_step() -> AsyncIterator[None]:
    """Check that the event loop of this thread is never busy for long with one thing."""
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            began = time.thread_time()
            await trio.sleep(0.001)  # as often as there is a turn
            longest = max(longest, time.thread_time() - began)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        yield
        nursery.cancel_scope.cancel()
    assert longest < LONGEST_STEP_S


def addresses(count: int) -> list[Multiaddr]:
    return [Multiaddr(f"/ip4/198.51.{n >> 8 & 255}.{n & 255}/tcp/{4000 + (n >> 16)}") for n in range(count)]


def signed_record(host: Any, count: int) -> bytes:
    record = PeerRecord(host.get_id(), addresses(count))
    return bytes(seal_record(record, host.get_private_key()).marshal_envelope())


def identify_message(host: Any, count: int) -> bytes:
    message = Identify(public_key=host.get_public_key().serialize(), protocols=[IDENTIFY, KAD])
    message.listen_addrs.extend(address.to_bytes() for address in addresses(count // 2))
    message.signedPeerRecord = signed_record(host, count // 2)
    return bytes(message.SerializeToString())


def framed(message: bytes) -> bytes:
    return bytes(varint.encode(len(message)) + message)


async def kad(connection: Any, message: Any) -> Any:
    """Send one Kademlia message and return the answer. Raises StreamError."""
    with trio.fail_after(20):
        async with streams.open_stream(connection, KAD) as stream:
            await streams.write(stream, framed(message.SerializeToString()))
            answer = Message()
            answer.ParseFromString(await streams.read_varint_message(stream, 1 << 22))
            return answer


async def is_served(connection: Any) -> bool:
    """Whether the node answers this connection's next pairing frame."""
    with trio.fail_after(20):
        async with streams.open_stream(connection, PROTOCOL_ID) as stream:
            await streams.write_frame(stream, REQUEST)
            return isinstance(decode_wire(await streams.read_frame(stream)), Refused)


async def answer_identify(host: Any, a: FakeSupervisor, count: int) -> Any:
    asked = trio.Event()

    async def serve(stream: Any) -> None:
        with suppress(streams.StreamError):
            await streams.write(stream, framed(identify_message(host, count)))
            await streams.close(stream)
        asked.set()

    host.set_stream_handler(IDENTIFY, serve)
    connection = await dial(host, a)
    with trio.fail_after(20):
        await asked.wait()
    return connection


async def push(host: Any, a: FakeSupervisor, count: int) -> Any:
    connection = await dial(host, a)
    with suppress(streams.StreamError), trio.fail_after(20):
        async with streams.open_stream(connection, ID_PUSH) as stream:
            await streams.write(stream, framed(identify_message(host, count)))
            await stream.close_write()
            await streams.read_exactly(stream, 1)
    return connection


async def sender_record(host: Any, a: FakeSupervisor, count: int) -> Any:
    connection = await dial(host, a)
    for kind in (TYPES.FIND_NODE, TYPES.GET_PROVIDERS, TYPES.ADD_PROVIDER):
        with suppress(streams.StreamError):
            await kad(connection, Message(type=kind, key=KEY, senderRecord=signed_record(host, count)))
    return connection


async def provider(host: Any, a: FakeSupervisor, count: int) -> Any:
    connection = await dial(host, a)
    message = Message(type=TYPES.ADD_PROVIDER, key=KEY)
    entry = message.providerPeers.add()
    entry.id = host.get_id().to_bytes()
    entry.addrs.extend(address.to_bytes() for address in addresses(count // 2))
    entry.signedRecord = signed_record(host, count // 2)
    with suppress(streams.StreamError):
        await kad(connection, message)
    return connection


@pytest.mark.parametrize("count", [2_000, 20_000])
@pytest.mark.parametrize("way", [answer_identify, push, sender_record, provider])
@pytest.mark.parametrize("mode", ["server", "client"])
async def test_a_record_with_thousands_of_addresses_keeps_the_swarm_busy_for_no_time(
    mode: Any, way: Callable[[Any, FakeSupervisor, int], Awaitable[Any]], count: int
) -> None:
    """By whatever message it comes, in either mode; the stranger is served like others afterwards."""
    config = SwarmConfig(listen=local().listen, dht_mode=mode)
    async with open_swarm("a", config) as a, stranger_host() as host, no_long_step():
        connection = await way(host, a, count)
        assert await is_served(connection)


async def test_an_answer_with_thousands_of_addresses_keeps_the_swarm_busy_for_no_time() -> None:
    """Of a DHT server that this node asks: one peer above 64 KiB is not read, one below is read in part."""
    sizes: list[int] = []

    def bloated(host: Any, count: int) -> bytes:
        message = Message(type=TYPES.GET_PROVIDERS, key=KEY, senderRecord=signed_record(host, count // 4))
        for entries in (message.closerPeers, message.providerPeers):
            entry = entries.add()
            entry.id = host.get_id().to_bytes()
            entry.addrs.extend(address.to_bytes() for address in addresses(count // 2))
        return bytes(message.SerializeToString())

    async with open_swarm("a") as a, stranger_host() as host:

        async def serve(stream: Any) -> None:
            answer = bloated(host, 4_000 if sizes else 40_000)
            sizes.append(len(answer))
            with suppress(streams.StreamError):
                await streams.read_varint_message(stream, 1 << 16)
                await streams.write(stream, framed(answer))
                await streams.close(stream)

        host.set_stream_handler(KAD, serve)
        await host.get_network().listen(Multiaddr("/ip4/127.0.0.1/tcp/0"))
        texts = tuple(str(address) for address in host.get_transport_addrs())
        async with no_long_step():
            for number in (1, 2):
                request = KadRequest(number, host.get_id().to_bytes(), texts, "get_providers", KEY, 10.0)
                await a.deliver("discovery", request)
            replies = [await a.expect(KadReply, "discovery") for _ in range(2)]
    assert min(sizes) < dht_client.MAX_ANSWER_BYTES < max(sizes)
    assert sorted(len(peer.addresses) for reply in replies for peer in reply.providers) == [32]


def test_what_is_read_of_identify_is_bounded() -> None:
    """The first of many addresses and protocols are kept, and none that is very long."""
    store = peer_store.TolerantPeerStore()
    message = Identify(protocols=["x" * 5_000, *(f"/p/{number}" for number in range(5_000))])
    message.listen_addrs.append(b"\x04" + bytes(5_000))
    message.listen_addrs.extend(address.to_bytes() for address in addresses(1_000))
    host_id = ID(b"\x12\x20" + bytes(32))
    assert identify.remember(store, host_id, message.SerializeToString())
    assert store.get_protocols(host_id) == [f"/p/{number}" for number in range(127)]
    assert store.addrs(host_id) == addresses(31)
    assert not identify.remember(store, host_id, b"\xff" * 40)


@pytest.mark.parametrize("kind", [TYPES.PUT_VALUE, TYPES.GET_VALUE])
async def test_values_are_not_served(kind: Any) -> None:
    """The stream is reset, nothing is kept, and the connection goes on."""
    async with open_swarm("a") as a, stranger_host() as host:
        connection = await dial(host, a)
        message = Message(type=kind, key=b"key")
        message.record.key, message.record.value = b"key", bytes(1_000)
        with pytest.raises(streams.StreamError):
            await kad(connection, message)
        assert (await kad(connection, Message(type=TYPES.PING))).type == TYPES.PING
        assert await is_served(connection)


async def test_a_server_stays_useful_whatever_a_stranger_says_of_itself() -> None:
    """Twenty strangers call themselves servers and providers, each with long names for addresses: the answer
    names eight of each at most, has no signed record, and is read by this node's own client.
    """
    longest = "a." * 120 + "example"
    bloated = [Multiaddr(f"/dns4/{longest}/tcp/{port}").to_bytes() for port in range(1, 200)]
    bloated[1::2] = [Multiaddr(f"/ip4/192.0.2.1/tcp/{port}").to_bytes() for port in range(1, 100)]
    async with open_swarm("server") as server, open_swarm("b") as b:
        async with trio.open_nursery() as nursery:

            async def be_a_server(number: int) -> None:
                async with stranger_host(300 + number) as host:
                    message = Identify(protocols=[IDENTIFY, KAD], listen_addrs=bloated)
                    message.signedPeerRecord = signed_record(host, 100)

                    async def serve(stream: Any) -> None:
                        with suppress(streams.StreamError):
                            await streams.write(stream, framed(message.SerializeToString()))
                            await streams.close(stream)

                    host.set_stream_handler(IDENTIFY, serve)
                    connection = await dial(host, server)
                    announcement = Message(type=TYPES.ADD_PROVIDER, key=KEY)
                    entry = announcement.providerPeers.add()
                    entry.id, entry.signedRecord = host.get_id().to_bytes(), signed_record(host, 100)
                    entry.addrs.extend(bloated)
                    await kad(connection, announcement)
                    await server.expect(
                        ServerJoined, where=lambda m: m.server.peer == host.get_id().to_bytes()
                    )
                    done.append(number)
                    await trio.sleep_forever()

            done: list[int] = []
            for number in range(20):
                nursery.start_soon(be_a_server, number)
            with trio.fail_after(60):
                while len(done) < 20:
                    await trio.lowlevel.checkpoint()
            async with stranger_host(1) as asking:
                connection = await dial(asking, server)
                answer = await kad(connection, Message(type=TYPES.GET_PROVIDERS, key=KEY))
            assert answer.ByteSize() <= dht_client.MAX_ANSWER_BYTES
            entries = [*answer.closerPeers, *answer.providerPeers]
            assert len(answer.providerPeers) == 20
            assert len(entries) >= 30
            assert max(len(entry.addrs) for entry in entries) <= dht_server.MAX_ADDRESSES_PER_PEER
            assert all(entry.addrs for entry in entries)
            assert not any(entry.HasField("signedRecord") for entry in entries)
            nursery.cancel_scope.cancel()
        await b.deliver("discovery", KadRequest(1, server.peer, server.addresses, "get_providers", KEY, 10.0))
        assert len((await b.expect(KadReply, "discovery")).providers) == 20


async def test_a_crowd_of_another_block_takes_no_key() -> None:
    """Twenty peers of one block have announced themselves for a key: the true device is stored and found."""
    async with open_swarm("server") as server, open_swarm("a") as a, open_swarm("b") as b:
        for number in range(20):
            async with stranger_host(300 + number) as host:
                connection = await dial(host, server, source=("127.1.0.1", 0))
                announcement = Message(type=TYPES.ADD_PROVIDER, key=KEY)
                entry = announcement.providerPeers.add()
                entry.id = host.get_id().to_bytes()
                entry.addrs.extend(address.to_bytes() for address in addresses(1))
                await kad(connection, announcement)
        replies = []
        for node, op in ((a, "add_provider"), (b, "get_providers")):
            request = KadRequest(1, server.peer, server.addresses, op, KEY, 10.0)
            await node.deliver("discovery", request)
            replies.append(await node.expect(KadReply, "discovery"))
        assert len(replies[1].providers) == 20
        assert a.peer in [peer.peer for peer in replies[1].providers]


async def test_nothing_is_dialled_or_looked_up_by_a_timer(mock_clock: Any, monkeypatch: Any) -> None:
    """An hour with a server in the table that names others: the swarm asks it nothing and dials nobody."""
    mock_clock.rate = 1.0
    asked: list[str] = []
    async with open_swarm("a") as a, stranger_host() as host:

        async def serve(stream: Any) -> None:
            asked.append("asked")
            await streams.reset(stream)

        host.set_stream_handler(KAD, serve)
        await host.get_network().listen(Multiaddr("/ip4/127.0.0.1/tcp/0"))
        texts = tuple(str(address) for address in host.get_transport_addrs())
        message = Identify(protocols=[IDENTIFY, KAD])
        message.listen_addrs.extend(Multiaddr(text).to_bytes() for text in texts)

        async def tell(stream: Any) -> None:
            await streams.write(stream, framed(message.SerializeToString()))
            await streams.close(stream)

        host.set_stream_handler(IDENTIFY, tell)
        await a.deliver("discovery", Bootstrap(host.get_id().to_bytes(), texts))
        await a.expect(ServerJoined)
        connected: list[Any] = []
        network = host.get_network()
        dials = network.notify_connected

        async def count(connection: Any) -> None:
            connected.append(connection)
            await dials(connection)

        monkeypatch.setattr(network, "notify_connected", count)
        for gone in (False, True):
            for _ in range(7):
                mock_clock.jump(601)
                await trio.testing.wait_all_tasks_blocked(0.05)
            if not gone:
                await network.close_peer(ID(a.peer))
    assert asked == []
    assert connected == []
