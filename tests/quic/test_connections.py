"""Connections between two endpoints: who is there, streams, credit, ends; and that nothing is left over."""

import gc
import os
import socket
import weakref
from contextlib import suppress
from typing import Any

import pytest
import trio
from libp2p.stream_muxer.exceptions import (
    MuxedConnUnavailable,
    MuxedStreamClosed,
    MuxedStreamEOF,
    MuxedStreamReset,
)

from spacedrive_node.actors.swarm.library import muxed_streams, unread_bytes
from spacedrive_node.actors.swarm.library.dialing import OtherPeerAnsweredError, peer_that_answered
from spacedrive_node.actors.swarm.quic import bounded_quic, receive_credit
from spacedrive_node.actors.swarm.quic.wire import QuicError
from spacedrive_node.tests.harness.quic_endpoints import DEADLINE, connected, peer_of, peers, until

WINDOW, ALL = receive_credit.STREAM_WINDOW_BYTES, receive_credit.CONNECTION_WINDOW_BYTES


async def fill(connection: Any, size: int) -> None:
    """Write to a new stream, as far as the other side lets it."""
    stream = await connection.open_stream()
    with suppress(MuxedStreamReset, MuxedStreamClosed):
        await stream.write(bytes(size))


async def refused(stream: Any) -> None:
    """Write until the stream takes no more."""
    with trio.fail_after(DEADLINE), suppress(MuxedStreamClosed):
        while True:
            await stream.write(b"x")


async def test_both_sides_learn_who_the_other_is_and_where_it_listens() -> None:
    """A dial leaves from the port on which the dialler listens."""
    async with peers("a", "b") as (a, b):
        dialled, accepted = await connected(a, b)
        assert dialled.peer_id.to_bytes() == peer_of("b")
        assert accepted.peer_id.to_bytes() == peer_of("a")
        assert (dialled.is_initiator, accepted.is_initiator) == (True, False)
        assert tuple(dialled.get_remote_address()) == b.address
        assert tuple(accepted.get_remote_address()) == a.address
        assert str(accepted.get_transport_addresses()[0]) == f"/ip4/127.0.0.1/udp/{a.address[1]}/quic-v1"


async def test_a_peer_is_elsewhere_once_it_has_answered_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not where its packets seem to come from: who makes that up would be another source for each limit."""
    async with peers("a", "b") as (a, b), trio.open_nursery() as nursery:
        dialled, accepted = await connected(a, b)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as elsewhere:
            elsewhere.setblocking(False)
            elsewhere.bind(("127.0.0.2", 0))
            monkeypatch.setattr(a.endpoint, "send", lambda data, there: bool(elsewhere.sendto(data, there)))
            await (await dialled.open_stream()).write(b"x")
            assert await (await accepted.accept_stream()).read() == b"x"
            assert accepted.is_at(elsewhere.getsockname())
            assert tuple(accepted.get_remote_address()) == a.address

            async def receive() -> None:
                while True:
                    await trio.lowlevel.wait_readable(elsewhere)
                    a.endpoint._take(elsewhere.recv(2048), b.address)
                    dialled.flush()

            nursery.start_soon(receive)
            await until(lambda: tuple(accepted.get_remote_address()) == elsewhere.getsockname())
            monkeypatch.undo()
            nursery.cancel_scope.cancel()


async def test_another_peer_than_the_one_that_was_dialled_is_refused_and_named() -> None:
    """Nothing is left of it on either side."""
    async with peers("a", "b") as (a, b):
        with pytest.raises(OtherPeerAnsweredError) as failure:
            await a.dial(b, expected="c")
        assert peer_that_answered(failure.value) == peer_of("b")
        await until(lambda: not a.endpoint.connections + b.endpoint.connections)
        assert b.accepted == []


async def test_a_dial_that_nobody_answers_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time that a handshake may take; and a dial that is given up leaves nothing."""
    monkeypatch.setattr("spacedrive_node.actors.swarm.quic.connection.HANDSHAKE_TIMEOUT_S", 0.3)
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as silent:
        await silent.bind(("127.0.0.1", 0))
        async with peers("a") as (a,):
            with pytest.raises(QuicError):
                await a.endpoint.dial(silent.getsockname(), peer_of("b"))
            with trio.move_on_after(0):
                await a.endpoint.dial(silent.getsockname(), peer_of("b"))
            assert a.endpoint.connections == []
            assert not a.endpoint._routes
            assert not a.endpoint._at


async def test_a_stream_carries_both_ways_and_each_half_closes_by_itself() -> None:
    """More than every window, there and back; then the end of one half, and of the other."""
    size = 3 * ALL
    async with peers("a", "b") as (a, b):
        dialled, accepted = await connected(a, b)
        stream = await dialled.open_stream()

        async def echo() -> None:
            there = await accepted.accept_stream()
            with suppress(MuxedStreamEOF):
                while True:
                    await there.write(await there.read(10_000))
            await there.write(b"end")
            await there.close()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo)
            nursery.start_soon(stream.write, bytes(size))
            received = 0
            with trio.fail_after(DEADLINE):
                while received < size:
                    received += len(await stream.read(1 << 20))
                await stream.close_write()
                with pytest.raises(MuxedStreamClosed):
                    await stream.write(b"x")
                assert await stream.read() == b"end"
                with pytest.raises(MuxedStreamEOF):
                    await stream.read()
        await stream.close()
        assert len(dialled.streams) == len(accepted.streams) == 0
        assert dialled.unread == accepted.unread == 0
        await until(lambda: not dialled.core._streams)


async def test_a_stream_that_nobody_reads_holds_a_quarter_of_a_mebibyte() -> None:
    """The library keeps 64 MiB. What is read frees as much; the other streams go on."""
    async with peers("a", "b") as (a, b), trio.open_nursery() as nursery:
        dialled, accepted = await connected(a, b)
        stream = await dialled.open_stream()
        nursery.start_soon(stream.write, bytes(4 * ALL))
        unread = await accepted.accept_stream()
        await until(lambda: accepted.unread == WINDOW)
        other = await dialled.open_stream()
        await other.write(b"x" * 1000)
        await other.close_write()
        beside = await accepted.accept_stream()
        assert len(await beside.read()) == 1000
        assert accepted.unread == WINDOW == len(unread._arrived)
        received = len(await unread.read())
        while received < 4 * ALL:
            received += len(await unread.read())
        assert accepted.unread == 0


async def test_all_streams_of_a_connection_together_hold_no_more_than_its_window() -> None:
    """However many there are; and those that are given up free their part."""
    async with peers("a", "b") as (a, b), trio.open_nursery() as nursery:
        dialled, accepted = await connected(a, b)
        for _ in range(8):
            nursery.start_soon(fill, dialled, WINDOW)
        there = [await accepted.accept_stream() for _ in range(5)]
        await until(lambda: accepted.unread == ALL)
        for stream in there:
            await stream.reset()
        assert accepted.unread < ALL // 2
        await until(lambda: accepted.unread == 3 * WINDOW)
        nursery.cancel_scope.cancel()


async def test_of_all_connections_the_one_that_holds_most_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is one with that of TCP."""
    monkeypatch.setattr(unread_bytes, "MAX_TOTAL_UNREAD_BYTES", 2 * WINDOW)
    async with peers("a", "b") as (a, b), trio.open_nursery() as nursery:
        small = await connected(a, b)
        large = await connected(a, b)
        nursery.start_soon(fill, small[0], WINDOW // 2)
        await until(lambda: small[1].unread == WINDOW // 2)
        for _ in range(4):
            nursery.start_soon(fill, large[0], WINDOW)
        with trio.fail_after(DEADLINE):
            await large[0].ended.wait()
        assert large[1].is_closed
        assert not small[1].is_closed
        nursery.cancel_scope.cancel()


async def test_a_reset_reaches_reader_and_writer_and_a_stop_the_writer_alone() -> None:
    """As with Yamux a reader learns that nothing comes any more, and a writer that nobody reads."""
    async with peers("a", "b") as (a, b):
        dialled, accepted = await connected(a, b)
        stream = await dialled.open_stream()
        await stream.write(b"x")
        there = await accepted.accept_stream()
        await there.reset()
        with trio.fail_after(DEADLINE), pytest.raises(MuxedStreamReset):
            await stream.read()
        with pytest.raises((MuxedStreamReset, MuxedStreamClosed)):
            await stream.write(b"x")
        await stream.close()
        second = await dialled.open_stream()
        await second.write(b"x")
        there = await accepted.accept_stream()
        accepted.core.stop_reading(there.stream_id)
        accepted.flush()
        await refused(second)
        await there.write(b"still")
        assert await second.read() == b"still"


async def test_what_came_before_a_reset_can_be_read_and_counts_until_then() -> None:
    """js-libp2p resets a stream right after its answer. What was sent and never arrives counts no more."""
    async with peers("a", "b") as (a, b):
        dialled, accepted = await connected(a, b)
        stream = await dialled.open_stream()
        await stream.write(b"x" * 1000)
        there = await accepted.accept_stream()
        await until(lambda: accepted.unread == 1000)
        await stream.reset()
        await until(lambda: there._was_reset)
        assert accepted.unread == 1000
        assert await there.read() == b"x" * 1000
        with pytest.raises(MuxedStreamReset):
            await there.read()
        assert accepted.unread == 0
        second = await dialled.open_stream()
        await second.write(b"x" * 1000)
        there = await accepted.accept_stream()
        await second.reset()
        await until(lambda: there._was_reset)
        await there.reset()
        assert accepted.unread == 0


async def test_a_peer_has_a_bounded_number_of_streams_open() -> None:
    """The next one waits until one of them is done."""
    async with peers("a", "b") as (a, b):
        dialled, accepted = await connected(a, b)
        streams = [await dialled.open_stream() for _ in range(bounded_quic.MAX_STREAMS + 1)]
        for stream in streams:
            await stream.write(b"x")
        there = [await accepted.accept_stream() for _ in range(bounded_quic.MAX_STREAMS)]
        with trio.move_on_after(0.1):
            await accepted.accept_stream()
            pytest.fail("one too many was accepted")
        for one in there[: bounded_quic.MAX_STREAMS // 2 + 1]:
            await one.reset()
        for stream in streams[: bounded_quic.MAX_STREAMS // 2 + 1]:
            await stream.reset()
        with trio.fail_after(DEADLINE):
            assert await (await accepted.accept_stream()).read() == b"x"


async def test_a_stream_that_is_given_up_before_it_may_be_opened_costs_nothing() -> None:
    """The peer would take it for one too many, and close the connection."""
    async with peers("a", "b") as (a, b):
        dialled, accepted = await connected(a, b)
        streams = [await dialled.open_stream() for _ in range(bounded_quic.MAX_STREAMS + 20)]
        for stream in streams:
            await stream.write(b"x")
        for stream in reversed(streams):
            await stream.reset()
        with trio.fail_after(DEADLINE):
            for _ in range(bounded_quic.MAX_STREAMS):  # the others never get so far
                await (await accepted.accept_stream()).reset()
        await until(lambda: not dialled.core._streams and not accepted.core._streams)
        assert not dialled.is_closed
        assert dialled.core._given_up == []


async def test_streams_that_the_peer_never_lets_be_opened_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each request to such a peer left one behind, for as long as the connection stood; it fails instead."""
    monkeypatch.setattr(bounded_quic, "MAX_STREAMS", 0)
    async with peers("a", "b") as (a, b):
        dialled, _ = await connected(a, b)
        for _ in range(bounded_quic.MAX_WAITING_STREAMS):
            stream = await dialled.open_stream()
            await stream.write(b"x")
            await stream.reset()
        with pytest.raises(MuxedConnUnavailable):
            await dialled.open_stream()
        assert len(dialled.core._streams) == bounded_quic.MAX_WAITING_STREAMS


async def test_streams_that_the_peer_never_closes_are_given_up() -> None:
    """This side has closed them all; the oldest go, and the peer is told."""
    async with peers("a", "b") as (a, b):
        dialled, accepted = await connected(a, b)
        there = []
        for _ in range(muxed_streams.MAX_HALF_CLOSED_STREAMS + 10):
            stream = await dialled.open_stream()
            await stream.write(b"x")
            await stream.close()
            there.append(await accepted.accept_stream())
        assert len(dialled.streams) == muxed_streams.MAX_HALF_CLOSED_STREAMS
        await refused(there[0])
        await there[-1].write(b"x")


async def test_what_has_arrived_can_be_read_after_the_connection_has_ended() -> None:
    """An answer is not lost because its sender closes right after it. Nothing else goes on."""
    async with peers("a", "b") as (a, b):
        dialled, accepted = await connected(a, b)
        stream = await dialled.open_stream()
        await stream.write(b"x")
        there = await accepted.accept_stream()
        await there.write(b"answer")
        await accepted.close()
        with trio.fail_after(DEADLINE):
            await dialled.ended.wait()
            assert await stream.read() == b"answer"
        with pytest.raises(MuxedStreamReset):
            await stream.read()
        with pytest.raises(MuxedStreamReset):
            await stream.write(b"x")
        for connection in (dialled, accepted):
            with pytest.raises(MuxedConnUnavailable):
                await connection.open_stream()
            with pytest.raises(MuxedConnUnavailable):
                await connection.accept_stream()


@pytest.mark.slow
async def test_a_thousand_connections_come_and_go_and_leave_nothing() -> None:
    """Tables, tasks and descriptors are as before; the objects are gone."""
    async with peers("a", "b") as (a, b):
        await (await a.dial(b)).close()
        b.accepted.clear()
        before = len(os.listdir("/proc/self/fd"))
        for number in range(1000):
            dialled, accepted = await connected(a, b)
            stream = await dialled.open_stream()
            await stream.write(b"x")
            await (accepted if number % 2 else dialled).close()
            with trio.fail_after(DEADLINE):
                await dialled.ended.wait()
                await accepted.ended.wait()
            b.accepted.clear()
        for peer in (a, b):
            assert peer.endpoint.connections == []
            assert not peer.endpoint._routes
            assert not peer.endpoint._at
            assert len(peer.identity.handshakes) == 0
        del dialled, accepted, stream
        await until(lambda: trio.lowlevel.current_statistics().tasks_living < 20)
        gc.collect()
        kinds = [type(one).__name__ for one in gc.get_objects()]
        assert kinds.count("BoundedQuic") < 5
        assert len(os.listdir("/proc/self/fd")) <= before


async def test_a_connection_that_has_ended_is_freed_without_a_search_for_cycles() -> None:
    """With its keys and buffers, at both ends; a hundred of them would else wait for the collector."""
    async with peers("a", "b") as (a, b):
        gc.collect()
        gc.disable()
        try:
            ended = []
            for number in range(3):
                dialled, accepted = await connected(a, b)
                stream = await dialled.open_stream()
                await stream.write(b"x")
                await (await accepted.accept_stream()).read()
                await dialled.close()
                await until(lambda there=accepted: there.is_closed)
                assert len(b.accepted) == number + 1
                ended += [weakref.ref(one.core) for one in (dialled, accepted)]
            del dialled, accepted, stream
            b.accepted.clear()
            await until(lambda: [one for one in ended if one()] == [])
        finally:
            gc.enable()
