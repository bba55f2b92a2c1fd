"""A stranger at the UDP port of a node, who speaks as much of QUIC as a test lets it."""

from typing import Any

import trio
from aioquic.buffer import Buffer
from aioquic.quic.packet import QuicPacketType, pull_quic_header

from spacedrive_node.actors.swarm.quic.bounded_quic import BoundedQuic
from spacedrive_node.actors.swarm.quic.connection import QuicConnection
from spacedrive_node.tests.harness.quic_endpoints import DEADLINE, Peer, identity

STRANGER = identity("stranger")
MAX_DATAGRAM_BYTES = 2048


def new_client(address: tuple[str, int]) -> BoundedQuic:
    """Return a connection that is about to send its first packet to an address."""
    core = BoundedQuic(STRANGER.own, STRANGER.tokens, is_client=True)
    core.connect(address, now=0.0)
    return core


def first_packet() -> bytes:
    """Return the first datagram of a client."""
    (datagram, _), *_more = new_client(("127.0.0.1", 1)).datagrams_to_send(now=0.0)
    return datagram


def udp_socket() -> trio.socket.SocketType:
    return trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)


async def begin_handshake(address: tuple[str, int], source: str = "127.0.0.1") -> None:
    """Begin a handshake, show where it comes from if that is asked for, and say no more."""
    core = new_client(address)
    with udp_socket() as sender, trio.fail_after(DEADLINE):
        await sender.bind((source, 0))
        while True:
            for datagram, _ in core.datagrams_to_send(now=0.0):
                await sender.sendto(datagram, address)
            answer, _ = await sender.recvfrom(MAX_DATAGRAM_BYTES)
            if pull_quic_header(Buffer(data=answer), host_cid_length=8).packet_type != QuicPacketType.RETRY:
                return
            core.receive_datagram(answer, address, now=0.0)


class RudeQuic(BoundedQuic):
    """A peer that writes raw frames."""

    frames = b""
    """Goes into the next packet, once."""

    def _write_connection_limits(self, builder: Any, space: Any) -> None:
        super()._write_connection_limits(builder, space)
        if self.frames:
            frames, self.frames = self.frames, b""
            builder.start_frame(frames[0], capacity=len(frames) + 1).push_bytes(frames[1:])


async def connect_rudely(own: Peer, address: tuple[str, int], peer: bytes) -> tuple[QuicConnection, RudeQuic]:
    """Return a connection with a peer, and what writes its packets."""
    core = RudeQuic(own.identity.own, own.identity.tokens, is_client=True)
    connection = QuicConnection(own.endpoint, core, address, is_initiator=True, expected=peer)
    core.connect(address, now=trio.current_time())
    own.endpoint._add(connection)
    connection.flush()
    own.endpoint._nursery.start_soon(own.endpoint._run, connection)
    with trio.fail_after(DEADLINE):
        await connection.settled.wait()
    return connection, core
