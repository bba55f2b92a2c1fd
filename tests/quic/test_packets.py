"""What a dial and an exchange cost over QUIC: round trips, and datagrams of each side."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import pytest
from aioquic.quic.events import HandshakeCompleted, StreamDataReceived
from libp2p.custom_types import TProtocol
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.library import host_lifecycle, multiplexer, streams
from spacedrive_node.actors.swarm.library.connection_limits import limit_inbound_connections
from spacedrive_node.actors.swarm.quic.bounded_quic import BoundedQuic
from spacedrive_node.tests.harness.library_hosts import PROTOCOL, Open, our_host
from spacedrive_node.tests.harness.quic_endpoints import identity, peers, until

LOCAL = Multiaddr("/ip4/127.0.0.1/udp/0/quic-v1")
THERE = ("192.0.2.1", 1)


def own(name: str) -> tuple[Any, Any]:
    """What a connection needs of the endpoint with this name."""
    made = identity(name)
    return made.own, made.tokens


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
            flights = [side for side, _ in groupby(sent)]
        # The third flight, the end of the handshake, and what answers it may leave before the dialler looks.
        assert flights[:3] == ["dials", "listens", "dials"]
        assert len(flights) <= 4


def test_what_follows_the_handshake_does_not_wait() -> None:
    """In virtual time, 50 ms each way: a request and its answer cross in one flight each, without pauses."""
    dials, answered_at = BoundedQuic(*own("a"), is_client=True), None
    first = dials.original_destination_connection_id
    listens = BoundedQuic(*own("b"), is_client=False, original_destination_connection_id=first)
    under_way: list[tuple[float, BoundedQuic, bytes]] = []
    dials.connect(THERE, now=0.0)
    for now in (number / 1000 for number in range(400)):
        arriving = [one for one in under_way if one[0] <= now]
        under_way = [one for one in under_way if one[0] > now]
        for _at, side, datagram in arriving:
            side.receive_datagram(datagram, THERE, now=now)
        for side, other in ((dials, listens), (listens, dials)):
            if side is listens and not side.has_heard:
                continue
            if (side.get_timer() or now + 1) <= now:
                side.handle_timer(now=now)
            while (event := side.next_event()) is not None:
                if isinstance(event, HandshakeCompleted) and side is dials:
                    dials.send_stream_data(0, bytes(1000), end_stream=True)
                elif isinstance(event, StreamDataReceived) and event.end_stream and side is listens:
                    listens.send_stream_data(0, bytes(6000), end_stream=True)
                elif isinstance(event, StreamDataReceived) and event.end_stream:
                    answered_at = now
            under_way += [(now + 0.05, other, sent) for sent, _to in side.datagrams_to_send(now=now)]
    assert answered_at == pytest.approx(0.2, abs=0.003)


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
