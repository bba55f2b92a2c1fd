"""WebRTC endpoints on loopback, without a host above them; and hosts that speak it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio.lowlevel
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID

from spacedrive_node.actors.swarm.webrtc.certificate import dialer_certificate, listener_certificate
from spacedrive_node.actors.swarm.webrtc.connection import WebRtcConnection
from spacedrive_node.actors.swarm.webrtc.dtls import DtlsSession, new_context
from spacedrive_node.actors.swarm.webrtc.endpoint import Endpoint, Identity

DEADLINE = 20.0
_REPEAT_S = 0.2
_HANDSHAKE_KIND = 13
"""Where a record of DTLS says what message of the handshake it holds."""
_HELLO_VERIFY_REQUEST = 3


def seed_of(name: str) -> bytes:
    return name.encode().ljust(32, b".")


class Peer:
    """A listener. `failures` are its inbound handshakes that failed."""

    def __init__(self, name: str, nursery: trio.Nursery) -> None:
        keys = create_new_key_pair(seed_of(name))
        self.id = ID.from_pubkey(keys.public_key).to_bytes()
        self.identity = Identity(keys, listener_certificate(seed_of(name)))
        self.failures: list[str] = []
        self.identity.observe = lambda transport, _seconds, _ok: self.failures.append(transport)
        self._nursery = nursery
        self._send, self._accepted = trio.open_memory_channel[WebRtcConnection](256)
        self.endpoint = Endpoint(self.identity, self._send.send_nowait)
        self.endpoint.open("127.0.0.1", 0, nursery)
        self.address = self.endpoint.address
        self.dialling: list[Endpoint] = []

    async def dial(self, other: "Peer", *, peer: bytes = b"", certificate: bytes = b"") -> WebRtcConnection:
        """Dial another one; `peer` and `certificate` are wrong on purpose."""
        endpoint = Endpoint(self.identity, None)
        endpoint.open("127.0.0.1", 0, self._nursery)
        self.dialling.append(endpoint)
        named = certificate or other.identity.own.fingerprint
        with trio.fail_after(DEADLINE):
            return await endpoint.dial(other.address, named, peer or other.id)

    async def accept(self) -> WebRtcConnection:
        with trio.fail_after(DEADLINE):
            return await self._accepted.receive()


@asynccontextmanager
async def peers(*names: str) -> AsyncIterator[tuple[Peer, ...]]:
    """Listeners with these names, closed at the end."""
    async with trio.open_nursery() as nursery:
        made = tuple(Peer(name, nursery) for name in names)
        try:
            yield made
        finally:
            for peer in made:
                for endpoint in (peer.endpoint, *peer.dialling):
                    endpoint.close()
            nursery.cancel_scope.cancel()


async def begin_handshake(address: tuple[str, int], source: str = "127.0.0.1") -> None:
    """Begin a handshake, show where it comes from if that is asked for, and say no more."""
    session = DtlsSession(new_context(dialer_certificate()), is_client=True)
    session.advance()
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as sender, trio.fail_after(DEADLINE):
        await sender.bind((source, 0))
        sent = session.datagrams()
        while True:
            for datagram in sent:
                await sender.sendto(datagram, address)
            answer = b""
            with trio.move_on_after(_REPEAT_S):  # first packets have a pace: it may not have been looked at
                answer, _ = await sender.recvfrom(2048)
            if not answer:
                continue
            if answer[_HANDSHAKE_KIND] != _HELLO_VERIFY_REQUEST:
                return
            session.put(answer)
            session.advance()
            sent = session.datagrams()


async def connected(a: Peer, b: Peer) -> tuple[WebRtcConnection, WebRtcConnection]:
    """Both sides of a connection that `a` dials."""
    return await a.dial(b), await b.accept()


async def until(holds: Callable[[], Any]) -> None:
    """Wait until something holds that has no event."""
    with trio.fail_after(DEADLINE):
        while not holds():  # noqa: ASYNC110
            await trio.sleep(0.005)
