"""How many round trips a connection and the first request on it cost: counted, not measured.

A figure here is a delay that every pairing of two distant devices pays. tests/harness/flight_relay.py counts.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from libp2p.protocol_muxer.multiselect_client import MultiselectClient
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.dial.plan import ROUND_TRIPS
from spacedrive_node.actors.swarm.library import streams
from spacedrive_node.actors.swarm.library.connections import transport_of
from spacedrive_node.actors.swarm.websocket.transport import WebSocketTransport
from spacedrive_node.actors.swarm.websocket.wire import WebSocketOptions
from spacedrive_node.tests.harness.flight_relay import FlightRelay
from spacedrive_node.tests.harness.library_hosts import PROTOCOL, our_host, running
from spacedrive_node.tests.harness.websocket_hosts import make_certificate

DEADLINE = 30


async def echo(stream: Any) -> None:
    await streams.write_frame(stream, await streams.read_frame(stream))
    await streams.close(stream)


@asynccontextmanager
async def distant_hosts(
    form: str = "tcp/{port}", options: WebSocketOptions | None = None
) -> AsyncIterator[tuple[Any, Any, Multiaddr, FlightRelay]]:
    """A dialling host, a serving one, its address behind a relay, and the relay.

    `form` is its address without the IP address, with `options` for WebSocket.
    """
    dialling, serving = [
        our_host(
            number,
            quic="quic" in form,
            websocket=None if options is None else WebSocketTransport(options),
        )
        for number in (1, 2)
    ]
    serving.set_stream_handler(PROTOCOL, echo)
    form = f"/ip4/127.0.0.1/{form}"
    async with (
        running(dialling, serving, listen=Multiaddr(form.format(port=0))) as (_own, address),
        trio.open_nursery() as nursery,
    ):
        relay = FlightRelay(nursery)
        is_udp = "udp" in form
        carry = relay.carry_udp if is_udp else relay.carry_tcp
        port = await carry(int(address.value_for_protocol("udp" if is_udp else "tcp")))
        with trio.fail_after(DEADLINE):
            yield dialling, serving, Multiaddr(form.format(port=port)), relay
        nursery.cancel_scope.cancel()


async def test_a_connection_costs_two_round_trips() -> None:
    """One for TCP, one for Noise; a request on it costs one more."""
    async with distant_hosts() as (dialling, serving, address, relay):
        connection = await dialling.get_network().dial_addr(address, serving.get_id())
        assert relay.round_trips == ROUND_TRIPS["tcp"] == 2
        async with streams.open_stream(connection, PROTOCOL, streams.as_frame(b"hello")) as stream:
            assert await streams.read_frame(stream) == b"hello"
            assert relay.round_trips == 3


async def test_a_connection_over_quic_costs_one() -> None:
    """The handshake is the connection."""
    async with distant_hosts("udp/{port}/quic-v1") as (dialling, serving, address, relay):
        connection = await dialling.get_network().dial_addr(address, serving.get_id())
        assert relay.round_trips == ROUND_TRIPS["quic"] == 1
        async with streams.open_stream(connection, PROTOCOL, streams.as_frame(b"hello")) as stream:
            assert await streams.read_frame(stream) == b"hello"
            assert relay.round_trips == 2


@pytest.mark.parametrize(("form", "round_trips"), [("tcp/{port}/ws", 3), ("tcp/{port}/tls/ws", 4)])
async def test_a_connection_over_websocket(tmp_path: Path, form: str, round_trips: int) -> None:
    """One more than over TCP, for the HTTP request; and one more for TLS."""
    options = make_certificate(tmp_path, ["127.0.0.1"])
    async with distant_hosts(form, options) as (dialling, serving, address, relay):
        connection = await dialling.get_network().dial_addr(address, serving.get_id())
        assert relay.round_trips == ROUND_TRIPS[transport_of(connection.muxed_conn)] == round_trips
        async with streams.open_stream(connection, PROTOCOL, streams.as_frame(b"hello")) as stream:
            assert await streams.read_frame(stream) == b"hello"
            assert relay.round_trips == round_trips + 1


async def test_a_connection_as_the_library_negotiates_it() -> None:
    """Six: when this fails, the library no longer needs the correction."""
    async with distant_hosts() as (dialling, serving, address, relay):
        upgrader = dialling.get_network().upgrader
        for multistream in (upgrader.security_multistream, upgrader.muxer_multistream):
            multistream._selector.multiselect_client = MultiselectClient()
        await dialling.get_network().dial_addr(address, serving.get_id())
        assert relay.round_trips == pytest.approx(6, abs=0.5)
