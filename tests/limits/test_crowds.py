"""Crowds: a legitimate pairing completes meanwhile, and what the node holds stays bounded."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from spacedrive_node.actors.swarm.library import streams
from spacedrive_node.client.node_client import ControlError
from spacedrive_node.messages.base import encode
from spacedrive_node.messages.peer_protocol import (
    PROTOCOL_ID,
    Challenge,
    ChallengeResponse,
    PairingRequest,
    Refused,
    decode_wire,
)
from spacedrive_node.messages.types import Transport
from spacedrive_node.protocol.attempt import JoinerAttempt
from spacedrive_node.protocol.code import derive, parse_words
from spacedrive_node.protocol.multiaddrs import parse
from spacedrive_node.tests.harness import quic_stranger
from spacedrive_node.tests.harness.nodes import DEADLINE, Node, pair, two_nodes
from spacedrive_node.tests.harness.session_simulation import Simulation
from spacedrive_node.tests.harness.session_simulation import pair as pair_of_machines
from spacedrive_node.tests.harness.simulated_peer import Stranger
from spacedrive_node.tests.harness.stranger_peer import framed, stranger_host
from spacedrive_node.tests.harness.transports import dial_address, over_each_transport

GROWTH = 96 * 1024 * 1024
"""Private bytes that all actors of a node together may have more after an attack than before."""


async def footprint(node: Node) -> tuple[int, int, set[str]]:
    """Return the private bytes and the descriptors of all actors, and which there are."""
    rows = [row for row in await node.client.actors() if row.actor not in ("supervisor", "zygote")]
    files = 0
    for row in rows:
        with suppress(FileNotFoundError, PermissionError):
            files += len(os.listdir(f"/proc/{row.pid}/fd"))
    return sum(row.private_bytes for row in rows), files, {row.actor for row in rows}


@asynccontextmanager
async def attacked(folder: Path) -> AsyncIterator[tuple[Node, Node]]:
    """Two nodes that have paired and forgotten each other; checks the footprint of the first afterwards."""
    async with two_nodes(folder) as (a, b):
        await pair(a, b)
        for node in (a, b):  # which closes the connection too
            await node.client.forget((await node.client.devices())[0].device_id)
        before = await footprint(a)
        yield a, b
        with trio.fail_after(DEADLINE):
            while True:
                size, files, actors = await footprint(a)
                if actors == before[2] and files <= before[1] + 16:
                    break
        assert size < before[0] + GROWTH
        assert {row.restarts for row in await a.client.actors()} == {0}


@over_each_transport
async def test_three_hundred_idle_sockets(tmp_path: Path) -> None:
    """Opened and silent, most of them from another address; those of the joiner's own address as well. Over
    QUIC and WebRTC these are handshakes that go no further.
    """
    async with attacked(tmp_path) as (a, b), AsyncExitStack() as stack:
        place = parse(a.ready.addresses[0])
        for number in range(300):
            source = "127.0.0.1" if number % 3 == 0 else f"127.{number % 3}.0.1"
            if place.is_udp:
                await begin_handshake(place.transport, (place.host, place.port), source)
                continue
            stream = await trio.open_tcp_stream(place.host, place.port, local_address=source)
            await stack.enter_async_context(stream)
        assert (await footprint(a))[1] < 300 + 100
        result = await pair(a, b)
        assert result.initiator.fingerprint == result.joiner.fingerprint
        await stack.aclose()


async def begin_handshake(transport: Transport, address: tuple[str, int], source: str) -> None:
    """Begin a handshake over UDP and say no more."""
    if transport == "webrtc":
        from spacedrive_node.tests.harness import webrtc_endpoints  # whose extra may not be installed

        await webrtc_endpoints.begin_handshake(address, source)
    else:
        await quic_stranger.begin_handshake(address, source)


async def connect(host: Any, node: Node) -> Any:
    with trio.fail_after(DEADLINE):
        return await dial_address(host, node.ready.addresses[0], node.ready.peer)


async def exchange(connection: Any, frame: bytes) -> Any:
    async with streams.open_stream(connection, PROTOCOL_ID) as stream:
        await streams.write_frame(stream, frame)
        return decode_wire(await streams.read_frame(stream))


async def as_fast_as_it_can(host: Any, node: Node, sent: list[int], payloads: Sequence[bytes]) -> None:
    """Useless frames on as many streams as go; connect again whenever the connection is closed."""
    while True:
        try:
            connection = await connect(host, node)
            for payload in payloads * 1000:
                async with streams.open_stream(connection, PROTOCOL_ID) as stream:
                    await streams.write(stream, payload)
                    sent[0] += 1
        except Exception:  # closed, reset, refused: that is what it is about
            await trio.lowlevel.checkpoint()


@over_each_transport
async def test_peers_that_send_as_fast_as_they_can(tmp_path: Path) -> None:
    """They are shut out and try again without a pause; the pairing is none the slower for it."""
    request = encode(PairingRequest(2, b"i" * 16, b"t" * 16, b"e" * 32, b"c" * 32))
    payloads = [framed(request), framed(os.urandom(16_000)), framed(request) + bytes(100_000)]
    sent = [0]
    async with attacked(tmp_path) as (a, b), AsyncExitStack() as stack:
        hosts = [await stack.enter_async_context(stranger_host(800 + n)) for n in range(4)]
        async with trio.open_nursery() as nursery:
            for host in hosts:
                nursery.start_soon(as_fast_as_it_can, host, a, sent, payloads)
            with trio.fail_after(DEADLINE):
                while sent[0] < 60:
                    await trio.lowlevel.checkpoint()
            result = await pair(a, b)
            nursery.cancel_scope.cancel()
        assert result.initiator.fingerprint == result.joiner.fingerprint


def begin_attempt(node: Node, peer: bytes, words: Sequence[str]) -> JoinerAttempt:
    keys = derive(parse_words(" ".join(words)))
    return JoinerAttempt.begin(
        auth_key=keys.auth_key,
        route_key=keys.route_key,
        initiator=node.ready.peer,
        joiner=peer,
        attempt=os.urandom(16),
        ephemeral=os.urandom(32),
        nonce=os.urandom(32),
    )


async def test_tens_of_peers_with_the_words_that_only_begin(tmp_path: Path) -> None:
    """Eight attempts are open, the others are `busy`; when their time is over the true device is served."""
    async with attacked(tmp_path) as (a, b), AsyncExitStack() as stack:
        showing = await a.client.start_pairing()
        hosts = [await stack.enter_async_context(stranger_host(900 + n)) for n in range(24)]
        answers: list[Any] = []

        async def begin(host: Any) -> None:
            attempt = begin_attempt(a, host.get_id().to_bytes(), showing.code.words)
            answers.append(await exchange(await connect(host, a), attempt.request_frame))

        with trio.fail_after(DEADLINE):
            async with trio.open_nursery() as nursery:
                for host in hosts:
                    nursery.start_soon(begin, host)
        assert sum(isinstance(answer, Challenge) for answer in answers) == 8
        assert [one.reason for one in answers if isinstance(one, Refused)] == ["busy"] * 16
        with trio.fail_after(DEADLINE):
            joining = await b.client.join_pairing(" ".join(showing.code.words), timeout=DEADLINE)
            async with trio.open_nursery() as nursery:
                for side in (showing, joining):
                    nursery.start_soon(accept, side)


async def accept(side: Any) -> None:
    await side.confirmation()
    await side.accept()
    await side.paired()


async def test_sessions_at_once(tmp_path: Path) -> None:
    """One more than allowed is `busy`; those that run are not touched, and when one ends there is room."""
    async with two_nodes(tmp_path, max_sessions=2) as (a, _b):
        first, second = [await a.client.start_pairing() for _ in range(2)]
        with pytest.raises(ControlError) as refused:
            await a.client.start_pairing()
        assert refused.value.code == "busy"
        assert [state.outcome for state in await a.client.sessions()] == [None, None]
        await first.cancel()
        with trio.fail_after(DEADLINE):
            while (await a.client.status()).sessions_active > 1:
                pass
        await a.client.start_pairing()
        assert second.code


# -- a thousand, at the session itself -----------------------------------------------------------------


def test_a_thousand_peers_that_only_begin() -> None:
    """Each knows the words, begins and says no more: eight are open at any time, nothing grows, and the true
    device is through as soon as a place is free. Then all others are `closed`.
    """
    two = pair_of_machines()
    two.begin()
    node, simulation = two.initiator, two.simulation
    code = node.view.code
    crowd = [Stranger.__new__(Stranger) for _ in range(1000)]
    for number, one in enumerate(crowd):
        one.node, one.simulation, one.keys, one.number = node, simulation, derive(code), 10_000 + 10 * number
        one.peer = b"\x00\x24" + number.to_bytes(36, "big")
    kinds = [type(decode_wire(one.ask(one.attempt().request_frame))) for one in crowd]
    assert kinds.count(Challenge) == 8
    assert kinds.count(Refused) == 992
    assert len(node.machine.session.inbound_attempts) == 8
    assert len(node.checkpoint) < 64 * 1024
    two.run(60.0)
    assert two.outcomes == ("paired", "paired")
    assert simulation.now < 1000.0 + 60.0


def test_a_thousand_peers_that_prove_nothing() -> None:
    """Wrong proofs one after the other: each costs its sender its attempt; what is remembered is bounded."""
    simulation = Simulation()
    node = simulation.node("initiator")
    code = node.start()
    for number in range(1000):
        one = Stranger.__new__(Stranger)
        one.node, one.simulation, one.keys, one.number = node, simulation, derive(code), 10_000 + 10 * number
        one.peer = b"\x00\x24" + number.to_bytes(36, "big")
        attempt = one.attempt()
        assert isinstance(decode_wire(one.ask(attempt.request_frame)), Challenge)
        wrong = encode(ChallengeResponse(attempt.code_id, attempt.attempt, bytes(40)))
        assert one.reason(wrong) == "protocol"
        assert len(node.machine.session.inbound_attempts) <= 16
    assert len(node.checkpoint) < 64 * 1024
    assert node.view.stage == "waiting"
