"""Strangers at the socket of a listener: garbage, floods, handshakes that nobody finishes."""

import os
import random
import socket

import pytest
import trio
import trio.lowlevel

pytest.importorskip("google_crc32c", reason="the extra webrtc is not installed: make webrtc")

from spacedrive_node.actors.swarm.library import handshake_limits
from spacedrive_node.actors.swarm.webrtc import stun
from spacedrive_node.actors.swarm.webrtc.certificate import dialer_certificate
from spacedrive_node.actors.swarm.webrtc.dtls import DtlsSession, new_context
from spacedrive_node.actors.swarm.webrtc.wire import WebRtcError
from spacedrive_node.tests.harness.library_hosts import Open
from spacedrive_node.tests.harness.webrtc_endpoints import DEADLINE, Peer, connected, peers, until

FUZZ = int(os.environ.get("FUZZ", "3000"))


class Lan(Open):
    """A gate that admits nobody from here."""

    def allows(self, host: str) -> bool:
        return False


def first_packet() -> bytes:
    """The first datagram of a client."""
    session = DtlsSession(new_context(dialer_certificate()), is_client=True)
    session.advance()
    (datagram,) = session.datagrams()
    return datagram


async def ask(to: Peer, datagram: bytes, sender: trio.socket.SocketType, wait_s: float) -> bytes | None:
    """Send a datagram; return the answer, or None if none comes in time."""
    await sender.sendto(datagram, to.address)
    with trio.move_on_after(wait_s):
        return bytes((await sender.recvfrom(2000))[0])
    return None


async def show_address(to: Peer, sender: trio.socket.SocketType) -> None:
    """Begin a handshake that needs a cookie, and leave it open."""
    session = DtlsSession(new_context(dialer_certificate()), is_client=True)
    session.advance()
    before = len(to.identity.handshakes)
    (hello,) = session.datagrams()
    cookie = await ask(to, hello, sender, DEADLINE)
    assert cookie is not None
    session.put(cookie)
    session.advance()
    await sender.sendto(session.datagrams()[0], to.address)
    await until(lambda: len(to.identity.handshakes) == before + 1)


async def bound_socket() -> trio.socket.SocketType:
    made = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    await made.bind(("127.0.0.1", 0))
    return made


async def test_garbage_reaches_nothing() -> None:
    """Random bytes, pieces of true packets, and true packets with bytes changed; then a peer connects."""
    draw = random.Random(7)
    async with peers("a", "b") as (a, b):
        dialled, accepted = await connected(a, b)
        seen = [first_packet(), stun.request(stun.new_name(), bytes(12))]
        send = dialled._wire.send
        dialled._wire.send = lambda data, to: (seen.append(data), send(data, to))  # type: ignore[method-assign,func-returns-value]
        stream = await dialled.open_stream()
        await stream.write(b"x" * 5000)
        with await bound_socket() as sender:
            for number in range(FUZZ):
                packet = bytearray(draw.choice(seen))
                match number % 4:
                    case 0:
                        packet = bytearray(draw.randbytes(draw.randrange(1500)))
                    case 1:
                        del packet[draw.randrange(len(packet)) :]
                    case 2:
                        packet[draw.randrange(len(packet))] ^= 1 << draw.randrange(8)
                    case _:
                        packet[draw.randrange(40) % len(packet)] = draw.randrange(256)
                if number % 2:
                    await sender.sendto(bytes(packet), b.address)
                else:  # as if from the peer's very address
                    b.endpoint._take(bytes(packet), accepted.address)
                if number % 50 == 0:
                    await trio.lowlevel.checkpoint()
        await until(lambda: len(b.identity.handshakes) == 0)
        assert not accepted.is_closed
        with trio.fail_after(DEADLINE):
            assert len(await (await accepted.accept_stream()).read()) > 0
        assert (await a.dial(b)).is_established


async def test_questions_are_answered_and_nothing_is_remembered() -> None:
    """Any number of strangers: no connection, no handshake, no route."""
    async with peers("b") as (b,):
        with await bound_socket() as sender:
            for _ in range(50):
                name = stun.new_name()
                answer = await ask(b, stun.request(name, b"transaction!"), sender, DEADLINE)
                assert answer is not None
                assert stun.is_response_to(answer, b"transaction!", name)
        assert b.endpoint.connections == []
        assert len(b.identity.handshakes) == 0


async def test_many_open_handshakes_make_newcomers_show_their_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By a cookie of DTLS, which an honest dialler sends back; and a full block makes room for it."""
    monkeypatch.setattr("spacedrive_node.actors.swarm.webrtc.connection.HANDSHAKE_TIMEOUT_S", 10 * DEADLINE)
    async with peers("a", "b") as (a, b):
        strangers = [await bound_socket() for _ in range(handshake_limits.RETRY_ABOVE_PER_BLOCK)]
        for one in strangers:
            await one.sendto(first_packet(), b.address)
        await until(lambda: len(b.identity.handshakes) == handshake_limits.RETRY_ABOVE_PER_BLOCK)
        with await bound_socket() as sender:
            hello = first_packet()
            answer = await ask(b, hello, sender, DEADLINE)
            assert answer is not None
            assert answer[13] == 3  # HelloVerifyRequest
            assert len(answer) < len(hello)
        assert len(b.identity.handshakes) == handshake_limits.RETRY_ABOVE_PER_BLOCK
        assert (await a.dial(b)).is_established
        assert (await b.accept()).peer_id.to_bytes() == a.id
        share = handshake_limits.MAX_HANDSHAKES_PER_BLOCK
        while len(b.identity.handshakes) < share:
            one = await bound_socket()
            strangers.append(one)
            await show_address(b, one)
        oldest = b.endpoint.connections[0]
        assert (await a.dial(b)).is_established
        assert (await b.accept()).peer_id.to_bytes() == a.id
        assert len(b.identity.handshakes) < share
        assert oldest.is_closed
        for one in strangers:
            one.close()


async def test_unfinished_handshakes_end_after_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first packet, and after all of DTLS; and with them what they held."""
    monkeypatch.setattr("spacedrive_node.actors.swarm.webrtc.connection.HANDSHAKE_TIMEOUT_S", 2.0)
    async with peers("b") as (b,):
        session = DtlsSession(new_context(dialer_certificate()), is_client=True)
        session.advance()
        with await bound_socket() as sender, trio.fail_after(DEADLINE):
            while not session.is_established:
                for datagram in session.datagrams():
                    await sender.sendto(datagram, b.address)
                session.put((await sender.recvfrom(2000))[0])
                session.advance()
            for datagram in session.datagrams():
                await sender.sendto(datagram, b.address)
        with await bound_socket() as sender:
            await sender.sendto(first_packet(), b.address)
        await until(lambda: len(b.failures) == 2)
        assert b.failures == ["webrtc", "webrtc"]
        assert b.endpoint.connections == []
        assert len(b.identity.handshakes) == 0


async def test_who_may_not_connect_gets_no_answer() -> None:
    """Neither to STUN nor to a first packet: as if nobody listened. No cryptography is done for it."""
    async with peers("a", "b") as (a, b):
        b.identity.gate = Lan()
        with await bound_socket() as sender:
            assert await ask(b, stun.request(stun.new_name(), bytes(12)), sender, 0.2) is None
            assert await ask(b, first_packet(), sender, 0.2) is None
        with pytest.raises(trio.TooSlowError), trio.fail_after(0.5):
            await a.dial(b)
        assert b.endpoint.connections == []


async def test_a_listener_that_answers_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that takes everything and says nothing."""
    monkeypatch.setattr("spacedrive_node.actors.swarm.webrtc.connection.HANDSHAKE_TIMEOUT_S", 0.4)
    async with peers("a", "b") as (a, b):
        with await bound_socket() as silent:
            b.address = silent.getsockname()
            with pytest.raises(WebRtcError, match="too long"):
                await a.dial(b)
        assert not a.dialling[0].is_open
