"""Each correction of libp2p: the defect on the library as it is, and its absence with the correction.

A test whose first half fails says that the library no longer needs that correction: remove it.
"""

import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from typing import Any

import libp2p
import libp2p.network.swarm as library_swarm
import pytest
import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.keys import KeyPair
from libp2p.custom_types import TProtocol
from libp2p.io.exceptions import IncompleteReadError
from libp2p.io.trio import TrioTCPStream
from libp2p.io.utils import read_exactly
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.kad_dht.provider_store import ProviderStore
from libp2p.network.config import ConnectionConfig
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.peer.envelope import seal_record
from libp2p.peer.id import ID
from libp2p.peer.peer_record import PeerRecord
from libp2p.peer.peerinfo import PeerInfo
from libp2p.peer.peerstore import PeerStore
from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID, InsecureTransport
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.kad import dht_client, dht_server
from spacedrive_node.actors.swarm.library import corrections, streams

PROTOCOL = TProtocol("/test/1")
LOCAL = Multiaddr("/ip4/127.0.0.1/tcp/0")


class Open:
    """A gate that lets everybody in."""

    def allows(self, host: str) -> bool:
        return True


def keys(number: int) -> KeyPair:
    return create_new_key_pair(number.to_bytes(32, "big"))


def plain_host(number: int, most: int = 64, **more: Any) -> Any:
    """A host as the library makes it, but for what would make it noisy or slow here."""
    corrections.silence()
    config = ConnectionConfig(max_connections=most, min_connections=0, low_watermark=0, high_watermark=0)
    return libp2p.new_host(key_pair=keys(number), connection_config=config, **more)


def our_host(number: int, most: int = 64) -> Any:
    return corrections.new_host(keys(number), most, list)


def make(corrected: bool, number: int, most: int = 64) -> Any:
    return our_host(number, most) if corrected else plain_host(number, most)


@asynccontextmanager
async def running(*hosts: Any) -> AsyncIterator[tuple[Multiaddr, ...]]:
    """Run hosts, each listening on loopback; gives their addresses. Closed in order."""
    async with trio.open_nursery() as nursery:
        leave = trio.Event()
        found: list[Multiaddr] = []

        async def hold(host: Any, task_status: trio.TaskStatus[None]) -> None:
            async with corrections.run_host(host):
                await host.get_network().listen(LOCAL)
                found.extend(host.get_transport_addrs())
                task_status.started()
                await leave.wait()

        for host in hosts:
            await nursery.start(hold, host)
        try:
            yield tuple(found)
        finally:
            leave.set()


def test_the_library_is_the_version_that_was_corrected() -> None:
    """Another version means: read docs/decisions/0004 again, then change CORRECTED_VERSION."""
    assert version("libp2p") == corrections.CORRECTED_VERSION


class _ClaimsPublicKey:
    """Signs nothing; only says whose public key it has."""

    def __init__(self, public_key: Any) -> None:
        self._public_key = public_key

    def get_public_key(self) -> Any:
        return self._public_key


@pytest.mark.parametrize("corrected", [False, True])
async def test_noise_only(corrected: bool) -> None:
    """An impostor who knows only a peer's public key passes for it by default, not with Noise only."""
    victim = keys(7)
    transport = InsecureTransport(KeyPair(keys(8).private_key, victim.public_key), peerstore=PeerStore())
    transport.local_private_key = _ClaimsPublicKey(victim.public_key)
    impostor = plain_host(8, sec_opt={PLAINTEXT_PROTOCOL_ID: transport})
    server = make(corrected, 1)
    connected = False
    async with running(server, impostor) as (address, _):
        try:
            with trio.fail_after(5):
                await impostor.get_network().dial_addr(address, server.get_id())
            connected = bool(server.get_network().get_connections(ID.from_pubkey(victim.public_key)))
        except Exception:
            connected = False
    assert connected is not corrected


@pytest.mark.parametrize("corrected", [False, True])
async def test_inbound_slots_are_given_back(corrected: bool) -> None:
    """With four slots the fifth connection of a host's life is refused, though the others are long gone."""
    server = make(corrected, 1, most=4)
    if corrected:
        corrections.release_inbound_slots(server.get_network(), Open())
    reached = 0
    async with running(server) as (address,):
        for number in range(2, 8):
            client = our_host(number)
            async with corrections.run_host(client):
                try:
                    with trio.fail_after(5):
                        connection = await client.get_network().dial_addr(address, server.get_id())
                        reached += 1
                        await connection.close()
                        while server.get_network().get_connections():
                            await trio.lowlevel.checkpoint()
                except (trio.TooSlowError, library_swarm.SwarmException):
                    break
    assert reached == (6 if corrected else 4)


async def test_idle_sockets_of_one_address_leave_slots() -> None:
    """One address that opens sockets and says nothing takes a quarter of the slots and no more."""
    server = our_host(1, most=16)
    network = server.get_network()
    corrections.release_inbound_slots(network, Open())
    async with running(server) as (address,):
        port = int(address.value_for_protocol("tcp"))
        idle = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(40)]
        with trio.fail_after(5):
            for stream in idle[4:]:
                assert await stream.receive_some(1) == b""
        assert network._inbound_limiter.borrowed_tokens == 4
        for stream in idle:
            await stream.aclose()


@pytest.mark.parametrize("corrected", [False, True])
async def test_an_exception_in_a_handler_stays_there(corrected: bool) -> None:
    """A stream handler that raises ends the host by default; contained, the next stream is served."""

    async def fails(_stream: Any) -> None:
        raise RuntimeError("a defect")

    async def two_streams() -> None:
        client = our_host(2)
        server = make(corrected, 1)
        server.set_stream_handler(PROTOCOL, fails)
        async with running(server, client) as (address, _):
            connection = await client.get_network().dial_addr(address, server.get_id())
            for _ in range(2):
                with pytest.raises(streams.StreamError), trio.fail_after(5):
                    async with streams.open_stream(connection, str(PROTOCOL)) as stream:
                        await streams.read_exactly(stream, 1)

    if corrected:
        await two_streams()
    else:
        with pytest.raises(BaseExceptionGroup) as caught:
            await two_streams()
        assert caught.value.subgroup(RuntimeError) is not None


def _socket_of(connection: Any) -> Any:
    """The socket under all the layers of a connection."""
    layer = connection.muxed_conn.secured_conn
    while not isinstance(layer, trio.SocketStream):
        names = ("conn", "read_writer", "read_write_closer", "stream")
        layer = next(getattr(layer, name) for name in names if hasattr(layer, name))
    return layer.socket


@pytest.mark.parametrize("corrected", [False, True])
async def test_a_cancelled_host_closes_everything(corrected: bool) -> None:
    """Cancelling host.run() leaves the peer connected; run_host closes listener and connections, and soon."""
    server, client = our_host(1), our_host(2)
    leaked: Any = None

    async def run_client(address: Multiaddr, task_status: trio.TaskStatus[Any]) -> None:
        context = corrections.run_host(client) if corrected else client.run([])
        async with context:
            connection = await client.get_network().dial_addr(address, server.get_id())
            task_status.started(connection)
            await trio.sleep_forever()

    async with running(server) as (address,):
        async with trio.open_nursery() as nursery:
            leaked = await nursery.start(run_client, address)
            nursery.cancel_scope.cancel()
        leaked_socket = _socket_of(leaked)
        closed = leaked_socket.fileno() == -1
        leaked_socket.close()
    assert closed is corrected


async def test_dials_have_no_floor() -> None:
    """dial_peer waits 250 ms after a success by default; the correction leaves 20 ms."""
    assert library_swarm._HAPPY_EYEBALLS_DELAY in (0.25, corrections._HEAD_START)
    assert our_host(1) is not None
    assert library_swarm._HAPPY_EYEBALLS_DELAY == corrections._HEAD_START


@pytest.mark.parametrize("corrected", [False, True])
async def test_a_peer_that_failed_once_is_not_refused(corrected: bool) -> None:
    """A failed dial bars the peer for a minute by default, though it is there again."""
    client, server = make(corrected, 2), our_host(1)
    nobody = Multiaddr("/ip4/127.0.0.1/tcp/1")
    async with running(server, client) as (address, _):
        with pytest.raises(Exception, match=r".*"):
            await client.connect(PeerInfo(server.get_id(), [nobody]))
        client.get_peerstore().clear_addrs(server.get_id())
        reached = True
        try:
            await client.connect(PeerInfo(server.get_id(), [address]))
        except library_swarm.SwarmException:
            reached = False
    assert reached is corrected


async def test_the_auto_connector_is_off() -> None:
    """By default a host dials known peers by itself, also with both minima at zero."""
    dialled: list[bool] = []
    for corrected in (False, True):
        host = our_host(1)
        network = host.get_network()
        if not corrected:
            del network.auto_connector.maybe_connect
        asked: list[bool] = []

        async def candidates(asked: list[bool] = asked) -> list[Any]:
            asked.append(True)
            return []

        network.auto_connector._get_candidate_peers = candidates
        async with running(host):
            await network.auto_connector.maybe_connect()
        dialled.append(bool(asked))
    assert dialled == [True, False]


async def test_a_taken_port_is_noticed() -> None:
    """Two hosts share a port, and a foreign port is a silent failure; check_free tells of both."""
    first, second = our_host(1), our_host(2)
    async with running(first, second) as (address, _):
        await second.get_network().listen(address)
        assert address in second.get_transport_addrs()
        with pytest.raises(corrections.AddressTakenError):
            corrections.check_free("127.0.0.1", int(address.value_for_protocol("tcp")))
        with socket.create_server(("127.0.0.1", 0)) as foreign:
            port = foreign.getsockname()[1]
            assert not await second.get_network().listen(Multiaddr(f"/ip4/127.0.0.1/tcp/{port}"))
            with pytest.raises(corrections.AddressTakenError):
                corrections.check_free("127.0.0.1", port)


class _Drip:
    """A stream that gives one byte at a time."""

    async def read(self, n: int) -> bytes:
        return b"x"


async def test_exact_reads_have_no_limit_of_pieces() -> None:
    """The library's read_exactly gives up after 101 pieces; ours reads on."""
    with pytest.raises(IncompleteReadError):
        await read_exactly(_Drip(), 200)
    assert await streams.read_exactly(_Drip(), 200) == b"x" * 200


async def test_the_dht_protocol_can_be_chosen() -> None:
    """KadDHT(protocol_prefix=…) changes nothing; use_protocol does."""
    dht_server.use_protocol("/ipfs/kad/1.0.0")
    host = our_host(1)
    KadDHT(host, DHTMode.SERVER, protocol_prefix=TProtocol("/mine"))
    assert not any("mine" in str(protocol) for protocol in host.get_mux().get_protocols())
    dht_server.use_protocol("/mine/kad/1.0.0")
    dht_server.Dht(host, DHTMode.SERVER)
    assert TProtocol("/mine/kad/1.0.0") in host.get_mux().get_protocols()


def test_an_older_peer_record_is_no_offence() -> None:
    """A record older than the stored one makes the library drop its bearer; ours passes it over."""
    pair = keys(1)
    peer = ID.from_pubkey(pair.public_key)

    def record(sequence: int) -> Any:
        return seal_record(PeerRecord(peer, [LOCAL], sequence), pair.private_key)

    for store, accepted in ((PeerStore(), False), (corrections.TolerantPeerStore(), True)):
        assert store.consume_peer_record(record(5), 60)
        assert store.consume_peer_record(record(4), 60) is accepted
        assert store.peer_record_map[peer].seq == 5


async def test_the_provider_store_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library keeps whatever it is sent; ours keeps so many keys, in all and of each peer."""
    monkeypatch.setattr(dht_server, "MOST_KEYS", 20)
    monkeypatch.setattr(dht_server, "MOST_KEYS_OF_PEER", 15)
    host = our_host(1)
    own = b"\x12\x20" + bytes(32)
    library, ours = ProviderStore(host), dht_server.Providers(host, None, own.__eq__)
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
    monkeypatch.setattr(dht_server, "MOST_KEYS_OF_PEER", 15)
    ours = dht_server.Providers(our_host(1), None, lambda _key: False)
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
    monkeypatch.setattr(dht_server, "_STREAMS", 12)
    monkeypatch.setattr(dht_server, "_STREAMS_OF_PEER", 4)
    dht_server.use_protocol("/test/kad")
    server, client, other = our_host(1), our_host(2), our_host(3)
    dht: Any = dht_server.Dht(server, DHTMode.SERVER) if corrected else KadDHT(server, DHTMode.SERVER)
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
    monkeypatch.setattr(dht_server, "_STREAM_LIFE", 0.05)
    dht_server.use_protocol("/test/kad")
    server, client = our_host(1), our_host(2)
    dht_server.Dht(server, DHTMode.SERVER)
    async with running(server, client) as (address, _):
        connection = await client.get_network().dial_addr(address, server.get_id())
        with pytest.raises(streams.StreamError), trio.fail_after(5):
            async with streams.open_stream(connection, "/test/kad") as stream:
                await streams.read_exactly(stream, 1)


async def test_identify_tells_when_it_has_run() -> None:
    """The library has no such event (an attribute of ours would show it); with ours, protocols are there."""
    server, client = our_host(1), our_host(2)
    told = trio.Event()

    async def then(peer_id: ID) -> None:
        if PROTOCOL in client.get_peerstore().get_protocols(peer_id):
            told.set()

    server.set_stream_handler(PROTOCOL, lambda _stream: None)
    corrections.after_identify(client, then)
    async with running(server, client) as (address, _):
        await client.get_network().dial_addr(address, server.get_id())
        with trio.fail_after(10):
            await told.wait()


async def test_the_other_side_s_address_is_known_for_ipv6_too() -> None:
    """get_remote_address() is None for IPv6, whose addresses have four parts."""
    listener = (await trio.open_tcp_listeners(0, host="::1"))[0]
    stream = await trio.open_tcp_stream("::1", listener.socket.getsockname()[1])
    wrapped = TrioTCPStream(stream)
    assert corrections._library_remote_address(wrapped) is None
    assert corrections.remote_address(wrapped) == listener.socket.getsockname()[:2]
    corrections.know_ipv6_peers()
    assert wrapped.get_remote_address() == listener.socket.getsockname()[:2]
    await stream.aclose()
    await listener.aclose()


async def test_the_library_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    """Failed dials are logged as errors, with peer ids, by default."""
    corrections.silence()
    client = our_host(1)
    async with running(client):
        with pytest.raises(Exception, match=r".*"):
            await client.get_network().dial_addr(
                Multiaddr("/ip4/127.0.0.1/tcp/1"), ID.from_pubkey(keys(9).public_key)
            )
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_stream_that_ends_early_leaves_the_connection_alive() -> None:
    """StreamEOF out of a handler leaves a connection that accepts nothing any more; contained, it goes on."""

    async def ends(_stream: Any) -> None:
        raise StreamEOF

    server, client = our_host(1), our_host(2)
    server.set_stream_handler(PROTOCOL, ends)
    async with running(server, client) as (address, _):
        connection = await client.get_network().dial_addr(address, server.get_id())
        for _ in range(3):
            with pytest.raises(streams.StreamError), trio.fail_after(5):
                async with streams.open_stream(connection, str(PROTOCOL)) as stream:
                    await streams.read_exactly(stream, 1)
        assert corrections.is_alive(connection)
