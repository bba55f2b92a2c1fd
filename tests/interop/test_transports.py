"""Other implementations over each transport: connect, identify, ping, 1 MB there and back, close."""

import os
from collections.abc import Callable
from typing import Any

import pytest
import trio
from libp2p.host.ping import ID as PING
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.library import streams
from spacedrive_node.config.extras import has_webrtc
from spacedrive_node.tests.harness import library_hosts
from spacedrive_node.tests.harness.interop_peer import (
    CHUNK_BYTES,
    COMMANDS,
    CommandFailedError,
    InteropPeer,
    echo,
    open_peer,
)
from spacedrive_node.tests.harness.library_hosts import running

Record = Callable[[str, object], None]
ECHO = "/spacedrive-interop/echo/1.0.0"
MEGABYTE = 1 << 20
DEADLINE = 60
LISTEN = {
    "tcp": "/ip4/127.0.0.1/tcp/0",
    "quic-v1": "/ip4/127.0.0.1/udp/0/quic-v1",
    "ws": "/ip4/127.0.0.1/tcp/0/ws",
    "webrtc-direct": "/ip4/127.0.0.1/udp/0/webrtc-direct",
}
"""The transports that this node has."""
WITHOUT_WEBRTC = {
    "js-2": "its package brings no binary of its own",
    "rust-0.53": "its WebRTC is an alpha of another crate; the newest one's is tried",
}
"""Implementations that are not tried with it, and why."""
DIALS_FROM_LISTENER = {("rust", "webrtc-direct")}
"""What does not dial if it does not listen."""
WITHOUT_FIN_ACK = {("rust", "webrtc-direct")}
"""What fails on its own streams with "FIN_ACK" (libp2p specs, webrtc/README.md), which it does not know."""


def marks(implementation: str, transport: str) -> list[pytest.MarkDecorator]:
    """Return why an implementation is not tried with a transport, or nothing."""
    if transport != "webrtc-direct":
        return []
    if implementation in WITHOUT_WEBRTC:
        return [pytest.mark.skip(reason=f"{implementation} is not tried: {WITHOUT_WEBRTC[implementation]}")]
    return [pytest.mark.skipif(not has_webrtc(), reason="the extra webrtc is not installed: make webrtc")]


each_pair = pytest.mark.parametrize(
    ("implementation", "transport"),
    [
        pytest.param(implementation, transport, marks=marks(implementation, transport))
        for transport in LISTEN
        for implementation in COMMANDS
    ],
)


def our_host() -> Any:
    """A host with every transport that is installed."""
    return library_hosts.our_host(1, quic=True, websocket=True, webrtc=has_webrtc())


async def use(host: Any, connection: Any) -> None:
    """Use a connection from this side: identify, which runs by itself, ping, 1 MB there and back."""
    peer_id: ID = connection.muxed_conn.peer_id
    await until(lambda: peer_id in host._identified_peers)
    assert ECHO in host.get_peerstore().get_protocols(peer_id)
    ping = os.urandom(32)
    async with streams.open_stream(connection, str(PING), ping) as stream:
        assert await streams.read_exactly(stream, len(ping)) == ping
    sent = os.urandom(MEGABYTE)
    async with streams.open_stream(connection, ECHO) as stream, trio.open_nursery() as nursery:

        async def send() -> None:
            for at in range(0, len(sent), CHUNK_BYTES):
                await streams.write(stream, sent[at : at + CHUNK_BYTES])
            await stream.close_write()

        nursery.start_soon(send)
        assert await streams.read_exactly(stream, len(sent)) == sent


async def use_from(peer: InteropPeer, own_id: str, *, reads_after_end: bool = True) -> None:
    """Use the connection from the other side. Some cannot read on a stream whose own half they have ended."""
    assert ECHO in (await peer.command("identify", peer=own_id))["protocols"]
    await peer.command("ping", peer=own_id)
    if not reads_after_end:
        with pytest.raises(CommandFailedError, match="unknown enumeration value 3"):
            await peer.command("echo", peer=own_id, bytes=MEGABYTE)
        return
    assert (await peer.command("echo", peer=own_id, bytes=MEGABYTE))["bytes"] == MEGABYTE


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds of a library that has no event for it."""
    while not holds():  # noqa: ASYNC110
        await trio.sleep(0.01)


@each_pair
async def test_we_dial(implementation: str, transport: str, record_property: Record) -> None:
    """Their listener, our dialer; both sides open streams; we close."""
    is_whole = (implementation, transport) not in WITHOUT_FIN_ACK
    record_property("whole", is_whole)
    host = our_host()
    host.set_stream_handler(ECHO, echo)
    listen = Multiaddr(LISTEN[transport])
    async with open_peer(implementation, LISTEN[transport]) as peer, running(host, listen=listen):
        with trio.fail_after(DEADLINE):
            address, _, peer_id = peer.address(f"/{transport}/").rpartition("/p2p/")
            connection = await host.get_network().dial_addr(Multiaddr(address), ID.from_base58(peer_id))
            await use(host, connection)
            await use_from(peer, str(host.get_id()), reads_after_end=is_whole)
            await connection.close()
            await until(lambda: not host.get_network().get_connections(connection.muxed_conn.peer_id))


@each_pair
async def test_they_dial(implementation: str, transport: str, record_property: Record) -> None:
    """Our listener, their dialer; both sides open streams; they close."""
    is_whole = (implementation, transport) not in WITHOUT_FIN_ACK
    record_property("whole", is_whole)
    host = our_host()
    host.set_stream_handler(ECHO, echo)
    listen = Multiaddr(LISTEN[transport])
    own = [LISTEN[transport]] if (implementation, transport) in DIALS_FROM_LISTENER else []
    async with open_peer(implementation, *own) as peer, running(host, listen=listen) as (address,):
        with trio.fail_after(DEADLINE):
            await peer.command("connect", address=f"{address}/p2p/{host.get_id()}")
            await until(lambda: bool(host.get_network().get_connections(ID.from_base58(peer.id))))
            connection = host.get_network().get_connections(ID.from_base58(peer.id))[0]
            await use(host, connection)
            await use_from(peer, str(host.get_id()), reads_after_end=is_whole)
            await peer.command("close", peer=str(host.get_id()))
            await until(lambda: not host.get_network().get_connections(ID.from_base58(peer.id)))
