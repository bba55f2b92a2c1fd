"""What a dial and an exchange cost over QUIC: round trips, and datagrams of each side."""

import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from aioquic.quic.congestion.base import QuicRttMonitor
from aioquic.quic.events import HandshakeCompleted, QuicEvent, StreamDataReceived
from libp2p.custom_types import TProtocol
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.library import host_lifecycle, multiplexer, streams
from spacedrive_node.actors.swarm.library.connection_limits import limit_inbound_connections
from spacedrive_node.actors.swarm.quic.bounded_quic import BoundedQuic
from spacedrive_node.actors.swarm.quic.congestion import RttMonitor
from spacedrive_node.actors.swarm.quic.receive_credit import STREAM_WINDOW_BYTES
from spacedrive_node.tests.harness.library_hosts import PROTOCOL, Open, our_host
from spacedrive_node.tests.harness.quic_endpoints import peers, until
from spacedrive_node.tests.harness.quic_path import QuicPath

LOCAL = Multiaddr("/ip4/127.0.0.1/udp/0/quic-v1")


@contextmanager
def noted(**senders: Any) -> Iterator[list[str]]:
    """Note who sends, in order, of endpoints by name."""
    sent: list[str] = []
    for name, endpoint in senders.items():
        send = endpoint.send

        def note(data: bytes, to: Any, name: str = name, send: Any = send) -> bool:
            sent.append(name)
            return bool(send(data, to))

        endpoint.send = note
    yield sent


async def test_a_dial_is_one_round_trip() -> None:
    """There, back, and the connection is up: what the dialler sends next may be a request."""
    async with peers("a", "b") as (a, b):
        with noted(dials=a.endpoint, listens=b.endpoint) as sent:
            await a.dial(b)
            flights = [side for side, _ in itertools.groupby(sent)]
        # The third flight, the end of the handshake, and what answers it may leave before the dialler looks.
        assert flights[:3] == ["dials", "listens", "dials"]
        assert len(flights) <= 4


def test_what_follows_the_handshake_does_not_wait() -> None:
    """In virtual time, 50 ms each way: a request and its answer cross in one flight each, without pauses."""
    path = QuicPath(0.05)

    def handle(side: BoundedQuic, event: QuicEvent) -> bool:
        if isinstance(event, HandshakeCompleted) and side is path.dials:
            side.send_stream_data(0, bytes(1000), end_stream=True)
        elif isinstance(event, StreamDataReceived) and event.end_stream:
            if side is path.dials:
                return True
            side.send_stream_data(0, bytes(6000), end_stream=True)
        return False

    assert path.run(handle) == pytest.approx(0.2, abs=0.003)


@pytest.mark.parametrize("from_dialler", [True, False])
def test_bulk_is_not_slowed_by_a_peer_that_is_busy_for_a_moment(from_dialler: bool) -> None:
    """In virtual time, 4 MB after small exchanges, of which the later take three milliseconds instead of one.

    A window of credit takes two round trips at the most, and there is the start. The library takes the longer
    ones for a queue, and adds but a packet to its first window with each from then on.
    """
    path = QuicPath(0.0005)
    giver, taker = (path.dials, path.listens) if from_dialler else (path.listens, path.dials)
    taken, small, big = 0, 120, 4_000_000
    begun = 0.0

    def handle(side: BoundedQuic, event: QuicEvent) -> bool:
        nonlocal taken, begun, small
        if isinstance(event, HandshakeCompleted) and side is path.dials:
            side.send_stream_data(0, b"x")
        elif isinstance(event, StreamDataReceived):
            side.credit.read(0, len(event.data))
            if small:
                small -= 1
                path.delay_s = 0.0005 if small > 80 else 0.0015
                side.send_stream_data(0, b"x")
            elif not begun:
                begun = path.now
                giver.send_stream_data(0, bytes(big))
            elif side is taker:
                taken += len(event.data)
        return taken >= big

    took = path.run(handle) - begun
    assert took < 3 * 0.003 * big / STREAM_WINDOW_BYTES
    assert path.sent[taker] < path.sent[giver] / 4


def test_a_message_of_several_flights_is_acknowledged_as_it_comes() -> None:
    """64 KB are ten packets, twenty, and the rest: three round trips, and no pause between."""
    path = QuicPath(0.0005)

    def handle(side: BoundedQuic, event: QuicEvent) -> bool:
        if isinstance(event, HandshakeCompleted) and side is path.dials:
            side.send_stream_data(0, bytes(64_000), end_stream=True)
        return isinstance(event, StreamDataReceived) and event.end_stream

    assert path.run(handle) < 0.001 + 3 * 0.0015


def test_round_trips_grow_when_a_queue_does() -> None:
    """The window stops doubling when a round trip takes a quarter more, if that is four milliseconds."""

    def notices(before: float, after: float, monitor: QuicRttMonitor) -> bool:
        times = [before] * 20 + [after] * 20
        found = [monitor.is_rtt_increasing(now=number / 100, rtt=rtt) for number, rtt in enumerate(times)]
        return any(found)

    assert notices(0.001, 0.003, QuicRttMonitor())  # the defect
    assert not notices(0.001, 0.003, RttMonitor())
    assert notices(0.001, 0.021, RttMonitor())
    assert not notices(0.05, 0.06, RttMonitor())
    assert notices(0.05, 0.065, RttMonitor())


async def test_an_exchange_is_four_datagrams() -> None:
    """Request, the answer to its proposal, the answer, and the acknowledgement of both."""
    serving, asking = our_host(1, quic=True), our_host(2, quic=True)
    limit_inbound_connections(serving.get_network(), Open())

    async def echo(stream: Any) -> None:
        frame = await streams.read_frame(stream)
        async with multiplexer.one_packet(stream):
            await streams.write_frame(stream, frame)
            await stream.close()

    serving.set_stream_handler(TProtocol(PROTOCOL), echo)
    async with host_lifecycle.run_host(serving), host_lifecycle.run_host(asking):
        for host in (serving, asking):
            await host.get_network().listen(LOCAL)
        address = Multiaddr(str(serving.get_transport_addrs()[0]))
        connection = await asking.get_network().dial_addr(address, serving.get_id())

        async def ask() -> None:
            async with streams.open_stream(connection, PROTOCOL, streams.as_frame(b"x" * 300)) as stream:
                assert await streams.read_frame(stream) == b"x" * 300

        (theirs,) = serving.get_network().get_connections(asking.get_id())
        both = (connection.muxed_conn, theirs.muxed_conn)
        await until(lambda: {serving.get_id()} <= set(asking._identified_peers))
        await until(lambda: {asking.get_id()} <= set(serving._identified_peers))
        for _ in range(3):
            await ask()
        await until(lambda: all(not one.core._loss.bytes_in_flight for one in both))
        counts = []
        for _ in range(5):
            with noted(asks=both[0]._wire, answers=both[1]._wire) as sent:
                await ask()
                await until(lambda: all(not one.core._loss.bytes_in_flight for one in both))
            counts.append(Counter(sent))
        best = min(counts, key=lambda one: one.total())
        assert best.total() <= 4, counts
