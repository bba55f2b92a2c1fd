"""What one connection can make a host keep: the defect of the library, and its absence with the correction.

A test whose first half fails says that the library no longer needs that correction: remove it.
"""

import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import libp2p
import libp2p.protocol_muxer.multiselect_communicator as communicator
import libp2p.stream_muxer.muxer_multistream as multistream
import libp2p.utils
import pytest
import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.network.config import ConnectionConfig
from libp2p.peer.id import ID
from libp2p.stream_muxer.mplex.mplex import MPLEX_PROTOCOL_ID
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.library import (
    host_factory,
    host_lifecycle,
    library_logs,
    multiplexer,
    negotiation,
    unread_bytes,
)

LOCAL = Multiaddr("/ip4/127.0.0.1/tcp/0")
DATA, WINDOW = 0, 1
SYN, RST = 1, 8
DEADLINE = 60


def yamux(kind: int, flags: int, stream: int, length: int) -> bytes:
    return struct.pack(">BBHII", 0, kind, flags, stream, length)


def host_of(number: int, corrected: bool) -> Any:
    keys = create_new_key_pair(number.to_bytes(32, "big"))
    if corrected:
        return host_factory.new_host(keys, 64, list)
    library_logs.silence_library_logs()
    config = ConnectionConfig(max_connections=64, min_connections=0, low_watermark=0, high_watermark=0)
    return libp2p.new_host(key_pair=keys, connection_config=config)


@asynccontextmanager
async def attacked(corrected: bool) -> AsyncIterator[tuple[Any, Any]]:
    """A host, and a raw secured connection of a peer to it on which it may write any multiplexer's frame."""
    host, stranger = host_of(1, corrected), host_of(2, True)
    multistream.Yamux = multiplexer.BoundedYamux if corrected else multiplexer.Yamux
    async with host_lifecycle.run_host(host), host_lifecycle.run_host(stranger):
        await host.get_network().listen(LOCAL)
        address = host.get_transport_addrs()[0]
        with trio.fail_after(DEADLINE):
            ours = await stranger.get_network().dial_addr(Multiaddr(str(address)), host.get_id())
            while not (theirs := host.get_network().get_connections(ID(stranger.get_id().to_bytes()))):
                await trio.lowlevel.checkpoint()
        yield theirs[0], ours.muxed_conn.secured_conn


@dataclass
class Connected:
    """One connection as its two ends have it, and the secured connection under the peer's multiplexer."""

    ours: Any
    theirs: Any

    @property
    def wire(self) -> Any:
        return self.ours.muxed_conn.secured_conn


async def connected(stack: AsyncExitStack, host: Any, number: int) -> Connected:
    """Connect another peer to a corrected host."""
    stranger = host_of(number, True)
    await stack.enter_async_context(host_lifecycle.run_host(stranger))
    with trio.fail_after(DEADLINE):
        address = Multiaddr(str(host.get_transport_addrs()[0]))
        ours = await stranger.get_network().dial_addr(address, host.get_id())
        while not (theirs := host.get_network().get_connections(ID(stranger.get_id().to_bytes()))):
            await trio.lowlevel.checkpoint()
    return Connected(ours, theirs[0])


async def flood(theirs: Any, wire: Any, chunks: list[bytes]) -> bool:
    """Write all; return whether the host has closed the connection because of it."""
    with trio.fail_after(DEADLINE):
        try:
            for chunk in chunks:
                await wire.write(chunk)
            number = 77
            await wire.write(yamux(2, SYN, 0, number))  # a ping: answered when all before it has been taken
        except Exception:  # closed meanwhile
            pass
        while not theirs.is_closed and theirs.muxed_conn._ping_seen != 77:
            await trio.lowlevel.checkpoint()
    return bool(theirs.muxed_conn.is_closed or theirs.is_closed)


@pytest.fixture(autouse=True)
def ping_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Note the pings that a multiplexer answers: frames are taken in order."""
    monkeypatch.setattr(multistream, "Yamux", multistream.Yamux)  # put back afterwards
    monkeypatch.setattr(multiplexer.Yamux, "_ping_seen", 0, raising=False)
    for kind in (multiplexer.Yamux, multiplexer.BoundedYamux):

        async def noted(self: Any, data: bytes, write: Any = kind._write_frame) -> None:
            if data[1] == 2 and data[3] == 2:  # the answer to a ping
                self._ping_seen = int.from_bytes(data[8:12], "big")
            await write(self, data)

        monkeypatch.setattr(kind, "_write_frame", noted)


def held(theirs: Any) -> int:
    return sum(map(len, theirs.muxed_conn.stream_buffers.values()))


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("corrected", [False, True])
async def test_what_exceeds_the_window_is_not_kept(corrected: bool, reset: bool) -> None:
    """Eight megabytes to a stream that nobody reads: kept by default; corrected, the connection is closed.

    Of a stream that was reset what has come is read at once (streams.read_ahead), and the rest is dropped.
    """
    async with attacked(corrected) as (theirs, wire):
        piece = b"x" * (32 * 1024)
        opening = yamux(WINDOW, SYN, 1, 0) + yamux(DATA, 0, 1, 3) + b"\x7fxx"
        # The reset comes together with bytes that nobody has read: the library then remembers the stream.
        chunks = [opening + yamux(WINDOW, RST, 1, 0) if reset else opening]
        chunks += [yamux(DATA, 0, 1, len(piece)) + piece] * 256
        closed = await flood(theirs, wire, chunks)
        if corrected:
            assert closed or reset
            assert held(theirs) == 0
        elif not reset:
            assert not closed
            assert held(theirs) > 7 << 20


async def test_what_all_connections_hold_together_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each stays below its own bound: the connection that holds most goes, and room is made at once."""
    monkeypatch.setattr(unread_bytes, "MAX_TOTAL_UNREAD_BYTES", 8 << 20)
    piece = yamux(DATA, 0, 1, 32 * 1024) + bytes(32 * 1024)
    sizes = {"large": 100, "small": 20, "middle": 60, "late": 90}  # pieces: 270 of them are more than 8 MiB
    async with AsyncExitStack() as stack:
        host = host_of(1, True)
        await stack.enter_async_context(host_lifecycle.run_host(host))
        await host.get_network().listen(LOCAL)
        taken: dict[str, Any] = {}
        for number, (name, size) in enumerate(sizes.items(), 60):
            one = await connected(stack, host, number)
            taken[name] = one.theirs
            closed = await flood(one.theirs, one.wire, [yamux(WINDOW, SYN, 1, 0), *[piece] * size])
            assert not closed, name
            with trio.fail_after(DEADLINE):
                while name == "late" and not taken["large"].is_closed:
                    await trio.lowlevel.checkpoint()
            in_all = sum(map(held, taken.values()))
            assert in_all <= unread_bytes.MAX_TOTAL_UNREAD_BYTES
        assert {name: one.muxed_conn.is_closed for name, one in taken.items()} == {
            "large": True, "small": False, "middle": False, "late": False
        }  # fmt: skip


async def test_bytes_that_are_announced_count_as_bytes_that_are_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Frames that never end are memory too, once their bytes trickle in."""
    monkeypatch.setattr(unread_bytes, "MAX_TOTAL_UNREAD_BYTES", 8 << 20)
    async with AsyncExitStack() as stack:
        host = host_of(1, True)
        await stack.enter_async_context(host_lifecycle.run_host(host))
        await host.get_network().listen(LOCAL)
        taken = [await connected(stack, host, number) for number in range(60, 63)]
        for one in taken:
            await one.wire.write(yamux(WINDOW, SYN, 1, 0) + yamux(DATA, 0, 1, 3 << 20) + b"x")
        with trio.fail_after(DEADLINE):
            while not any(one.theirs.is_closed for one in taken):
                await trio.lowlevel.checkpoint()
        assert sum(one.theirs.is_closed for one in taken) == 1


@pytest.mark.parametrize("corrected", [False, True])
async def test_streams_of_one_connection_are_bounded(corrected: bool) -> None:
    """A thousand streams that say nothing: all are kept by default; corrected, the connection is closed."""
    async with attacked(corrected) as (theirs, wire):
        chunks = [yamux(WINDOW, SYN, number, 0) for number in range(101, 2101, 2)]
        closed = await flood(theirs, wire, chunks)
        assert closed is corrected
        if not corrected:
            assert len(theirs.muxed_conn.streams) >= 1000


async def test_closed_streams_that_are_remembered_are_bounded() -> None:
    """Streams that end with a byte unread stay for a minute in the library; not any number of them."""
    async with attacked(True) as (theirs, wire):
        one = [
            yamux(DATA, SYN, number, 1) + b"x" + yamux(WINDOW, RST, number, 0)
            for number in range(101, 101 + 4 * multiplexer.MAX_REMEMBERED_STREAMS, 2)
        ]
        await flood(theirs, wire, one)
        assert len(theirs.muxed_conn.streams) <= multiplexer.MAX_REMEMBERED_STREAMS + 1


async def test_only_a_multiplexer_with_flow_control_is_offered() -> None:
    """Mplex is offered by default."""
    offered = [
        set(host_of(1, corrected).get_network().upgrader.muxer_multistream.transports)
        for corrected in (False, True)
    ]
    assert MPLEX_PROTOCOL_ID in offered[0]
    assert offered[1] == set(multiplexer.muxers())


class Endless:
    """Announces a gigabyte and counts what is taken of it."""

    def __init__(self) -> None:
        self.head = bytearray(b"\x80\x80\x80\x80\x04")
        self.taken = 0

    async def read(self, size: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        if self.head:
            return bytes([self.head.pop(0)])
        self.taken += 1 << 16
        return b"x" * (1 << 16) if self.taken < 1 << 24 else b""


@pytest.mark.parametrize("corrected", [False, True])
async def test_a_message_of_the_negotiation_is_bounded(
    corrected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it is known who a peer is, it can make a host keep what it likes; corrected, 16 KiB."""
    if corrected:
        negotiation.use_bounded_messages()
    else:
        monkeypatch.setattr(communicator, "read_delim", libp2p.utils.read_delim)
    endless = Endless()
    with pytest.raises(Exception):  # noqa: B017, PT011 - what the library raises is not ours
        await communicator.MultiselectCommunicator(endless).read()
    assert (endless.taken == 0) is corrected
