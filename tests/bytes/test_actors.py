"""Mutated and random bytes at the sockets of real actors: refused or reset, nothing kept, others served."""

import gc
import itertools
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import varint
from libp2p.kad_dht.common import PROTOCOL_ID as KAD
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.library import connections, streams
from spacedrive_node.actors.swarm.pairing import ban_list
from spacedrive_node.client.node_client import open_client
from spacedrive_node.messages.base import CONTROL_LIMIT, FrameReader, encode, frame
from spacedrive_node.messages.control_protocol import (
    Error,
    JoinPairing,
    ListDevices,
    RenameDevice,
    Shutdown,
    StartPairing,
    Status,
    Subscribe,
    WatchDevices,
    decode_reply,
)
from spacedrive_node.messages.peer_protocol import PROTOCOL_ID, Refused, decode_wire
from spacedrive_node.messages.to_session import PeerRequest
from spacedrive_node.messages.to_swarm import Serve
from spacedrive_node.tests.harness.gateway_actor import GatewayHost
from spacedrive_node.tests.harness.hostile_bytes import case_count, hostile_samples
from spacedrive_node.tests.harness.sample_frames import FRAMES, kad_samples
from spacedrive_node.tests.harness.stranger_peer import REQUEST, A, dial, framed, stranger_host
from spacedrive_node.tests.harness.swarm_actors import open_swarm
from spacedrive_node.tests.harness.transports import over_each_transport, using

WORKERS = 8
BATCH = 200
"""Cases on one connection: what streams leave unread counts for a minute (swarm/library/multiplexer.py)."""
DEADLINE = 100 if os.environ.get("FUZZ") is None else 3600


@pytest.fixture(autouse=True)
def no_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer is otherwise shut out after thirty such frames."""
    monkeypatch.setattr(ban_list, "PEER_STRIKES", 1 << 30)
    monkeypatch.setattr(ban_list, "ADDRESS_BLOCK_STRIKES", 1 << 30)


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


async def send_all(connection: Any, protocol: str, bytes_: Iterator[bytes]) -> None:
    """Send each on a stream of its own, several at once, and read what comes until the stream's end."""

    async def work() -> None:
        for data in bytes_:
            try:
                async with streams.open_stream(connection, protocol) as stream:
                    await streams.write(stream, data)
                    await stream.close()
                    while await stream.read(1 << 16):
                        pass
            except Exception:
                continue

    async with trio.open_nursery() as nursery:
        for _ in range(WORKERS):
            nursery.start_soon(work)


async def is_served(connection: Any) -> None:
    """A canonical request is answered."""
    with trio.fail_after(60):
        async with streams.open_stream(connection, PROTOCOL_ID) as stream:
            await streams.write_frame(stream, REQUEST)
            answer = decode_wire(await streams.read_frame(stream))
    assert isinstance(answer, Refused)


@over_each_transport
@pytest.mark.parametrize("protocol", ["pairing", "dht", "identify"])
async def test_streams_of_a_real_swarm(protocol: str) -> None:
    """At the pairing port, the DHT and identify: the connection outlives it, no session hears of it."""
    samples = {
        "pairing": (PROTOCOL_ID, [framed(one) for one in FRAMES]),
        "dht": (str(KAD), [varint.encode(len(one)) + one for one in kad_samples()]),
        "identify": ("/ipfs/id/push/1.0.0", [varint.encode(len(one)) + one for one in kad_samples()[:1]]),
    }
    async with open_swarm("a") as a, stranger_host() as host:
        await a.deliver(A, Serve(b"r" * 32, "initiator"))
        connection = await dial(host, a)
        await is_served(connection)
        with trio.fail_after(DEADLINE):
            name, frames = samples[protocol]
            junk = hostile_samples(21, case_count(400), frames)
            while batch := list(itertools.islice(junk, BATCH)):
                await send_all(connection, name, iter(batch))
                await is_served(connection)
                await connections.close_connection(connection)
                connection = await dial(host, a)
        await is_served(connection)
        assert a.count(PeerRequest) == 0
        assert a.crash is None
        assert [log for log in a.logs if log.level == "error"] == []


async def test_sockets_of_a_real_swarm() -> None:
    """Bytes instead of a handshake: each socket is closed in the end, and its descriptor is given back."""
    greeting = b"\x13/multistream/1.0.0\n"
    samples = [
        b"GET / HTTP/1.1\r\n\r\n",
        greeting + b"\x07/noise\n" + b"\x00\x20" + bytes(32),
        greeting,
        b"\xff" * 9 + b"\x01",
    ]
    with using("tcp"):  # at the socket of QUIC: test_quic.py
        await at_sockets(samples)


async def at_sockets(samples: list[bytes]) -> None:
    async with open_swarm("a") as a, stranger_host() as host:
        address = Multiaddr(a.addresses[0])
        port = int(address.value_for_protocol("tcp"))
        await is_served(await dial(host, a))
        before = descriptors()
        with trio.fail_after(DEADLINE):
            for data in hostile_samples(22, case_count(150), samples):
                async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                    try:
                        await stream.send_all(data)
                        await stream.send_eof()
                        while await stream.receive_some():
                            pass
                    except trio.BrokenResourceError:
                        continue
            await is_served(await dial(host, a))
            while descriptors() > before + 4:
                await trio.lowlevel.checkpoint()
        assert a.crash is None


def control_samples() -> list[bytes]:
    key = bytes(16)
    requests = [
        Status(1),
        Subscribe(2, None),
        Subscribe(3, "0" * 16),
        StartPairing(4, key),
        JoinPairing(5, key, "abandon " * 11 + "about"),
        ListDevices(6),
        RenameDevice(7, key, key, "x"),
        Shutdown(8, key),
        WatchDevices(9),
    ]
    return [frame(encode(one), CONTROL_LIMIT) for one in requests]


async def test_the_control_socket_of_a_real_gateway(nursery: trio.Nursery) -> None:
    """What comes back is whole replies, a refusal last where one is due; others are served after it."""
    with tempfile.TemporaryDirectory(prefix="sd-", dir="/tmp") as folder:
        node = GatewayHost(Path(folder) / "c.sock")
        with node.listener:
            await node.run_gateway(nursery)
            await node.deliver_readiness()
            async with open_client(node.control) as client:
                await client.status()
                before = descriptors()
                refused = 0
                with trio.fail_after(DEADLINE):
                    for data in hostile_samples(23, case_count(800), control_samples()):
                        refused += await talk(node.control, data)
                    assert (await client.status()).version == "1.2.3"
                    while descriptors() > before + 4:
                        await trio.lowlevel.checkpoint()
                assert refused > case_count(800) // 10
            await node.stop()


async def talk(control: Path, data: bytes) -> bool:
    """Say it, and read to the end; return whether it was refused as no request."""
    reader, refused = FrameReader(CONTROL_LIMIT), False
    async with await trio.open_unix_socket(control) as stream:
        try:
            await stream.send_all(data)
            await stream.send_eof()
            while received := await stream.receive_some():
                reader.feed(received)
        except trio.BrokenResourceError:
            return refused
    while (payload := reader.next_frame()) is not None:
        reply = decode_reply(payload)
        refused |= isinstance(reply, Error) and reply.code == "bad_request"
    assert reader.pending == 0
    return refused


def test_the_same_seed_gives_the_same_bytes() -> None:
    """So that a failure can be looked at again."""
    one, other = (list(hostile_samples(5, 50, FRAMES)) for _ in range(2))
    assert one == other
    assert random.Random(5).random() == random.Random(5).random()
