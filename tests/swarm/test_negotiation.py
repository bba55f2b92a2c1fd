"""A dial goes on before the other side has agreed: what happens when it does not agree, or not as expected.

How many round trips that saves is pinned in tests/counts/test_round_trips.py.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from libp2p.network.exceptions import SwarmException
from libp2p.protocol_muxer.multiselect_client import MultiselectClient
from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID, InsecureTransport
from libp2p.stream_muxer.mplex.mplex import MPLEX_PROTOCOL_ID, Mplex
from libp2p.utils.varint import encode_delim
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.library import host_lifecycle, negotiation, security, streams
from spacedrive_node.actors.swarm.library.connections import is_alive
from spacedrive_node.tests.harness.library_hosts import PROTOCOL, keys, our_host, plain_host, running

DEADLINE = 60
NEVER_S = 10 * DEADLINE
"""For what a test must not need."""
HEADER = encode_delim(b"/multistream/1.0.0")
NOISE = encode_delim(b"/noise")
NOT_AVAILABLE = encode_delim(b"na")

Serve = Callable[[trio.SocketStream], Awaitable[None]]


async def echo(stream: Any) -> None:
    await streams.write_frame(stream, await streams.read_frame(stream))
    await streams.close(stream)


async def asks(connection: Any) -> bytes:
    """Do one exchange on a connection."""
    async with streams.open_stream(connection, PROTOCOL, streams.as_frame(b"hello")) as stream:
        return await streams.read_frame(stream)


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[Multiaddr]:
    """Serve plain TCP connections on loopback."""
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        with trio.fail_after(DEADLINE):
            yield Multiaddr(f"/ip4/127.0.0.1/tcp/{listeners[0].socket.getsockname()[1]}")
        nursery.cancel_scope.cancel()


async def says(answer: bytes, stream: trio.SocketStream) -> None:
    """Answer whatever comes with `answer`, and wait for the other side to go away."""
    try:
        await stream.send_all(answer)
        while await stream.receive_some(1024):
            pass
    except trio.BrokenResourceError:
        return


async def hangs_up(stream: trio.SocketStream) -> None:
    """Close after the first bytes."""
    await stream.receive_some(1)


@pytest.mark.parametrize(
    ("serve", "why"),
    [
        (partial(says, HEADER + NOT_AVAILABLE), "does not speak /noise"),
        (partial(says, HEADER + encode_delim(b"/tls/1.0.0")), "does not speak /noise"),
        (partial(says, HEADER + HEADER), "does not speak /noise"),
        (partial(says, encode_delim(b"/multistream/2.0.0") + NOISE), "does not speak multistream-select"),
        (partial(says, b"HTTP/1.1 400 Bad Request\r\n\r\n"), "no answer to /noise"),
        (partial(says, b"SSH-2.0-OpenSSH_9.2\r\n" + bytes(200)), "no answer to /noise"),
        (partial(says, b"\xff" * 64), "no answer to /noise"),
        (partial(says, b"\xff\xff\xff\x7f" + bytes(64)), "no answer to /noise"),
        (partial(says, b"\x00" * 64), "no answer to /noise"),
        (partial(says, HEADER + NOISE[:3]), "no answer to /noise"),
        (partial(says, b""), "no answer to /noise"),
        (hangs_up, "no answer to /noise"),
    ],
)
async def test_who_does_not_agree_to_noise_fails_the_dial(
    serve: Serve, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once or at the deadline, with the reason, and without a connection that stays."""
    monkeypatch.setattr(negotiation, "ANSWER_TIMEOUT_S", 0.2 if why == "no answer to /noise" else NEVER_S)
    client = our_host(1)
    async with host_lifecycle.run_host(client), serving(serve) as address:
        with pytest.raises(SwarmException) as failure:
            await client.get_network().dial_addr(address, our_host(2).get_id())
        causes, cause = [], failure.value
        while cause is not None:
            causes.append(str(cause))
            cause = cause.__cause__ or cause.__context__  # type: ignore[assignment]
        assert any(why in text for text in causes), causes
        assert not client.get_network().get_connections()


async def test_another_security_only_fails_the_dial() -> None:
    """A whole host of another kind, which answers `na` and closes upon the Noise bytes."""
    client = our_host(1)
    server = plain_host(2, sec_opt={PLAINTEXT_PROTOCOL_ID: InsecureTransport(keys(2))})
    async with running(server, client) as (address, _own):
        with trio.fail_after(DEADLINE), pytest.raises(SwarmException, match="negotiate the secure protocol"):
            await client.get_network().dial_addr(address, server.get_id())
        assert not client.get_network().get_connections()


@pytest.mark.parametrize("kind", ["another", "silent", "closing"])
async def test_who_does_not_agree_to_yamux_loses_the_connection(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peer has proved its id, so the dial is over; a request fails, and the connection does not stay."""
    monkeypatch.setattr(negotiation, "ANSWER_TIMEOUT_S", 3.0 if kind == "silent" else NEVER_S)
    client = our_host(1)
    server = plain_host(2, sec_opt=security.noise_only(keys(2)), muxer_opt={MPLEX_PROTOCOL_ID: Mplex})
    over = trio.Event()

    async def no_muxer(secured: Any, _peer: Any) -> Any:
        if kind == "closing":
            await secured.close()
        await over.wait()
        raise negotiation.NegotiationError("enough")

    if kind != "another":
        server.get_network().upgrader.muxer_multistream.new_conn = no_muxer
    async with running(server, client) as (address, _own):
        with trio.fail_after(DEADLINE):
            connection = await client.get_network().dial_addr(address, server.get_id())
            with pytest.raises(streams.StreamError):
                await asks(connection)
            await connection.event_closed.wait()
            while client.get_network().get_connections():
                await trio.lowlevel.checkpoint()
        over.set()
        assert not is_alive(connection)


@pytest.mark.parametrize("corrected", [False, True])
async def test_the_negotiation_in_single_bytes(corrected: bool) -> None:
    """The wire may cut what is sent anywhere. The same responder serves who waits for each answer."""
    client, server = our_host(1), our_host(2)
    server.set_stream_handler(PROTOCOL, echo)
    if not corrected:
        upgrader = client.get_network().upgrader
        for multistream in (upgrader.security_multistream, upgrader.muxer_multistream):
            multistream._selector.multiselect_client = MultiselectClient()
    async with running(server, client) as (address, _own):
        port = int(address.value_for_protocol("tcp"))

        async def in_single_bytes(near: trio.SocketStream) -> None:
            far = await trio.open_tcp_stream("127.0.0.1", port)

            async with far, trio.open_nursery() as nursery:
                nursery.start_soon(_carry_bytes, near, far)
                nursery.start_soon(_carry_bytes, far, near)

        async with serving(in_single_bytes) as cut:
            connection = await client.get_network().dial_addr(cut, server.get_id())
            assert await asks(connection) == b"hello"
            await connection.close()


async def _carry_bytes(one: trio.SocketStream, other: trio.SocketStream) -> None:
    """Carry the negotiation of Noise and what follows at once byte by byte, and all else as it comes."""
    left = 64
    try:
        while data := await one.receive_some(4096):
            while data and left:
                await other.send_all(data[:1])
                data, left = data[1:], left - 1
            await other.send_all(data)
        await other.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return


async def test_what_was_put_in_front_of_the_connection_goes_away() -> None:
    """Once both answers have come, reading and writing take the library's own way again."""
    client, server = our_host(1), our_host(2)
    server.set_stream_handler(PROTOCOL, echo)
    async with running(server, client) as (address, _own):
        with trio.fail_after(DEADLINE):
            connection = await client.get_network().dial_addr(address, server.get_id())
            assert await asks(connection) == b"hello"
        secured = connection.muxed_conn.secured_conn
        raw = secured.conn.read_writer.read_write_closer
        for one in (secured, raw):
            assert not {"read", "write"} & set(vars(one))


async def test_where_there_is_a_choice_the_library_negotiates() -> None:
    """With two protocols on offer the answer is not known before it comes."""
    client, server = our_host(1), our_host(2)
    client.get_network().upgrader.security_multistream.add_transport(
        PLAINTEXT_PROTOCOL_ID, InsecureTransport(keys(1))
    )
    async with running(server, client) as (address, _own):
        with trio.fail_after(DEADLINE):
            connection = await client.get_network().dial_addr(address, server.get_id())
        assert is_alive(connection)
