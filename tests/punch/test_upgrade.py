"""Real hosts that meet at a relay become directly connected, and what others may do to that."""

import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

import pytest
import trio
import trio.testing
from libp2p.custom_types import TProtocol
from libp2p.io.trio import TrioTCPStream
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.library import streams
from spacedrive_node.actors.swarm.library.connection_limits import serve_inbound
from spacedrive_node.actors.swarm.library.connections import connection_kind, transport_of
from spacedrive_node.actors.swarm.library.tcp_sockets import connect_from
from spacedrive_node.actors.swarm.punch import attempt, exchange, messages, upgrade
from spacedrive_node.actors.swarm.punch.limits import MAX_PACKETS
from spacedrive_node.protocol.multiaddrs import Endpoint, parse
from spacedrive_node.tests.harness.library_hosts import PROTOCOL
from spacedrive_node.tests.harness.punch_hosts import PunchHost, PunchHosts, punch_hosts

VICTIM = "127.0.9.9"


@pytest.fixture
async def hosts() -> AsyncIterator[PunchHosts]:
    async with punch_hosts() as made:
        yield made


def is_direct(other: PunchHost) -> Any:
    return lambda one: one.kinds(other) == ["direct"]


def has_outcome(one: PunchHost) -> bool:
    return bool(one.outcomes)


@pytest.mark.parametrize("transport", ["tcp", "quic"])
async def test_two_hosts_become_directly_connected(hosts: PunchHosts, transport: str) -> None:
    """With one direct connection, of which the side that has dialled the circuit is the client.

    Everything that was sent is told to whoever looks for holes, as leaving from the listening port.
    """
    reached, dialling = await hosts.make(transport, reserves=True), await hosts.make(transport)
    await hosts.meet(dialling, reached)
    for one, other in ((dialling, reached), (reached, dialling)):
        await one.until(is_direct(other))
        await one.until(has_outcome)
        assert one.outcomes == [transport]
        (direct,) = [c for c in one.host.network.get_connections() if c is one.dialer.direct(other.peer)]
        assert transport_of(direct.muxed_conn) == transport
        assert direct.muxed_conn.is_initiator == (one is dialling)
        assert one.dialled
        assert {(endpoint, is_from_port) for endpoint, is_from_port in one.dialled} == {(other.own[0], True)}


async def test_over_both_at_once_one_connection_stays(hosts: PunchHosts) -> None:
    reached, dialling = await hosts.make("tcp", "quic", reserves=True), await hosts.make("tcp", "quic")
    await hosts.meet(dialling, reached)
    for one, other in ((dialling, reached), (reached, dialling)):
        await one.until(is_direct(other))
        await one.until(has_outcome)
        assert len(one.host.network.get_connections()) <= 3  # with the relay there may be two
    assert dialling.outcomes == reached.outcomes


async def test_an_exchange_under_way_ends_over_the_relay_and_the_next_goes_directly(
    hosts: PunchHosts,
) -> None:
    """The relayed connection is closed when it is idle, not before."""
    reached, dialling = await hosts.make("tcp", reserves=True), await hosts.make("tcp")
    relayed = await hosts.meet(dialling, reached)
    async with streams.open_stream(relayed, PROTOCOL) as under_way:
        await streams.write(under_way, b"before")
        assert await streams.read_exactly(under_way, 6) == b"before"
        await dialling.until(has_outcome)
        await reached.until(has_outcome)
        assert dialling.kinds(reached) == reached.kinds(dialling) == ["direct", "relayed"]
        following = await dialling.dialer.connect(reached.peer, ())
        assert connection_kind(following) == "direct"
        async with streams.open_stream(following, PROTOCOL, b"next") as after:
            assert await streams.read_exactly(after, 4) == b"next"
        with trio.move_on_after(4):  # longer than an idle one is kept: the time is what is tested
            await relayed.event_closed.wait()
        await streams.write(under_way, b"still")
        assert await streams.read_exactly(under_way, 5) == b"still"
    await dialling.until(is_direct(reached))
    await reached.until(is_direct(dialling))


async def test_a_relayed_connection_is_watched_once(hosts: PunchHosts) -> None:
    """However many direct ones its peer makes while it is in use: the tasks of a node are bounded."""
    reached, dialling = await hosts.make("tcp", reserves=True), await hosts.make("tcp")
    relayed = await hosts.meet(dialling, reached)
    async with streams.open_stream(relayed, PROTOCOL):
        await dialling.until(has_outcome)
        for _ in range(8):
            await reached.host.network.dial_addr(
                Multiaddr(f"{dialling.own[0]}/p2p/{dialling.host.libp2p.get_id()}"),
                dialling.host.libp2p.get_id(),
            )
        await dialling.until(lambda one: one.kinds(reached).count("direct") >= 8)
        await trio.testing.wait_all_tasks_blocked()
        watching = [one for one in hosts.nursery.child_tasks if one.name.endswith("_close_when_idle")]
        assert len(watching) <= 3  # one on each side, and that of whoever has dialled the circuit


async def test_a_peer_that_says_where_it_is_is_dialled_there(hosts: PunchHosts) -> None:
    """It needs no hole, and need not know DCUtR: identify has its address."""
    reached = await hosts.make("tcp", reserves=True)
    dialling = await hosts.make("tcp", punches=False)
    dialling.host.set_confirmed(dialling.own)
    await hosts.meet(dialling, reached)
    await reached.until(has_outcome)
    assert reached.outcomes == ["dialled"]
    await reached.until(is_direct(dialling))


async def test_a_peer_without_it_stays_relayed(hosts: PunchHosts) -> None:
    reached, dialling = await hosts.make("tcp", reserves=True), await hosts.make("tcp", punches=False)
    await hosts.meet(dialling, reached)
    await reached.until(has_outcome)
    assert reached.outcomes == ["refused"]
    assert reached.kinds(dialling) == ["relayed"]


async def test_the_other_side_as_client_is_served(hosts: PunchHosts) -> None:
    """js-libp2p 2.10 proposes Noise by itself though it should wait: then this side is the server."""
    reached, dialling = await hosts.make("tcp", reserves=True), await hosts.make("tcp", punches=False)
    dialling.host.inbound_roles.expect(reached.peer, [reached.own[0].host])
    made = await reached.host.network.dial_addr(
        Multiaddr(f"{dialling.own[0]}/p2p/{dialling.host.libp2p.get_id()}"),
        dialling.host.libp2p.get_id(),
        reached.host.source_of("ip4"),
    )
    assert made.muxed_conn.is_initiator
    async with streams.open_stream(made, PROTOCOL, b"hello") as stream:
        assert await streams.read_exactly(stream, 5) == b"hello"


async def test_an_initiator_whose_syn_is_faster_is_met_by_a_client(hosts: PunchHosts) -> None:
    """The listener of whoever is later accepts it; by the letter both would be servers, and wait."""
    early, late = await hosts.make("tcp", punches=False), await hosts.make("tcp", punches=False)
    late.host.inbound_roles.expect(early.peer, [early.own[0].host])
    source = early.host.source_of("ip4")
    assert source is not None
    made = TrioTCPStream(await connect_from(source, (late.own[0].host, late.own[0].port)))
    hosts.nursery.start_soon(serve_inbound, early.host.network, made, Multiaddr(str(late.own[0])))
    for one, other in ((late, early), (early, late)):
        await one.until(is_direct(other))
        (connection,) = one.host.network.get_connections()
        assert connection.muxed_conn.is_initiator == (one is late)


@pytest.mark.parametrize("is_first_until", ["the look", "the handshake"])
async def test_an_inbound_one_that_comes_after_another_connection_is_closed(
    hosts: PunchHosts, is_first_until: str
) -> None:
    """QUIC may have made a connection while the one over TCP was looked at, or shook hands."""
    early, late = await hosts.make("tcp", punches=False), await hosts.make("tcp", punches=False)
    late.host.inbound_roles.expect(
        early.peer,
        [early.own[0].host],
        lambda connection: connection is None and is_first_until == "the handshake",
    )
    source = early.host.source_of("ip4")
    assert source is not None
    made = TrioTCPStream(await connect_from(source, (late.own[0].host, late.own[0].port)))
    await serve_inbound(early.host.network, made, Multiaddr(str(late.own[0])))  # until its end
    await late.until(lambda one: not one.kinds(early))
    assert not early.kinds(late)


async def test_no_more_than_so_many_run_at_once(hosts: PunchHosts, monkeypatch: pytest.MonkeyPatch) -> None:
    """One with each peer, and a number in all; whoever comes then stays relayed."""
    monkeypatch.setattr(upgrade, "MAX_UPGRADES", 1)
    reached = await hosts.make("tcp", reserves=True)
    held = await hosts.make("tcp", punches=False)

    async def hold(_stream: Any) -> None:
        await trio.sleep_forever()

    held.host.libp2p.set_stream_handler(TProtocol(messages.PROTOCOL), hold)
    await hosts.meet(held, reached)
    await reached.until(lambda one: "relayed" in one.kinds(held))
    other = await hosts.make("tcp")
    await hosts.meet(other, reached)
    await reached.until(has_outcome)
    assert reached.outcomes[0] == "limited"
    assert other.kinds(reached) == ["relayed"]


async def test_attempts_go_on_where_the_other_side_ends_its_stream_after_each(
    hosts: PunchHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of go, rust and js do, where the specification keeps to one stream."""
    monkeypatch.setattr(attempt, "PUNCH_S", 0.2)
    for module in (upgrade, exchange):  # a busy machine must not end it
        monkeypatch.setattr(module, "MAX_ROUND_TRIP_S", 60.0)
    reached = await hosts.make("tcp", reserves=True)
    dialling = await hosts.make("tcp", punches=False)
    answered = []

    async def answer(stream: Any) -> None:
        await streams.read_varint_message(stream, messages.MAX_MESSAGE_BYTES)
        await streams.write(stream, connect_naming())
        answered.append(await streams.read_varint_message(stream, messages.MAX_MESSAGE_BYTES))
        await streams.close(stream)

    dialling.host.libp2p.set_stream_handler(TProtocol(messages.PROTOCOL), answer)
    await hosts.meet(dialling, reached)
    await reached.until(has_outcome)
    assert len(answered) == exchange.MAX_ATTEMPTS
    assert reached.outcomes == ["failed"]


# Attackers


def connect_naming(*texts: str) -> bytes:
    return messages.connect([parse(text) for text in texts])


async def test_an_initiator_that_does_not_keep_to_the_protocol_is_left(hosts: PunchHosts) -> None:
    """The stream is reset, nothing is dialled, and the relayed connection goes on."""
    reached = await hosts.make("tcp", punches=False, reserves=True)
    dialling = await hosts.make("tcp")
    await hosts.meet(dialling, reached)
    await reached.until(lambda one: "relayed" in one.kinds(dialling))
    for bad in (messages.sync(), b"\x02\xff\xff", b"\xff" * 5, connect_naming() + connect_naming()):
        stream = await streams.begin_stream(reached.relayed(dialling), messages.PROTOCOL, bad)
        with pytest.raises(streams.StreamError):
            await streams.read_exactly(stream, 64)
    assert dialling.outcomes == ["refused"] * 4
    assert not dialling.dialled
    assert dialling.kinds(reached) == ["relayed"]


async def test_only_who_was_dialled_begins_and_only_over_a_relay(hosts: PunchHosts) -> None:
    reached, dialling = await hosts.make("tcp", reserves=True), await hosts.make("tcp", punches=False)
    relayed = await hosts.meet(dialling, reached)
    direct = await dialling.host.network.dial_addr(
        Multiaddr(f"{reached.own[0]}/p2p/{reached.host.libp2p.get_id()}"),
        reached.host.libp2p.get_id(),
    )
    for connection in (relayed, direct):
        stream = await streams.begin_stream(connection, messages.PROTOCOL, connect_naming())
        with pytest.raises(streams.StreamError):
            await streams.read_exactly(stream, 1)
    assert not reached.dialled


class Victim:
    """A third party: counts what comes to its ports."""

    def __init__(self, stack: ExitStack) -> None:
        self._udp = [self._bound(stack) for _ in range(8)]
        self.packets = 0
        self.endpoints = [Endpoint("ip4", VICTIM, one.getsockname()[1], "quic") for one in self._udp]

    @staticmethod
    def _bound(stack: ExitStack) -> socket.socket:
        made = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        made.bind((VICTIM, 0))
        made.setblocking(False)
        return made

    def count(self) -> int:
        for one in self._udp:
            try:
                while one.recv(2048):
                    self.packets += 1
            except BlockingIOError:
                continue
        return self.packets


async def play_initiator(liar: PunchHost, victim: PunchHost, named: bytes, attempts: int) -> int:
    """Begin attempts over the circuit by which `victim` has come; return how many it took part in."""
    stream = await streams.begin_stream(liar.relayed(victim), messages.PROTOCOL, named)
    for number in range(attempts):
        try:
            if number:
                await streams.write(stream, named)
            await streams.read_varint_message(stream, messages.MAX_MESSAGE_BYTES)
            await streams.write(stream, messages.sync())
        except streams.StreamError:
            return number
    return attempts


async def test_third_parties_that_a_peer_names_get_few_packets(hosts: PunchHosts) -> None:
    """Eight ports of a victim are named, and the client dials all: 60 packets at most, then nothing."""
    reached = await hosts.make("quic", punches=False, reserves=True)
    dialling = await hosts.make("quic")
    with ExitStack() as stack:
        victim = Victim(stack)
        await hosts.meet(dialling, reached)
        await reached.until(lambda one: "relayed" in one.kinds(dialling))
        named = messages.connect(victim.endpoints)
        assert await play_initiator(reached, dialling, named, 1) == 1
        await dialling.until(has_outcome)
        assert 0 < victim.count() <= MAX_PACKETS
    assert dialling.outcomes == ["failed"]


async def test_a_peer_that_never_answers_holds_nothing_up(hosts: PunchHosts) -> None:
    """Exchanges go on over the relay meanwhile, and the upgrade is over after seconds."""
    reached = await hosts.make("tcp", reserves=True)
    dialling = await hosts.make("tcp", punches=False)
    asked = trio.Event()

    async def listen(stream: Any) -> None:
        await streams.read_varint_message(stream, messages.MAX_MESSAGE_BYTES)
        asked.set()
        await trio.sleep_forever()

    dialling.host.libp2p.set_stream_handler(TProtocol(messages.PROTOCOL), listen)
    relayed = await hosts.meet(dialling, reached)
    await asked.wait()
    async with streams.open_stream(relayed, PROTOCOL, b"hello") as stream:
        assert await streams.read_exactly(stream, 5) == b"hello"
    assert not reached.outcomes
    await reached.until(has_outcome)
    assert reached.outcomes == ["refused"]
    assert not reached.dialled


async def test_what_a_server_sends_to_third_parties_is_bounded_too(hosts: PunchHosts) -> None:
    """A stranger who dials through the relay names them; each attempt sends 60 packets at most."""
    reached = await hosts.make("quic", reserves=True)
    dialling = await hosts.make("quic", punches=False)
    with ExitStack() as stack:
        victim = Victim(stack)
        synced = trio.Event()

        async def answer(stream: Any) -> None:
            if not synced.is_set():
                await streams.read_varint_message(stream, messages.MAX_MESSAGE_BYTES)
                await streams.write(stream, messages.connect(victim.endpoints))
                await streams.read_varint_message(stream, messages.MAX_MESSAGE_BYTES)
                synced.set()
                await streams.read_varint_message(stream, messages.MAX_MESSAGE_BYTES)
            await streams.reset(stream)

        dialling.host.libp2p.set_stream_handler(TProtocol(messages.PROTOCOL), answer)
        await hosts.meet(dialling, reached)
        await synced.wait()
        await reached.until(has_outcome)
        assert 0 < victim.count() <= MAX_PACKETS
    assert reached.outcomes == ["refused"]
