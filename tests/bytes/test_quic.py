"""Hostile datagrams, frames and certificates at the UDP port of a real swarm: nothing is kept, others are
served, and whoever is refused harms its own connection alone.
"""

import os
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
import trio.lowlevel
from aioquic.buffer import Buffer
from cryptography.hazmat.primitives import serialization

from spacedrive_node.actors.swarm.library import streams
from spacedrive_node.actors.swarm.pairing import ban_list
from spacedrive_node.actors.swarm.quic.certificates import OwnCertificate
from spacedrive_node.actors.swarm.quic.connection import QuicConnection
from spacedrive_node.actors.swarm.quic.endpoint import Endpoint
from spacedrive_node.actors.swarm.quic.wire import QuicError
from spacedrive_node.messages.peer_protocol import PROTOCOL_ID, Refused, decode_wire
from spacedrive_node.tests.harness.hostile_bytes import case_count, hostile_samples
from spacedrive_node.tests.harness.quic_endpoints import peer_of, peers, until
from spacedrive_node.tests.harness.quic_stranger import STRANGER, connect_rudely, first_packet, udp_socket
from spacedrive_node.tests.harness.stranger_peer import REQUEST, dial, stranger_host
from spacedrive_node.tests.harness.swarm_actors import open_swarm
from spacedrive_node.tests.harness.transports import using

DEADLINE = 100 if os.environ.get("FUZZ") is None else 3600
BATCH = 50
"""Datagrams after which the swarm gets its turn, so that the system drops none."""
MAX_SENT_BYTES = 1000
"""Of a certificate: aioquic sends no large one. A message of TLS without end is in quic/test_hostile.py."""
VERSIONS = (0, 2, 0x6B3343CF, 0xFF00001D, 0x0A0A0A0A)


@pytest.fixture(autouse=True)
def over_quic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A peer is otherwise shut out after thirty requests without a code."""
    monkeypatch.setattr(ban_list, "PEER_STRIKES", 1 << 30)
    monkeypatch.setattr(ban_list, "ADDRESS_BLOCK_STRIKES", 1 << 30)
    with using("quic"):
        yield


@asynccontextmanager
async def swarm_and_peer() -> AsyncIterator[tuple[Endpoint, bytes, Any]]:
    """The endpoint of a swarm, its peer id, and a connection of an honest peer with it that outlives all.

    No connection of this process may end by a defect of aioquic.
    """
    defects: list[str] = []
    opened: list[Endpoint] = []
    end, open_ = QuicConnection.end, Endpoint.open

    def observed(connection: QuicConnection, why: Exception, **more: Any) -> None:
        if str(why).startswith("defect"):
            defects.append(str(why))
        end(connection, why, **more)

    def noted(endpoint: Endpoint, *where: Any) -> None:
        open_(endpoint, *where)
        opened.append(endpoint)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(QuicConnection, "end", observed)
        patch.setattr(Endpoint, "open", noted)
        async with open_swarm("a") as a, stranger_host() as host:
            connection = await dial(host, a)
            await is_served(connection)
            yield opened[0], a.peer, connection
            await is_served(connection)
            await is_served(await dial(host, a))
            assert a.crash is None
            assert [log for log in a.logs if log.level == "error"] == []
    assert defects == []


async def is_served(connection: Any) -> None:
    """A canonical request is answered."""
    with trio.fail_after(60):
        async with streams.open_stream(connection, PROTOCOL_ID) as stream:
            await streams.write_frame(stream, REQUEST)
            assert isinstance(decode_wire(await streams.read_frame(stream)), Refused)


async def send_all(address: tuple[str, int], datagrams: Iterator[bytes]) -> tuple[int, int]:
    """Send them from a socket of its own; return how many bytes were sent, and how many were answered."""
    sent = answered = 0
    with udp_socket() as sender:
        await sender.bind(("127.0.0.1", 0))
        for number, data in enumerate(datagrams):
            await sender.sendto(data[:1500], address)
            sent += len(data[:1500])
            if number % BATCH == 0:
                await trio.lowlevel.checkpoint()
            with suppress(BlockingIOError):
                while True:
                    answered += len(sender._sock.recv(2048))
    return sent, answered


def headers() -> list[bytes]:
    """True first packets, and the same as other kinds of packets and of other versions."""
    packets = [first_packet() for _ in range(4)]
    for kind in (0xD0, 0xE0, 0xF0, 0x80, 0x40):  # 0-RTT, Handshake, Retry, without the fixed bit, short
        packets.append(bytes((kind | packets[0][0] & 0x0F,)) + packets[0][1:])
    for version in VERSIONS:
        packets.append(packets[0][:1] + version.to_bytes(4, "big") + packets[0][5:])
    return [*packets, packets[0] + packets[1][:200], packets[0][:1199]]


async def test_datagrams_at_the_port() -> None:
    """Mutated first packets, every kind and version, pieces, random bytes: no handshake stays, little is
    answered, no connection is begun.
    """
    async with swarm_and_peer() as (endpoint, _peer, _connection):
        before = len(endpoint._routes)
        with trio.fail_after(DEADLINE):
            sent, answered = await send_all(
                endpoint.address, hostile_samples(31, case_count(1500), headers())
            )
            await until(lambda: len(endpoint.connections) == 1)
        assert 0 < answered < sent
        assert len(endpoint._identity.handshakes) == 0
        assert len(endpoint._routes) <= before + 8


async def test_datagrams_at_an_open_connection() -> None:
    """Its true packets, mutated, from the peer's address and from another one: it goes on where it was."""
    async with swarm_and_peer() as (endpoint, _peer, connection):
        wire = connection.muxed_conn._wire
        true: list[bytes] = []
        send = wire.send

        def record(datagram: bytes, to: Any) -> bool:
            true.append(datagram)
            return bool(send(datagram, to))

        wire.send = record
        await is_served(connection)
        wire.send = send
        with trio.fail_after(DEADLINE):
            for number, data in enumerate(hostile_samples(32, case_count(1500), true)):
                if data not in true:
                    send(data[:1500], endpoint.address)
                if number % BATCH == 0:
                    await is_served(connection)
            strange = (data for data in hostile_samples(33, case_count(500), true) if data not in true)
            await send_all(endpoint.address, strange)
        (there,) = endpoint.connections
        assert there.get_remote_address() == wire.address
        assert len(there.core._network_paths) == 1


def frames() -> list[bytes]:
    """One of each kind of frame of RFC 9000, with numbers small and huge."""

    def frame(*numbers: int, data: bytes = b"") -> bytes:
        buf = Buffer(capacity=600)
        for number in numbers:
            buf.push_uint_var(number)
        buf.push_bytes(data)
        return bytes(buf.data)

    huge = (1 << 62) - 1
    return [
        b"\x01",
        frame(0x02, 3, 0, 0, 0),
        frame(0x02, huge, 0, 2, 1, 1, 1, 1, 1),
        frame(0x03, 3, 0, 0, 0, 1, 1, 1),
        frame(0x04, 0, 7, 100),
        frame(0x05, 0, 7),
        frame(0x06, 0, 40, data=bytes(40)),
        frame(0x06, huge - 40, 40, data=bytes(40)),
        frame(0x07, 20, data=bytes(20)),
        *(frame(0x08 | bits, 4, data=b"data" * 8) for bits in (0, 1)),
        frame(0x0F, 0, 100, 10, data=bytes(10)),
        frame(0x10, huge),
        frame(0x11, 0, huge),
        frame(0x12, 1 << 60),
        frame(0x13, 5),
        frame(0x14, 100),
        frame(0x15, 0, 100),
        frame(0x16, 100),
        frame(0x17, 100),
        frame(0x18, 9, 0, data=b"\x08" + bytes(8 + 16)),
        frame(0x18, 2, 2, data=b"\x14" + bytes(20 + 16)),
        frame(0x19, 0),
        frame(0x1A, data=bytes(8)),
        frame(0x1B, data=bytes(8)),
        frame(0x1C, 1, 2, 3, data=b"why"),
        frame(0x1D, 1, 3, data=b"why"),
        b"\x1e",
        frame(0x31, 3, data=b"abc"),
    ]


async def test_frames_of_a_peer() -> None:
    """Encrypted, by one who has proved its id: at worst it loses its connection, at once."""
    async with peers("rude") as (own,), swarm_and_peer() as (endpoint, peer, _connection):
        samples = frames()
        draw = random.Random(34)
        mine, core = await connect_rudely(own, endpoint.address, peer)
        lost = 0
        with trio.fail_after(DEADLINE):
            for data in [*samples, *hostile_samples(34, case_count(150), samples)]:
                core.frames = data[: draw.randint(1, 1000)]
                if not core.frames:
                    continue
                core.send_ping(lost)
                mine.flush()
                for _ in range(5):
                    await trio.lowlevel.checkpoint()
                if mine.is_closed or core._close_event is not None:
                    lost += 1
                    mine, core = await connect_rudely(own, endpoint.address, peer)
            mine.end(QuicError("enough"))
            await until(lambda: len(endpoint.connections) == 1)
        assert lost > 20


class Der:
    """In the place of a certificate: bytes that go out as they are."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def public_bytes(self, _encoding: Any) -> bytes:
        return self.data


def certificates() -> Iterator[bytes]:
    der = STRANGER.own.certificate.public_bytes(serialization.Encoding.DER)
    yield b""
    yield der[:-1]
    yield der + bytes(500)
    yield from (data[:MAX_SENT_BYTES] for data in hostile_samples(35, case_count(60), [der]))


@pytest.mark.parametrize("role", ["client", "server"])
async def test_certificates(role: str) -> None:
    """Mutated: who dials with one is not let in, and who answers with one is not believed."""
    async with (
        peers("stranger", "honest") as (own, honest),
        swarm_and_peer() as (endpoint, peer, _connection),
    ):
        good = own.identity.own
        with trio.fail_after(DEADLINE):
            for data in certificates():
                if data == good.certificate.public_bytes(serialization.Encoding.DER):
                    continue
                own.identity.own = OwnCertificate(Der(data), good.key)  # type: ignore[arg-type]
                if role == "client":
                    with suppress(QuicError):  # it is over when the swarm's answer comes, or a moment later
                        mine = await own.endpoint.dial(endpoint.address, peer)
                        await mine.ended.wait()
                else:
                    with pytest.raises(QuicError):
                        await honest.endpoint.dial(own.address, peer_of("stranger"))
            await until(lambda: len(endpoint.connections) == 1)
            own.identity.own = good
            assert (await own.endpoint.dial(endpoint.address, peer)).is_established
