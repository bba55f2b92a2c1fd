"""Peers that break the protocol, on a real libp2p host of the test's own: nothing of it reaches a session."""

from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.library import streams
from spacedrive_node.actors.swarm.pairing.exchange_slots import MAX_EXCHANGES_PER_PEER
from spacedrive_node.messages.base import WIRE_LIMIT, encode
from spacedrive_node.messages.peer_protocol import PROTOCOL_ID, Refused, decode_wire
from spacedrive_node.messages.to_metrics import Observed
from spacedrive_node.messages.to_session import PeerAnswer, PeerRequest, PeerUnreachable
from spacedrive_node.messages.to_swarm import Ask, Serve
from spacedrive_node.tests.harness.stranger_peer import REQUEST, A, dial, framed, send, stranger_host
from spacedrive_node.tests.harness.transports import first_transport

REFUSED = encode(Refused(b"i" * 16, b"t" * 16, "busy"))


@pytest.mark.parametrize(
    "data",
    [
        (WIRE_LIMIT + 1).to_bytes(4, "big"),
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x00",
        framed(b"garbage"),
        framed(REQUEST + b"\x00"),
        framed(REFUSED),
    ],
    ids=["oversized", "huge", "empty", "garbage", "trailing", "response"],
)
async def test_a_broken_request_resets_the_stream(swarm: Any, data: bytes) -> None:
    """Whatever is no canonical request frame gets no answer; the connection and its other streams go on."""
    async with swarm("a") as a, stranger_host() as host:
        connection = await dial(host, a)
        with pytest.raises(streams.StreamError):
            await send(connection, data)
        with trio.fail_after(60):
            async with streams.open_stream(connection, PROTOCOL_ID) as stream:
                await streams.write_frame(stream, REQUEST)
                answer = decode_wire(await streams.read_frame(stream))
        assert isinstance(answer, Refused)
        assert answer.reason == "unavailable"
        assert a.count(PeerRequest) == 0


async def test_thirty_broken_frames_close_the_connection(swarm: Any) -> None:
    """Frames that cannot be decoded count as well; a new connection is closed at once."""
    async with swarm("a") as a, stranger_host() as host:
        connection = await dial(host, a)
        for _ in range(30):
            with pytest.raises(streams.StreamError):
                await send(connection, framed(b"garbage"))
        with trio.fail_after(60):
            await connection.event_closed.wait()
            again = await dial(host, a)
            await again.event_closed.wait()


@pytest.mark.parametrize("answer", [framed(REQUEST), b"\xff\xff\xff\xff", framed(b"garbage")])
async def test_a_broken_answer_is_never_handed_on(swarm: Any, answer: bytes) -> None:
    """A response that is no response frame is `protocol` to the session that asked."""

    async def serve(stream: Any) -> None:
        await streams.read_frame(stream)
        await streams.write(stream, answer)
        await streams.close(stream)

    async with swarm("a") as a, stranger_host() as host:
        host.set_stream_handler(PROTOCOL_ID, serve)
        await host.get_network().listen(Multiaddr("/ip4/127.0.0.1/tcp/0"))
        addresses = tuple(str(address) for address in host.get_transport_addrs())
        await a.deliver(A, Ask(1, host.get_id().to_bytes(), addresses, REQUEST))
        assert await a.expect(PeerUnreachable | PeerAnswer, A) == PeerUnreachable(1, "protocol")


async def test_a_peer_without_the_protocol_is_unreachable(swarm: Any) -> None:
    """Some other libp2p node: told at once, and the node goes on."""
    async with swarm("a") as a, stranger_host() as host:
        await host.get_network().listen(Multiaddr("/ip4/127.0.0.1/tcp/0"))
        addresses = tuple(str(address) for address in host.get_transport_addrs())
        await a.deliver(A, Ask(1, host.get_id().to_bytes(), addresses, REQUEST, timeout=60.0))
        assert (await a.expect(PeerUnreachable, A)).reason != "time-out"


async def test_silent_streams_of_one_peer_are_bounded(swarm: Any) -> None:
    """One peer holds sixteen exchanges; another peer is served meanwhile."""
    async with (
        swarm("a") as a,
        stranger_host(98) as silent,
        stranger_host() as honest,
        AsyncExitStack() as held,
    ):
        connection = await dial(silent, a)
        for _ in range(MAX_EXCHANGES_PER_PEER):
            await held.enter_async_context(streams.open_stream(connection, PROTOCOL_ID))
        with pytest.raises(streams.StreamError):
            await send(connection, framed(REQUEST))
        assert await send(await dial(honest, a), framed(REQUEST))


async def test_what_happens_is_measured(swarm: Any) -> None:
    """Connections, handshakes and the swarm's own refusals appear in the figures, without any id."""
    async with swarm("a") as a, stranger_host() as host:
        await a.deliver(A, Serve(b"r" * 32, "initiator"))
        connection = await dial(host, a)
        async with streams.open_stream(connection, PROTOCOL_ID) as stream:
            await streams.write_frame(stream, REQUEST)
            await streams.read_frame(stream)
        observed = await a.expect(
            Observed,
            "metrics",
            lambda m: any(sample.name == "pairing_refusals_total" for sample in m.samples),
        )
        values = {(sample.name, sample.labels): sample.value for sample in observed.samples}
        assert values["pairing_refusals_total", ("unavailable",)] == 1
        assert values["connections", ("inbound", first_transport(), "direct")] == 1
        assert values["dht_routing_table_peers", ()] == 0
        handshakes = {one.labels: sum(one.counts) for one in observed.distributions}
        assert handshakes == {(first_transport(), "ok"): 1}
