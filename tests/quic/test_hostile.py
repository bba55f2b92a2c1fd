"""Strangers at the socket: garbage, broken handshakes, floods, rules of aioquic's peer that are broken."""

import os
import random
from typing import Any

import pytest
import trio
import trio.lowlevel
from aioquic.buffer import Buffer
from aioquic.quic.packet import QuicPacketType, pull_quic_header

from spacedrive_node.actors.swarm.library import handshake_limits
from spacedrive_node.actors.swarm.quic import bounded_quic
from spacedrive_node.actors.swarm.quic.connection import QuicConnection
from spacedrive_node.actors.swarm.quic.wire import QuicError
from spacedrive_node.tests.harness.library_hosts import Open
from spacedrive_node.tests.harness.quic_endpoints import (
    DEADLINE,
    Peer,
    connected,
    identity,
    peer_of,
    peers,
    until,
)
from spacedrive_node.tests.harness.quic_stranger import (
    RudeQuic,
    begin_handshake,
    connect_rudely,
    first_packet,
)

FUZZ = int(os.environ.get("FUZZ", "3000"))


class Lan(Open):
    """A gate that admits nobody from here."""

    def allows(self, host: str) -> bool:
        return False


async def test_garbage_reaches_nothing() -> None:
    """Random bytes, pieces of true packets, and true packets with bytes changed; then a peer connects."""
    draw = random.Random(7)
    async with peers("a", "b") as (a, b):
        dialled, accepted = await connected(a, b)
        seen: list[bytes] = [first_packet()]
        send = dialled._wire.send
        dialled._wire.send = lambda data, to: (seen.append(data), send(data, to))  # type: ignore[method-assign,func-returns-value]
        stream = await dialled.open_stream()
        await stream.write(b"x" * 5000)
        sender = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
        with sender:
            await sender.bind(("127.0.0.1", 0))
            for number in range(FUZZ):
                packet = bytearray(draw.choice(seen))
                match number % 4:
                    case 0:
                        packet = bytearray(draw.randbytes(draw.randrange(1500)))
                    case 1:
                        del packet[draw.randrange(len(packet)) :]
                    case 2:
                        packet[draw.randrange(len(packet))] ^= 1 << draw.randrange(8)
                    case _:
                        packet[draw.randrange(40) % len(packet)] = draw.randrange(256)
                await sender.sendto(bytes(packet), b.address)
                if number % 50 == 0:
                    await trio.lowlevel.checkpoint()
        await until(lambda: len(b.identity.handshakes) == 0)
        other = await a.dial(b)
        assert other.is_established
        assert not accepted.is_closed
        assert len(b.endpoint.connections) == 2
        assert len(b.endpoint._routes) < 40


async def test_first_packets_that_cannot_be_read_cost_nothing_that_stays() -> None:
    """Nothing is kept and nothing is answered."""
    async with peers("b") as (b,):
        packet = bytearray(first_packet())
        packet[100] ^= 1
        with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as sender:
            await sender.bind(("127.0.0.1", 0))
            for _ in range(50):
                await sender.sendto(bytes(packet), b.address)
            await until(lambda: len(b.failures) == 50)
            assert b.endpoint.connections == []
            assert not b.endpoint._routes
            with trio.move_on_after(0.05) as scope:
                await sender.recvfrom(100)
            assert scope.cancelled_caught


async def test_many_open_handshakes_make_newcomers_show_their_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Retry, which an honest dialler follows by itself; and no block has more than its share."""
    monkeypatch.setattr("spacedrive_node.actors.swarm.quic.connection.HANDSHAKE_TIMEOUT_S", 10 * DEADLINE)
    async with peers("a", "b") as (a, b):
        with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as sender:
            await sender.bind(("127.0.0.1", 0))
            for _ in range(handshake_limits.RETRY_ABOVE_PER_BLOCK + 20):
                await sender.sendto(first_packet(), b.address)
            await until(lambda: len(b.identity.handshakes) == handshake_limits.RETRY_ABOVE_PER_BLOCK)
            kinds = set()
            with trio.fail_after(DEADLINE):
                while QuicPacketType.RETRY not in kinds:
                    data, _ = await sender.recvfrom(2000)
                    kinds.add(pull_quic_header(Buffer(data=data), host_cid_length=8).packet_type)
            dialled = await a.dial(b)
            assert dialled.core._retry_count == 1
            assert (await b.accept()).peer_id.to_bytes() == peer_of("a")


@pytest.mark.parametrize("blocks", [1, 4], ids=["of its own block", "of four others"])
async def test_strangers_who_finish_no_handshake_keep_nobody_out(
    blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They show their addresses, and hold all handshakes that there may be: who comes then is let in, in the
    place of the oldest of those who have most.
    """
    monkeypatch.setattr("spacedrive_node.actors.swarm.quic.connection.HANDSHAKE_TIMEOUT_S", 60.0)
    async with peers("a", "b") as (a, b):
        limits = b.identity.handshakes
        places = ["127.0.0.1"] if blocks == 1 else [f"127.{number}.0.1" for number in range(1, blocks + 1)]
        for number in range(handshake_limits.MAX_HANDSHAKES + 10):
            await begin_handshake(b.address, places[number % blocks])
        full = handshake_limits.MAX_HANDSHAKES if blocks > 2 else handshake_limits.MAX_HANDSHAKES_PER_BLOCK
        assert len(limits) == full
        assert len(b.endpoint.connections) == full
        assert (await a.dial(b)).is_established
        await b.accept()
        assert len(limits) == full - 1


async def test_unfinished_handshakes_end_after_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """And with them what they held."""
    monkeypatch.setattr("spacedrive_node.actors.swarm.quic.connection.HANDSHAKE_TIMEOUT_S", 1.0)
    async with peers("b") as (b,):
        with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as sender:
            await sender.bind(("127.0.0.1", 0))
            await sender.sendto(first_packet(), b.address)
            await until(lambda: len(b.identity.handshakes) == 1)
            await until(lambda: len(b.identity.handshakes) == 0)
        assert b.endpoint.connections == []
        assert b.failures == ["quic"]


async def test_before_the_address_is_shown_no_more_than_three_times_as_much_is_sent() -> None:
    """RFC 9000, 8.1: whoever makes up a source address gains little."""
    async with peers("b") as (b,):
        with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as sender:
            await sender.bind(("127.0.0.1", 0))
            packet = first_packet()
            await sender.sendto(packet, b.address)
            received = 0
            with trio.move_on_after(2):
                while True:
                    received += len((await sender.recvfrom(2000))[0])
            assert 0 < received <= 3 * len(packet)


async def test_who_may_not_come_in_gets_no_answer() -> None:
    """--lan-only: neither a handshake nor a reset, and no packet of a connection that has moved."""
    async with peers("a", "b") as (a, b):
        dialled, accepted = await connected(a, b)
        b.identity.gate = Lan()
        with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as sender:
            await sender.bind(("127.0.0.1", 0))
            for packet in (first_packet(), b"\x40" + bytes(60)):
                await sender.sendto(packet, b.address)
            with trio.move_on_after(0.2) as scope:
                await sender.recvfrom(2000)
            assert scope.cancelled_caught
        stream = await dialled.open_stream()
        await stream.write(b"x")  # of the connection that stands
        assert await (await accepted.accept_stream()).read() == b"x"
        b.endpoint._take(b"\x40" + accepted.core.host_cid + bytes(60), ("192.0.2.1", 9))
        assert len(accepted.core._network_paths) == 1


async def test_a_client_without_a_certificate_is_refused() -> None:
    """The peer id of whoever connects has to be proved as well."""
    async with peers("a", "b") as (a, b):

        class Bare(bounded_quic.BoundedQuic):
            def _initialize(self, peer_cid: bytes) -> None:
                super()._initialize(peer_cid)
                self.tls.certificate = None

        core = Bare(a.identity.own, a.identity.tokens, is_client=True)
        connection = QuicConnection(a.endpoint, core, b.address, is_initiator=True, expected=peer_of("b"))
        core.connect(b.address, now=trio.current_time())
        a.endpoint._add(connection)
        connection.flush()
        with trio.fail_after(DEADLINE):
            await connection.ended.wait()
        assert str(connection.failure).endswith(hex(bounded_quic.CERTIFICATE_REQUIRED))
        assert b.accepted == []


async def rude(a: Peer, b: Peer) -> tuple[QuicConnection, QuicConnection, RudeQuic]:
    mine, core = await connect_rudely(a, b.address, peer_of("b"))
    return mine, await b.accept(), core


def stream_frame(stream_id: int, offset: int, data: bytes) -> bytes:
    buf = Buffer(capacity=2000)
    buf.push_uint_var(0x0E)
    for number in (stream_id, offset, len(data)):
        buf.push_uint_var(number)
    buf.push_bytes(data)
    return buf.data


@pytest.mark.parametrize(
    "frame",
    [
        stream_frame(0, 256 * 1024, b"x"),
        stream_frame(bounded_quic.MAX_STREAMS * 4, 0, b"x"),
        stream_frame(2, 0, b"x"),
        stream_frame(1, 0, b"x"),
        b"\x21",
    ],
    ids=["beyond the credit", "too many streams", "one direction", "this side's stream", "unknown"],
)
async def test_a_peer_that_breaks_the_rules_loses_its_connection(frame: bytes) -> None:
    """At once, and the others go on."""
    async with peers("a", "b") as (a, b):
        mine, theirs, core = await rude(a, b)
        core.frames = frame
        core.send_ping(1)
        mine.flush()
        with trio.fail_after(DEADLINE):
            await theirs.ended.wait()
            await mine.ended.wait()
        assert (await a.dial(b)).is_established


async def test_a_stream_full_of_holes_ends_the_connection() -> None:
    """Single bytes with gaps cost a hundred times what they count for."""
    async with peers("a", "b") as (a, b):
        mine, theirs, core = await rude(a, b)
        with trio.fail_after(DEADLINE):
            for offset in range(2, 4 * bounded_quic.MAX_GAPS, 2):
                if theirs.is_closed:
                    break
                core.frames = stream_frame(0, offset, b"x")
                core.send_ping(1)
                mine.flush()
                await trio.lowlevel.checkpoint()
            await theirs.ended.wait()


async def test_streams_that_are_opened_and_reset_are_granted_at_a_rate() -> None:
    """One packet of them would else cost this side milliseconds, again and again."""
    async with peers("a", "b") as (a, b), trio.open_nursery() as nursery:
        dialled, accepted = await connected(a, b)

        def opened() -> int:
            return accepted.core._local_max_streams_bidi.used

        async def accept() -> None:
            while True:
                await (await accepted.accept_stream()).reset()

        async def reset() -> None:
            while True:
                stream = await dialled.open_stream()
                await stream.write(b"x")
                await stream.reset()
                await until(lambda: len(dialled.core._streams) < 2 * bounded_quic.MAX_STREAMS)

        nursery.start_soon(accept)
        nursery.start_soon(reset)
        await until(lambda: opened() >= 8 * bounded_quic.MAX_STREAMS)
        seconds = trio.current_time() - accepted.began
        at_once = 2 * bounded_quic.MAX_STREAMS  # those of the beginning, and as many in their place
        assert opened() <= at_once + seconds * bounded_quic.STREAMS_PER_S
        nursery.cancel_scope.cancel()


def test_a_handshake_that_never_ends_is_ended() -> None:
    """A message of TLS that claims 16 MiB, and is sent bit by bit."""
    own = identity("b")
    core = bounded_quic.BoundedQuic(
        own.own, own.tokens, is_client=False, original_destination_connection_id=b"c" * 8
    )
    core.receive_datagram(first_packet(), ("127.0.0.1", 2), now=0.0)
    epoch = bounded_quic.tls.Epoch.HANDSHAKE
    context: Any = type("Context", (), {"epoch": epoch, "time": 0.0, "version": 1})
    sent = 0

    def send_more() -> None:
        nonlocal sent
        buf = Buffer(capacity=1100)
        buf.push_uint_var(sent)
        buf.push_uint_var(1000)
        buf.push_bytes((b"" if sent else b"\x0b\xff\xff\xff").ljust(1000, b"x"))
        core._handle_crypto_frame(context, 6, Buffer(data=buf.data))
        sent += 1000

    while sent <= bounded_quic.MAX_HANDSHAKE_BYTES - 1000:
        send_more()
    with pytest.raises(bounded_quic.QuicConnectionError):
        send_more()


async def test_a_defect_of_the_library_ends_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a packet may do to it."""
    async with peers("a", "b") as (a, b):
        first, first_there = await connected(a, b)
        second, second_there = await connected(a, b)

        def broken(*_arguments: object, **_more: object) -> None:
            raise AssertionError

        monkeypatch.setattr(first_there.core, "receive_datagram", broken)
        await (await first.open_stream()).write(b"x")
        with trio.fail_after(DEADLINE):
            await first_there.ended.wait()
        assert isinstance(first_there.failure, QuicError)
        await (await second.open_stream()).write(b"x")
        assert await (await second_there.accept_stream()).read() == b"x"
