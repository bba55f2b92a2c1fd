"""A peer on the network that a test controls: a plain libp2p host that writes any bytes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from libp2p.crypto.ed25519 import create_new_key_pair

from spacedrive_node.actors.swarm.library import host_factory, host_lifecycle, streams
from spacedrive_node.messages.base import encode
from spacedrive_node.messages.peer_protocol import PROTOCOL_ID, PairingRequest
from spacedrive_node.tests.harness.transports import dial_address, more_transports

A = "session-" + "a" * 16
REQUEST = encode(PairingRequest(2, b"i" * 16, b"t" * 16, b"e" * 32, b"c" * 32))


@asynccontextmanager
async def stranger_host(number: int = 99) -> AsyncIterator[Any]:
    seed = number.to_bytes(32, "big")
    host = host_factory.new_host(create_new_key_pair(seed), 64, list, more_transports(seed))
    async with host_lifecycle.run_host(host):
        yield host


async def dial(host: Any, node: Any, source: tuple[str, int] | None = None) -> Any:
    with trio.fail_after(60):
        return await dial_address(host, node.addresses[0], node.peer, source)


async def send(connection: Any, data: bytes) -> bytes:
    """Send raw bytes on a new pairing stream and return the first byte of the answer."""
    with trio.fail_after(60):
        async with streams.open_stream(connection, PROTOCOL_ID) as stream:
            await streams.write(stream, data)
            return await streams.read_exactly(stream, 1)


def framed(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "big") + payload
