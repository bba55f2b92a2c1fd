"""QUIC endpoints of this project on loopback, without a host around them, and peers that break the rules."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID

from spacedrive_node.actors.swarm.quic.certificates import own_certificate
from spacedrive_node.actors.swarm.quic.connection import QuicConnection
from spacedrive_node.actors.swarm.quic.endpoint import Endpoint, Identity
from spacedrive_node.actors.swarm.quic.reset_tokens import ResetTokens

DEADLINE = 20.0


def seed(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def peer_of(name: str) -> bytes:
    """The binary peer id of the endpoint with this name."""
    peer: bytes = ID.from_pubkey(create_new_key_pair(seed(name)).public_key).to_bytes()
    return peer


def identity(name: str) -> Identity:
    return Identity(own_certificate(create_new_key_pair(seed(name))), ResetTokens(seed(name)))


@dataclass
class Peer:
    """An endpoint, and the connections that it has accepted, in order."""

    name: str
    identity: Identity
    endpoint: Endpoint = field(init=False)
    accepted: list[QuicConnection] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _news: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot)

    def __post_init__(self) -> None:
        self.endpoint = Endpoint(self.identity, self._accept)
        self.identity.observe = lambda transport, _seconds, _ok: self.failures.append(transport)

    def _accept(self, connection: QuicConnection) -> None:
        self.accepted.append(connection)
        self._news.unpark_all()

    @property
    def address(self) -> tuple[str, int]:
        return self.endpoint.address

    async def dial(self, other: "Peer", expected: str | None = None) -> QuicConnection:
        """Connect to another; `expected` is the name of the peer that is expected there."""
        with trio.fail_after(DEADLINE):
            return await self.endpoint.dial(other.address, peer_of(expected or other.name))

    async def accept(self, number: int = 0) -> QuicConnection:
        """Wait for the connection with this number."""
        with trio.fail_after(DEADLINE):
            while len(self.accepted) <= number:
                await self._news.park()
        return self.accepted[number]


@asynccontextmanager
async def peers(*names: str, port: int = 0, **settings: Any) -> AsyncIterator[list[Peer]]:
    """Run an endpoint for each name. `settings` are set on its identity."""
    async with trio.open_nursery() as nursery:
        made = []
        for name in names:
            peer = Peer(name, identity(name))
            for key, value in settings.items():
                setattr(peer.identity, key, value)
            peer.endpoint.open("127.0.0.1", port, nursery)
            made.append(peer)
        try:
            yield made
        finally:
            for peer in made:
                peer.endpoint.close()
            nursery.cancel_scope.cancel()


async def connected(a: Peer, b: Peer) -> tuple[QuicConnection, QuicConnection]:
    """Both ends of a new connection, which `a` has dialled."""
    number = len(b.accepted)
    dialled = await a.dial(b)
    return dialled, await b.accept(number)


async def until(condition: Any) -> None:
    """Let the other tasks run until something holds."""
    with trio.fail_after(DEADLINE):
        while not condition():  # noqa: ASYNC110, there is no event for the state of sockets
            await trio.sleep(0.001)
