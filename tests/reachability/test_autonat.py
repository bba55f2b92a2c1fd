"""AutoNAT v2 between real hosts on loopback: questions, dial-backs, and what hostile servers and clients do.

A server never dials loopback. So where a server is asked, its dial is recorded instead; and where one dials
back, it is told to by the test. test_network.py has all of it together, in network namespaces.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio
import varint
from libp2p.custom_types import TProtocol
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.dial.addresses import Endpoint, parse
from spacedrive_node.actors.swarm.library import streams
from spacedrive_node.actors.swarm.library.connections import host_of, local_port_of
from spacedrive_node.actors.swarm.library.notifications import ConnectionEvents
from spacedrive_node.actors.swarm.reachability import (
    autonat_client,
    autonat_server,
    dial_back,
    dial_back_limits,
)
from spacedrive_node.actors.swarm.reachability import autonat_messages as m
from spacedrive_node.actors.swarm.reachability.autonat_client import DATA_BUDGET_BYTES, AutonatClient
from spacedrive_node.actors.swarm.reachability.autonat_server import AutonatServer
from spacedrive_node.actors.swarm.reachability.dial_back import DialBack
from spacedrive_node.tests.harness.library_hosts import our_host, running

DEADLINE = 60
QUIC = Multiaddr("/ip4/127.0.0.1/udp/0/quic-v1")
MINE = parse("/ip4/45.77.1.1/tcp/7520")


class Recorder(DialBack):
    """Dials nobody, and notes whom it was to dial."""

    def __init__(self, status: m.DialStatus = m.DialStatus.DIAL_ERROR) -> None:
        self.dialled: list[Endpoint] = []
        self._status = status

    async def dial(self, endpoint: Endpoint, peer: bytes, nonce: int) -> m.DialStatus:
        self.dialled.append(endpoint)
        return self._status


@asynccontextmanager
async def asking(
    recorder: DialBack | None = None, answer: Callable[[Any], Awaitable[None]] | None = None
) -> AsyncIterator[tuple[AutonatClient, Any, list[str]]]:
    """A client, its connection with a server, and what that has counted."""
    server, client = our_host(1), our_host(2)
    counted: list[str] = []
    if recorder is not None:
        served = AutonatServer(
            recorder, ("tcp", "quic"), lambda: (4,), lambda _one: False, lambda _one: None, counted.append
        )
        answer = served.handle
    assert answer is not None
    server.set_stream_handler(TProtocol(m.DIAL_REQUEST_PROTOCOL), answer)
    async with running(server, client) as (address, _):
        with trio.fail_after(DEADLINE):
            connection = await client.get_network().dial_addr(address, server.get_id())
            yield AutonatClient(lambda _endpoint: frozenset({7520})), connection, counted


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autonat_server, "MAX_PAUSE_S", 0.0)


@pytest.mark.usefixtures("no_pause")
@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (m.DialStatus.DIAL_ERROR, "unreached"),
        (m.DialStatus.DIAL_BACK_ERROR, "refused"),
        (m.DialStatus.OK, "lied"),
    ],
)
async def test_what_a_server_says_and_what_it_is_worth(status: m.DialStatus, outcome: str) -> None:
    """Its word alone reaches nothing. The address is not the client's, so it pays for the dial, and does."""
    recorder = Recorder(status)
    async with asking(recorder) as (client, connection, _counted):
        assert await client.check(connection, MINE) == outcome
    assert recorder.dialled == [MINE]


async def test_private_addresses_are_refused() -> None:
    recorder = Recorder()
    async with asking(recorder) as (client, connection, counted):
        for text in ("/ip4/127.0.0.1/tcp/1", "/ip4/192.168.1.1/tcp/1"):
            assert await client.check(connection, parse(text)) == "refused"
    assert recorder.dialled == []
    assert counted == ["dial_refused"] * 2


@pytest.mark.usefixtures("no_pause")
async def test_requests_beyond_the_rate_are_rejected() -> None:
    recorder = Recorder()
    async with asking(recorder) as (client, connection, counted):
        for _ in range(dial_back_limits.MAX_PER_BLOCK_AND_MINUTE + 3):
            await client.check(connection, MINE)
    assert len(recorder.dialled) == dial_back_limits.MAX_PER_BLOCK_AND_MINUTE
    assert counted[-3:] == ["request_rejected"] * 3


async def say(connection: Any, protocol: str, *messages: bytes, answers: int = 100) -> None:
    """Send messages on one stream, and read answers. Raises StreamError when the stream was reset."""
    async with streams.open_stream(connection, protocol) as stream:
        for data in messages:
            await streams.write(stream, varint.encode(len(data)) + data)
        for _ in range(answers):
            await streams.read_varint_message(stream, m.MAX_MESSAGE_BYTES)


REQUEST = m.encode(m.DialRequest((Multiaddr(str(MINE)).to_bytes(),), 1))


@pytest.mark.parametrize(
    "sent",
    [
        (b"\xff" * 20,),
        (m.encode(m.DialDataRequest(0, 1)),),
        (REQUEST, REQUEST),
        (REQUEST, *[m.encode(m.DialDataResponse(1))] * 50),
        (REQUEST, m.encode(m.DialDataResponse(5000))),
    ],
    ids=["garbage", "no request", "no data", "small parts", "a large part"],
)
async def test_hostile_requests_lead_to_no_dial(sent: tuple[bytes, ...]) -> None:
    recorder = Recorder()
    async with asking(recorder) as (_client, connection, _counted):
        with pytest.raises(streams.StreamError):
            await say(connection, m.DIAL_REQUEST_PROTOCOL, *sent)
    assert recorder.dialled == []


@pytest.mark.usefixtures("no_pause")
async def test_a_dial_of_another_address_begins_when_all_data_is_there() -> None:
    recorder = Recorder()
    async with (
        asking(recorder) as (_client, connection, _counted),
        streams.open_stream(connection, m.DIAL_REQUEST_PROTOCOL) as stream,
    ):
        await streams.write(stream, varint.encode(len(REQUEST)) + REQUEST)
        wanted = m.decode(await streams.read_varint_message(stream, m.MAX_MESSAGE_BYTES))
        assert isinstance(wanted, m.DialDataRequest)
        assert m.MIN_DIAL_DATA_BYTES <= wanted.size <= m.MAX_DIAL_DATA_BYTES
        part = m.encode(m.DialDataResponse(m.MAX_DATA_BYTES))
        for _ in range(wanted.size // m.MAX_DATA_BYTES):
            await streams.write(stream, varint.encode(len(part)) + part)
        assert recorder.dialled == []
        await streams.write(stream, varint.encode(len(part)) + part)  # more than enough is well
        answer = m.decode(await streams.read_varint_message(stream, m.MAX_MESSAGE_BYTES))
        assert answer == m.DialResponse(m.ResponseStatus.OK, 0, m.DialStatus.DIAL_ERROR)
        assert recorder.dialled == [MINE]


def answering(*messages: bytes) -> Callable[[Any], Awaitable[None]]:
    async def answer(stream: Any) -> None:
        await streams.read_varint_message(stream, m.MAX_MESSAGE_BYTES)
        for data in messages:
            await streams.write(stream, varint.encode(len(data)) + data)
        await streams.close(stream)

    return answer


@pytest.mark.parametrize(
    "sent",
    [
        (),
        (b"\xff" * 20,),
        (m.encode(m.DialDataRequest(0, m.MAX_DIAL_DATA_BYTES + 1)),),
        (m.encode(m.DialDataRequest(1, 100)),),
        (m.encode(m.DialDataRequest(0, 100)), m.encode(m.DialDataRequest(0, 100))),
        (m.encode(m.DialResponse(m.ResponseStatus.OK, 1, m.DialStatus.DIAL_ERROR)),),
        (m.encode(m.DialResponse(m.ResponseStatus.INTERNAL_ERROR)),),
        (REQUEST,),
    ],
    ids=["nothing", "garbage", "too much", "another address", "twice", "another index", "error", "a request"],
)
async def test_hostile_answers_say_nothing(sent: tuple[bytes, ...]) -> None:
    async with asking(answer=answering(*sent)) as (client, connection, _counted):
        assert await client.check(connection, MINE) == "refused"


async def test_dial_data_has_a_budget() -> None:
    """A server that asks for data and never dials costs what a client gives in an hour, and no more."""
    received = 0

    async def answer(stream: Any) -> None:
        nonlocal received
        await streams.read_varint_message(stream, m.MAX_MESSAGE_BYTES)
        data = m.encode(m.DialDataRequest(0, m.MAX_DIAL_DATA_BYTES))
        await streams.write(stream, varint.encode(len(data)) + data)
        left = m.MAX_DIAL_DATA_BYTES
        while left > 0:
            part = m.decode(await streams.read_varint_message(stream, m.MAX_MESSAGE_BYTES))
            assert isinstance(part, m.DialDataResponse)
            left -= part.size
            received += part.size
        await streams.reset(stream)

    async with asking(answer=answer) as (client, connection, _counted):
        for _ in range(2 * DATA_BUDGET_BYTES // m.MAX_DIAL_DATA_BYTES):
            assert await client.check(connection, MINE) == "refused"
    assert received == DATA_BUDGET_BYTES


@asynccontextmanager
async def dialling_back(
    quic: bool,
) -> AsyncIterator[tuple[Any, Endpoint, AutonatClient, DialBack, list[Any]]]:
    """A host that takes nonces, its address, its client, who dials back, and its connections."""
    host = our_host(2, quic=quic)
    connections: list[Any] = []
    async with running(host, listen=QUIC if quic else Multiaddr("/ip4/127.0.0.1/tcp/0")) as (address,):
        endpoint = parse(str(address))
        client = AutonatClient(lambda _endpoint: frozenset({endpoint.port}))

        def connected(connection: Any) -> None:
            is_ours = connection.muxed_conn.is_initiator
            assert (local_port_of(connection.muxed_conn) == endpoint.port) is not is_ours
            connections.append(connection)
            client.connected(connection)

        host.get_network().register_notifee(ConnectionEvents(connected, lambda _connection: None))
        host.set_stream_handler(TProtocol(m.DIAL_BACK_PROTOCOL), client.handle_dial_back)
        async with trio.open_nursery() as nursery:
            with trio.fail_after(DEADLINE):
                yield host, endpoint, client, DialBack(nursery, ("tcp", "quic")), connections
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("quic", [False, True], ids=["tcp", "quic"])
async def test_a_nonce_comes_back_from_another_port_and_peer(quic: bool) -> None:
    """Two dials over QUIC leave from one socket, which is not one on which anything listens."""
    async with dialling_back(quic) as (host, endpoint, client, back, connections):
        assert client._nonces.issue(7, endpoint, frozenset({endpoint.port}), 0.0)
        assert await back.dial(endpoint, host.get_id().to_bytes(), 7) is m.DialStatus.OK
        assert client._nonces.take(7)
        assert host_of(connections[0]) == "127.0.0.1"
        await connections[0].event_closed.wait()


async def test_strangers_who_say_no_nonce_keep_none_away() -> None:
    """They hold all streams on which one may come: a peer has a few, and a crowd makes room."""
    strangers = [our_host(number) for number in range(3, 11)]
    async with (
        dialling_back(False) as (host, endpoint, client, back, _connections),
        running(*strangers),
        AsyncExitStack() as held,
    ):
        for stranger in strangers:
            made = await stranger.get_network().dial_addr(Multiaddr(str(endpoint)), host.get_id())
            for _ in range(autonat_client.MAX_DIAL_BACKS // len(strangers)):
                await held.enter_async_context(streams.open_stream(made, m.DIAL_BACK_PROTOCOL))
        assert client._nonces.issue(7, endpoint, frozenset({endpoint.port}), 0.0)
        assert await back.dial(endpoint, host.get_id().to_bytes(), 7) is m.DialStatus.OK
        assert client._nonces.take(7)


async def test_a_nonce_that_nobody_waits_for_is_not_taken() -> None:
    async with dialling_back(False) as (host, endpoint, client, back, _connections):
        assert await back.dial(endpoint, host.get_id().to_bytes(), 7) is m.DialStatus.DIAL_BACK_ERROR
        assert client._nonces.issue(8, endpoint, frozenset({1}), 0.0)
        assert await back.dial(endpoint, host.get_id().to_bytes(), 8) is m.DialStatus.DIAL_BACK_ERROR
        assert not client._nonces.take(8)


async def test_a_nonce_over_a_connection_that_was_there_proves_nothing() -> None:
    """A server that reaches nothing sends the nonce over the client's own connection, or an older one."""
    other = our_host(3)
    async with (
        dialling_back(False) as (host, endpoint, client, _back, connections),
        running(other) as (address,),
    ):
        own = await host.get_network().dial_addr(address, other.get_id())
        older = await other.get_network().dial_addr(Multiaddr(str(endpoint)), host.get_id())
        while len(connections) < 2:
            await trio.lowlevel.checkpoint()
        assert client._nonces.issue(7, endpoint, frozenset({endpoint.port}), 1e12)
        back_over_own = next(
            one for one in other.get_network().get_connections(host.get_id()) if one is not older
        )
        for connection in (older, back_over_own):
            with pytest.raises(streams.StreamError):
                await say(connection, m.DIAL_BACK_PROTOCOL, m.encode_dial_back(7), answers=1)
        assert not client._nonces.take(7)
        assert own.is_closed is False


async def test_a_closed_port_is_a_failed_dial() -> None:
    async with dialling_back(False) as (host, endpoint, _client, back, _connections):
        closed = endpoint.with_port(1)
        assert await back.dial(closed, host.get_id().to_bytes(), 7) is m.DialStatus.DIAL_ERROR
        stranger = our_host(9).get_id().to_bytes()
        assert await back.dial(endpoint, stranger, 7) is m.DialStatus.DIAL_ERROR


async def test_a_dial_and_a_nonce_have_their_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """One who accepts and says nothing, and one who takes the nonce and does not answer."""
    assert (dial_back.DIAL_TIMEOUT_S, dial_back.NONCE_TIMEOUT_S) == (8.0, 5.0)

    async def hold(stream: Any) -> None:
        await trio.sleep_forever()

    async with dialling_back(False) as (host, endpoint, _client, back, _connections):
        host.set_stream_handler(TProtocol(m.DIAL_BACK_PROTOCOL), hold)
        peer = host.get_id().to_bytes()
        monkeypatch.setattr(dial_back, "NONCE_TIMEOUT_S", 0.3)
        assert await back.dial(endpoint, peer, 7) is m.DialStatus.DIAL_BACK_ERROR
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with listener:
            monkeypatch.setattr(dial_back, "DIAL_TIMEOUT_S", 0.3)
            silent = endpoint.with_port(listener.socket.getsockname()[1])
            assert await back.dial(silent, peer, 7) is m.DialStatus.DIAL_ERROR


async def test_data_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (autonat_server.REQUEST_TIMEOUT_S, autonat_server.DATA_TIMEOUT_S) == (5.0, 15.0)
    for name in ("REQUEST_TIMEOUT_S", "DATA_TIMEOUT_S"):
        monkeypatch.setattr(autonat_server, name, 0.3)
    recorder = Recorder()
    async with asking(recorder) as (_client, connection, _counted):
        for messages in ((), (REQUEST,)):
            with pytest.raises(streams.StreamError):
                await say(connection, m.DIAL_REQUEST_PROTOCOL, *messages)
    assert recorder.dialled == []
