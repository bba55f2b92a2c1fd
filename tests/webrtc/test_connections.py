"""Connections between two endpoints: identity, streams, half-close, what is held, and their end."""

import os

import pytest
import trio
from libp2p.stream_muxer.exceptions import (
    MuxedConnUnavailable,
    MuxedStreamClosed,
    MuxedStreamEOF,
    MuxedStreamReset,
)

pytest.importorskip("google_crc32c", reason="the extra webrtc is not installed: make webrtc")

from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.library.connection_limits import limit_inbound_connections
from spacedrive_node.actors.swarm.library.connections import address_block_of, host_of, is_alive, transport_of
from spacedrive_node.actors.swarm.library.dialing import OtherPeerAnsweredError
from spacedrive_node.actors.swarm.library.muxed_streams import MAX_HALF_CLOSED_STREAMS
from spacedrive_node.actors.swarm.webrtc import connection, frames
from spacedrive_node.actors.swarm.webrtc.certificate import (
    certhash,
    dialer_certificate,
    fingerprint_named,
    listener_certificate,
)
from spacedrive_node.actors.swarm.webrtc.connection import Sides
from spacedrive_node.actors.swarm.webrtc.sctp_receiver import WINDOW_BYTES
from spacedrive_node.actors.swarm.webrtc.stream import WebRtcStream
from spacedrive_node.actors.swarm.webrtc.stream_table import MAX_STREAMS_OF_PEER
from spacedrive_node.actors.swarm.webrtc.wire import WebRtcError
from spacedrive_node.tests.harness.library_hosts import Open, our_host, running
from spacedrive_node.tests.harness.webrtc_endpoints import DEADLINE, connected, peers, until

LISTEN = Multiaddr("/ip4/127.0.0.1/udp/0/webrtc-direct")


async def read_all(stream: WebRtcStream) -> bytes:
    data = bytearray()
    with trio.fail_after(DEADLINE):
        while True:
            try:
                data += await stream.read(65_536)
            except MuxedStreamEOF:
                return bytes(data)


def test_the_certificate_follows_from_the_seed() -> None:
    """Byte for byte, so that addresses stay valid over a restart; a dialer's is new each time."""
    one, again, other = (listener_certificate(seed * 32) for seed in (b"a", b"a", b"b"))
    assert one.fingerprint == again.fingerprint != other.fingerprint
    one.certificate.verify_directly_issued_by(one.certificate)
    assert fingerprint_named(certhash(one.fingerprint)) == one.fingerprint
    assert dialer_certificate().fingerprint != dialer_certificate().fingerprint
    for wrong in ("", "u", "z123", certhash(one.fingerprint)[:-4], "u!!", certhash(b"\x13\x40" + bytes(64))):
        assert fingerprint_named(wrong) is None


async def test_both_sides_know_each_other_and_answer_on_streams() -> None:
    """A request with a closed half, its answer after that, both ways; then the id of the channel is free."""
    async with peers("a", "b") as (a, b):
        dialled, accepted = await connected(a, b)
        assert (dialled.peer_id.to_bytes(), accepted.peer_id.to_bytes()) == (b.id, a.id)
        assert dialled.get_remote_address().multiaddr().to_bytes()
        for one, other in ((dialled, accepted), (accepted, dialled)) * 3:
            stream = await one.open_stream()
            await stream.write(b"request")
            await stream.close_write()
            there = await other.accept_stream()
            assert await read_all(there) == b"request"
            await there.write(b"answer")
            await there.close()
            assert await read_all(stream) == b"answer"
            with pytest.raises(MuxedStreamClosed):
                await stream.write(b"more")
        await until(
            lambda: not any(len(one.streams) + len(one.streams._leaving) for one in (dialled, accepted))
        )
        assert (dialled.streams._next_id, accepted.streams._next_id) == (4, 3)


@pytest.mark.parametrize("size", [1, frames.MAX_PAYLOAD_BYTES, frames.MAX_PAYLOAD_BYTES + 1, 3_000_000])
async def test_any_size_goes_through(size: int) -> None:
    """While both sides send at once."""
    async with peers("a", "b") as (a, b):
        dialled, accepted = await connected(a, b)
        stream = await dialled.open_stream()
        data = os.urandom(size)
        async with trio.open_nursery() as nursery:

            async def send(one: WebRtcStream) -> None:
                await one.write(data)
                await one.close_write()

            nursery.start_soon(send, stream)
            with trio.fail_after(DEADLINE):
                there = await accepted.accept_stream()
            nursery.start_soon(send, there)
            assert await read_all(stream) == data
            assert await read_all(there) == data
        assert dialled.unread == accepted.unread == 0


async def test_what_nobody_reads_stops_its_sender_and_no_byte_is_lost() -> None:
    """The whole connection holds a window of unread bytes at most; then all of it can be read."""
    async with peers("a", "b") as (a, b), trio.open_nursery() as nursery:
        dialled, accepted = await connected(a, b)
        stream = await dialled.open_stream()
        data = os.urandom(1_500_000)
        nursery.start_soon(stream.write, data)
        with trio.fail_after(DEADLINE):
            there = await accepted.accept_stream()
        await until(lambda: accepted.unread > WINDOW_BYTES - 2000)
        assert accepted.unread <= WINDOW_BYTES + 6000
        got = bytearray()
        with trio.fail_after(DEADLINE):
            while len(got) < len(data):
                got += await there.read(10_000)
        assert got == data


async def test_a_stream_that_is_given_up_makes_room_for_the_others() -> None:
    """What it held is no more unread, and its sender learns of it."""
    async with peers("a", "b") as (a, b), trio.open_nursery() as nursery:
        dialled, accepted = await connected(a, b)
        stuck, other = await dialled.open_stream(), await dialled.open_stream()
        ended = trio.Event()

        async def write() -> None:
            with pytest.raises((MuxedStreamClosed, MuxedStreamReset)):
                await stuck.write(bytes(2_000_000))
            ended.set()

        nursery.start_soon(write)
        with trio.fail_after(DEADLINE):
            there = await accepted.accept_stream()
            await until(lambda: accepted.unread > WINDOW_BYTES - 2000)
            await there.reset()
            await ended.wait()
            await other.write(b"through")
            assert await (await accepted.accept_stream()).read() == b"through"
        with pytest.raises(MuxedStreamReset):
            await there.read()
        await until(lambda: len(accepted.streams) == 1)


async def test_a_peer_that_breaks_the_framing_of_a_stream_loses_the_stream() -> None:
    """And keeps the connection."""
    async with peers("a", "b") as (a, b):
        dialled, accepted = await connected(a, b)
        stream = await dialled.open_stream()
        dialled.send_frame(stream.stream_id, b"\xff\xff\xff\xff")
        with trio.fail_after(DEADLINE):
            there = await accepted.accept_stream()
            with pytest.raises(MuxedStreamReset):
                await there.read()
            with pytest.raises(MuxedStreamReset):
                await stream.read()
            await (await dialled.open_stream()).write(b"x")
            assert await (await accepted.accept_stream()).read() == b"x"


async def test_streams_are_bounded() -> None:
    """Those that a peer opens beyond are reset at once; those that it never closes are given up in time."""
    async with peers("a", "b") as (a, b):
        dialled, accepted = await connected(a, b)
        mine = [await dialled.open_stream() for _ in range(MAX_STREAMS_OF_PEER + 10)]
        dialled.flush_unsent()
        await until(lambda: len(dialled.streams) == MAX_STREAMS_OF_PEER)
        assert len(accepted.streams) == MAX_STREAMS_OF_PEER
        with pytest.raises(MuxedStreamReset):
            await mine[-1].read()
        theirs = [await accepted.accept_stream() for _ in range(MAX_STREAMS_OF_PEER)]
        for stream in theirs:
            await stream.close()
        await until(lambda: len(accepted.streams) == MAX_HALF_CLOSED_STREAMS)
        await until(lambda: len(dialled.streams) == MAX_HALF_CLOSED_STREAMS)


async def test_channels_with_wrong_ids_end_the_connection() -> None:
    """One of this side's parity; or one that is open."""
    for stream_id in (1, 2):
        async with peers("a", "b") as (a, b):
            dialled, accepted = await connected(a, b)
            await dialled.open_stream()
            dialled.send_control(stream_id, frames.OPEN)
            dialled.flush_unsent()
            with trio.fail_after(DEADLINE):
                await accepted.ended.wait()
                await dialled.ended.wait()


async def test_another_peer_or_another_certificate_is_refused() -> None:
    """An address that leads to somebody else, by id and by certificate."""
    async with peers("a", "b", "c") as (a, b, c):
        with pytest.raises(OtherPeerAnsweredError) as caught:
            await a.dial(b, peer=c.id)
        assert caught.value.peer == b.id
        with pytest.raises(WebRtcError, match="certificate"):
            await a.dial(b, certificate=c.identity.own.fingerprint)


async def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is known at once, from the system, and not when the time of the dial is over."""
    monkeypatch.setattr(connection, "HANDSHAKE_TIMEOUT_S", 10 * DEADLINE)
    async with peers("a", "b") as (a, b):
        b.endpoint.close()
        with trio.fail_after(DEADLINE), pytest.raises(WebRtcError, match="refused"):
            await a.dial(b)


@pytest.mark.parametrize("side", [0, 1])
async def test_both_sides_notice_that_one_has_closed(side: int) -> None:
    """Waiting readers and acceptors as well; the socket of a dial and what OpenSSL holds go with it."""
    async with peers("a", "b") as (a, b):
        both = await connected(a, b)
        stream = await both[0].open_stream()
        await stream.write(b"x")
        await both[side].close()
        with trio.fail_after(DEADLINE):
            await both[1 - side].ended.wait()
            with pytest.raises(MuxedStreamReset):
                await stream.read()
            with pytest.raises(MuxedConnUnavailable):
                await both[0].open_stream()
        await until(lambda: not a.dialling[0].is_open)
        assert b.endpoint.connections == []
        assert not any(hasattr(one._dtls, "_ssl") for one in both)


async def test_a_datagram_has_one_record_of_data() -> None:
    """libdatachannel reads one of each, and the next one when another datagram comes."""
    async with peers("a", "b") as (a, b):
        dialled, accepted = await connected(a, b)
        sent: list[bytes] = []
        send = dialled._wire.send
        dialled._wire.send = lambda data, to: (sent.append(data), send(data, to))  # type: ignore[method-assign,func-returns-value]
        for size in (1, 100, 3000):
            stream = await dialled.open_stream()
            async with dialled.batch(stream.stream_id):
                await stream.write(bytes(size))
                await stream.close_write()
            with trio.fail_after(DEADLINE):
                assert len(await read_all(await accepted.accept_stream())) == size
        records = [one for one in sent if one[0] == 23]
        assert len(records) >= 5
        assert all(len(one) == 13 + int.from_bytes(one[11:13], "big") for one in records)


async def test_channels_whose_end_the_peer_never_confirms_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A peer that resets no half of its own holds no more than a number of ids."""
    monkeypatch.setattr("spacedrive_node.actors.swarm.webrtc.stream_table._MAX_LEAVING", 20)
    async with peers("a", "b") as (a, b):
        dialled, accepted = await connected(a, b)
        dialled.reset_channel = lambda _stream_id: None  # type: ignore[method-assign]
        for _ in range(30):
            try:
                stream = await dialled.open_stream()
                await stream.write(b"x")
            except (MuxedConnUnavailable, MuxedStreamReset):
                break
            with trio.fail_after(DEADLINE):
                try:
                    await (await accepted.accept_stream()).reset()
                except (MuxedConnUnavailable, WebRtcError):
                    break
        with trio.fail_after(DEADLINE):
            await accepted.ended.wait()


async def test_noise_has_both_certificates_in_it() -> None:
    """Whoever ends DTLS on both sides with certificates of his own cannot pass Noise on between them."""
    async with peers("a", "b") as (a, b):
        real = b.identity.sides

        def other_certificate() -> Sides:
            sides = real()
            return Sides(sides.keys, sides.static, dialer_certificate().fingerprint)

        b.identity.sides = other_certificate  # type: ignore[method-assign]
        with pytest.raises(WebRtcError):
            await a.dial(b)
        await until(lambda: b.failures == ["webrtc"])


async def test_a_host_counts_and_limits_it_as_all_connections() -> None:
    """Alive, from there, over WebRTC; a newcomer takes the place of another; the slots are given back."""
    counted: list[tuple[str, bool]] = []
    server = our_host(1, 4, webrtc=True)
    limit_inbound_connections(
        server.get_network(), Open(), lambda transport, _s, good: counted.append((transport, good))
    )
    async with running(server, listen=LISTEN) as (address,):
        for number in range(2, 10):
            client = our_host(number, webrtc=True)
            async with running(client, listen=LISTEN):
                with trio.fail_after(DEADLINE):
                    connection = await client.get_network().dial_addr(address, server.get_id())
                assert is_alive(connection)
                assert (transport_of(connection.muxed_conn), host_of(connection)) == ("webrtc", "127.0.0.1")
                assert address_block_of(connection.muxed_conn) == "127.0.0.0/24"
                assert len(server.get_network().get_connections()) <= 4
        await until(lambda: not server.get_network()._inbound_limiter.borrowed_tokens)
    assert counted == [("webrtc", True)] * 8


async def test_it_runs_over_ipv6() -> None:
    """A listener and a dial, with the address in the form that others read."""
    server, client = our_host(1, webrtc=True), our_host(2, webrtc=True)
    listen = Multiaddr("/ip6/::1/udp/0/webrtc-direct")
    async with running(server, listen=listen) as (address,), running(client, listen=listen):
        with trio.fail_after(DEADLINE):
            connection = await client.get_network().dial_addr(address, server.get_id())
        assert str(connection.muxed_conn.get_remote_address().multiaddr()).startswith("/ip6/::1/udp/")
