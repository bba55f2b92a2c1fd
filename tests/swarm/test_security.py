"""Noise is offered alone: the defect of the library, and its absence with the correction.

A test whose first half fails shows that the library no longer needs that correction: remove it.
"""

import importlib
from typing import Any

import pytest
import trio
from libp2p.crypto.exceptions import MissingDeserializerError
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.pb import crypto_pb2
from libp2p.crypto.serialization import deserialize_public_key
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID, InsecureTransport

from spacedrive_node.actors.swarm.library import host_factory, host_lifecycle
from spacedrive_node.tests.harness.library_hosts import keys, make, plain_host, running
from spacedrive_node.tests.harness.stranger_peer import REQUEST, dial, framed, send


class _ClaimsPublicKey:
    """Signs nothing; only says whose public key it has."""

    def __init__(self, public_key: Any) -> None:
        self._public_key = public_key

    def get_public_key(self) -> Any:
        return self._public_key


@pytest.mark.parametrize("corrected", [False, True])
async def test_noise_only(corrected: bool) -> None:
    """An impostor who knows only a peer's public key passes for it by default, not with Noise only."""
    victim = keys(7)
    transport = InsecureTransport(KeyPair(keys(8).private_key, victim.public_key), peerstore=PeerStore())
    transport.local_private_key = _ClaimsPublicKey(victim.public_key)
    impostor = plain_host(8, sec_opt={PLAINTEXT_PROTOCOL_ID: transport})
    server = make(corrected, 1)
    connected = False
    async with running(server, impostor) as (address, _):
        try:
            with trio.fail_after(60):
                await impostor.get_network().dial_addr(address, server.get_id())
            connected = bool(server.get_network().get_connections(ID.from_pubkey(victim.public_key)))
        except Exception:
            connected = False
    assert connected is not corrected


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "secp256k1"])
async def test_transport_keys_that_get_a_connection(swarm: Any, kind: str) -> None:
    """Those of docs/protocol.md, "Finding and dialling": a peer with such a key is answered."""
    module = importlib.import_module(f"libp2p.crypto.{kind}")
    pair = module.create_new_key_pair(2048) if kind == "rsa" else module.create_new_key_pair()
    host = host_factory.new_host(pair, 64, list)
    async with swarm("a") as a, host_lifecycle.run_host(host):
        assert await send(await dial(host, a), framed(REQUEST))


def test_other_transport_keys_get_none() -> None:
    """An ECDSA key cannot be read, so that no handshake with it succeeds."""
    ecdsa = crypto_pb2.PublicKey(key_type=crypto_pb2.KeyType.ECDSA, data=b"key")
    with pytest.raises(MissingDeserializerError):
        deserialize_public_key(ecdsa.SerializeToString())
