"""The security protocols that a host offers: Noise and no other."""

from typing import Any

from libp2p.crypto.keys import KeyPair
from libp2p.crypto.x25519 import create_new_key_pair as create_x25519_key_pair
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport


def noise_only(keys: KeyPair) -> dict[Any, Any]:
    """Return the security options of a host: protocol id to transport.

    Defect (0.8.1, libp2p/__init__.py:661): by default a host also offers /plaintext/2.0.0 and secio. With
    plaintext, an impostor that knows only a peer's public key is accepted as that peer.
    Test: tests/swarm/test_security.py.
    """
    return {NOISE: NoiseTransport(keys, noise_privkey=create_x25519_key_pair().private_key)}
