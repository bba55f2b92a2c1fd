"""What a connection that dies, or a stream that is reset, costs: that exchange alone, as a StreamError."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from libp2p.host.ping import ID as PING_ID
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.interruptions import Interruptions
from spacedrive_node.actors.swarm.library import dead_connections, streams
from spacedrive_node.actors.swarm.library.notifications import ConnectionEvents
from spacedrive_node.actors.swarm.pairing import outbound
from spacedrive_node.actors.swarm.pairing.exchange_slots import MAX_EXCHANGES_PER_PEER
from spacedrive_node.messages.base import encode
from spacedrive_node.messages.peer_protocol import PROTOCOL_ID, PairingDecision, Refused
from spacedrive_node.messages.to_session import PeerAnswer, PeerUnreachable
from spacedrive_node.messages.to_swarm import Ask, KnownPeer
from spacedrive_node.messages.to_vault import Settled
from spacedrive_node.tests.harness.library_hosts import our_host, running
from spacedrive_node.tests.harness.stranger_peer import REQUEST, A, dial, stranger_host

LOCAL = Multiaddr("/ip4/127.0.0.1/tcp/0")
BUSY = encode(Refused(b"i" * 16, b"t" * 16, "busy"))
DECISION = encode(PairingDecision(b"i" * 16, b"t" * 16, b"s" * 32))


def break_connection(connection: Any) -> None:
    """Let the kernel refuse what is written to a connection from now on."""
    raw = connection.muxed_conn.secured_conn.conn.read_writer.read_write_closer.stream.stream.socket
    with socket.fromfd(raw.fileno(), raw.family, raw.type) as copy:  # trio would notice it on its own socket
        copy.shutdown(socket.SHUT_WR)


class _Dying:
    """A connection that is lost just before the first packet of a stream leaves."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def new_stream(self) -> Any:
        stream = await self._connection.new_stream()
        close_write = stream.close_write

        async def close_write_and_lose() -> None:
            await close_write()
            break_connection(self._connection)

        stream.close_write = close_write_and_lose
        return stream


async def test_a_dead_connection_is_a_stream_error() -> None:
    """Whatever the library raises when the packet with proposal and request cannot leave."""
    one, other = our_host(1), our_host(2)
    async with running(other, one) as (address, _):
        connection = await one.get_network().dial_addr(address, other.get_id())
        await trio.testing.wait_all_tasks_blocked(0.05)  # identify is over: nothing else writes
        with pytest.raises(streams.StreamNotOpenedError):
            async with streams.open_stream(_Dying(connection), PROTOCOL_ID, b"request"):
                pytest.fail("a stream was opened on a dead connection")


@asynccontextmanager
async def serving_stranger(
    serve: Callable[[Any], Awaitable[None]],
) -> AsyncIterator[tuple[bytes, tuple[str, ...]]]:
    """Run a peer that serves pairing streams; gives its peer id and addresses."""
    async with stranger_host() as host:
        host.set_stream_handler(PROTOCOL_ID, serve)
        await host.get_network().listen(LOCAL)
        yield host.get_id().to_bytes(), tuple(str(address) for address in host.get_transport_addrs())


async def test_one_reset_stream_does_not_cost_the_connection(swarm: Any) -> None:
    """The peer resets one stream of a connection: its others go on, and no new connection is made."""
    arrived: list[Any] = []
    second = trio.Event()
    go_on = trio.Event()

    async def serve(stream: Any) -> None:
        arrived.append(stream)
        number = len(arrived)
        await streams.read_frame(stream)
        if number == 2:  # 1 makes the connection, 2 waits, 3 is reset
            second.set()
            await go_on.wait()
        elif number == 3:
            await streams.reset(stream)
            return
        await streams.write_frame(stream, BUSY)
        await streams.close(stream)

    async with swarm("a") as a, serving_stranger(serve) as (peer, addresses):
        await a.deliver(A, Ask(1, peer, addresses, REQUEST))
        await a.expect(PeerAnswer, A, lambda m: m.request == 1)
        await a.deliver(A, Ask(2, peer, addresses, REQUEST))
        with trio.fail_after(60):
            await second.wait()
        await a.deliver(A, Ask(3, peer, addresses, REQUEST))
        await a.expect(PeerUnreachable, A, lambda m: m.request == 3)
        go_on.set()
        await a.expect(PeerAnswer, A, lambda m: m.request == 2)
        assert len({id(stream.muxed_conn) for stream in arrived}) == 1


async def test_no_peer_gets_more_exchanges_than_it_has_slots_for(swarm: Any) -> None:
    """Many sessions ask one peer at once: a few exchanges run, the others wait for their turn."""
    running_now = most = 0

    async def serve(stream: Any) -> None:
        nonlocal running_now, most
        running_now += 1
        most = max(most, running_now)
        await streams.read_frame(stream)
        await trio.testing.wait_all_tasks_blocked()  # every exchange that this side would start has come
        running_now -= 1
        await streams.write_frame(stream, BUSY)
        await streams.close(stream)

    async with swarm("a") as a, serving_stranger(serve) as (peer, addresses):
        sessions = [f"session-{number:016x}" for number in range(40)]
        for session in sessions:
            await a.deliver(session, Ask(1, peer, addresses, REQUEST))
        for session in sessions:
            assert isinstance(await a.expect(PeerAnswer | PeerUnreachable, session), PeerAnswer)
    assert outbound.MAX_EXCHANGES_PER_PEER * 2 <= MAX_EXCHANGES_PER_PEER
    assert 1 < most <= outbound.MAX_EXCHANGES_PER_PEER


@pytest.mark.parametrize("speaks", [True, False], ids=["resets the stream", "does not speak yet"])
async def test_settling_that_fails_is_repeated_on_the_same_connection(
    swarm: Any, monkeypatch: pytest.MonkeyPatch, speaks: bool
) -> None:
    """The peer cannot answer at first: its connection stays, and the decision comes again after the pause."""
    monkeypatch.setattr(outbound, "_SETTLE_PAUSE_S", 0.2)
    seen: list[Any] = []
    first_try = trio.Event()
    settle_once = outbound.OutboundExchanges._settle_once

    async def watched(exchanges: Any, peer: bytes, frame: bytes) -> None:
        await settle_once(exchanges, peer, frame)
        first_try.set()

    monkeypatch.setattr(outbound.OutboundExchanges, "_settle_once", watched)

    async def serve(stream: Any) -> None:
        seen.append(stream.muxed_conn)
        await streams.read_frame(stream)
        if speaks and len(seen) < 3:
            await streams.reset(stream)
            return
        await streams.write_frame(stream, BUSY)
        await streams.close(stream)

    async with swarm("a") as a, stranger_host() as host:
        if speaks:
            host.set_stream_handler(PROTOCOL_ID, serve)
        await a.deliver("vault", KnownPeer(host.get_id().to_bytes(), DECISION))
        connection = await dial(host, a)
        if not speaks:
            with trio.fail_after(60):
                await first_try.wait()
            host.set_stream_handler(PROTOCOL_ID, serve)
        settled = await a.expect(Settled, "vault")
        assert settled.frame == BUSY
        assert not connection.is_closed
        assert {id(one) for one in seen} == {id(connection.muxed_conn)}


async def test_after_a_change_of_network_only_what_answers_from_an_own_address_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One peer answers, one refuses to be pinged and so is there too, and one says nothing any more."""
    monkeypatch.setattr(dead_connections, "PING_TIMEOUT_S", 2.0)  # those that are there answer in it
    own, alive, refusing, silent = (our_host(number) for number in range(1, 5))
    async with running(alive, refusing, silent, own) as addresses:
        others = (alive, refusing, silent)
        refusing.get_mux().remove_handler(PING_ID)
        silent.set_stream_handler(PING_ID, say_nothing)
        network = own.get_network()
        made = [
            await network.dial_addr(address, one.get_id())
            for address, one in zip(addresses[:3], others, strict=True)
        ]
        await dead_connections.close_vanished(network, {"127.0.0.1"})
        assert not any(one.is_closed for one in made)
        await dead_connections.close_silent(network)
        assert [one.is_closed for one in made] == [False, False, True]
        await dead_connections.close_vanished(network, {"192.0.2.1"})
        assert all(one.is_closed for one in made)


async def test_of_a_peer_that_connects_again_all_that_was_there_before_is_in_question() -> None:
    """Whoever has made it; not what others have made, and nothing when this side is the one that connects."""
    own, peer, other = our_host(1), our_host(2), our_host(3)
    async with running(own, peer, other) as (own_address, peer_address, _):
        network, newest = own.get_network(), []
        network.register_notifee(ConnectionEvents(newest.append, lambda _one: None))
        await network.dial_addr(peer_address, peer.get_id())
        for host in (other, peer, peer):
            await host.get_network().dial_addr(own_address, own.get_id())
        with trio.fail_after(60):
            while len(newest) < 4:
                await trio.lowlevel.checkpoint()
        inbound = [one for one in newest if not one.muxed_conn.is_initiator]
        from_peer = [one for one in inbound if one.muxed_conn.peer_id == peer.get_id()]
        (dialled,) = [one for one in newest if one.muxed_conn.is_initiator]
        assert dead_connections.made_before(network, from_peer[1]) == [dialled, from_peer[0]]
        assert dead_connections.made_before(network, dialled) == []


class _Made:
    """A connection that its peer has made, to which pings are counted; it answers, or is silent."""

    is_initiator = False
    peer_id = "the peer"

    def __init__(self, *, is_silent: bool) -> None:
        self.muxed_conn = self
        self.is_silent = is_silent
        self.is_closed = False

    def get_remote_address(self) -> tuple[str, int]:
        return "192.0.2.1", 1

    async def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize("is_silent", [True, False])
async def test_a_peer_that_connects_without_end_is_asked_a_few_times_in_a_second(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock, is_silent: bool
) -> None:
    """Fifty times in a second, as often as one source may. What it leaves silent is closed all the same."""
    made: list[_Made] = []
    asked: list[_Made] = []

    class Network:
        def get_connections(self, _peer: str) -> list[_Made]:
            return [one for one in made if not one.is_closed]

    async def answers(connection: _Made, timeout_s: float) -> bool:
        asked.append(connection)
        await trio.sleep(timeout_s if connection.is_silent else 0.01)  # virtual
        return not connection.is_silent

    monkeypatch.setattr(dead_connections.ping, "answers", answers)
    host: Any = SimpleNamespace(network=Network())
    async with trio.open_nursery() as nursery:
        unused: Any = None
        start: Any = nursery.start_soon
        node = Interruptions(unused, host, unused, unused, unused, unused, start)
        for _ in range(500):
            made.append(_Made(is_silent=is_silent))
            node.connected(made[-1])
            await trio.sleep(0.02)  # virtual
    assert len(asked) < 100
    assert made[-2].is_closed is is_silent
    assert not made[-1].is_closed
    assert not node._superseded._newest


async def test_an_exchange_goes_on_when_its_peer_connects_from_elsewhere(swarm: Any) -> None:
    """The peer was moved to another network: its end of the connection is silent for good.

    The exchange has a minute; it does not wait for it.
    """
    asked = trio.Event()
    peer = our_host(7)
    arrived: list[Any] = []
    silent: list[Any] = []

    async def serve(stream: Any) -> None:
        await streams.read_frame(stream)
        arrived.append(stream)
        if len(arrived) == 2:
            silent.append(stream.muxed_conn)
            asked.set()
        if stream.muxed_conn in silent:
            await trio.sleep_forever()
        await streams.write_frame(stream, BUSY)
        await streams.close(stream)

    answer_ping = peer.get_mux().handlers[PING_ID]

    async def answer_unless_silent(stream: Any) -> None:
        await (say_nothing if stream.muxed_conn in silent else answer_ping)(stream)

    peer.set_stream_handler(PING_ID, answer_unless_silent)
    peer.set_stream_handler(PROTOCOL_ID, serve)
    async with swarm("a") as a, running(peer) as (address,):
        await a.deliver(A, Ask(1, peer.get_id().to_bytes(), (str(address),), REQUEST, 60.0))
        await a.expect(PeerAnswer, A, lambda m: m.request == 1)
        await a.deliver(A, Ask(2, peer.get_id().to_bytes(), (str(address),), REQUEST, 60.0))
        with trio.fail_after(60):
            await asked.wait()
        await dial(peer, a)
        answer = await a.expect(PeerAnswer, A, lambda m: m.request == 2)
        assert answer.frame == BUSY


async def say_nothing(_stream: Any) -> None:
    await trio.sleep_forever()
