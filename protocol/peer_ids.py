"""Peer ids: the bytes that name a transport key, and their text (libp2p spec, "Peer IDs").

Pure encodings, apart from all that computes with keys: whoever only shows a peer id needs no cryptography.
"""

from typing import Final

import base58

_ED25519_PREFIX: Final = bytes.fromhex("002408011220")
"""Identity multihash of a protobuf PublicKey{type = Ed25519, data = 32 bytes} (libp2p spec, peer-ids)."""
_SHA256_PREFIX: Final = bytes.fromhex("1220")

_PEER_TEXT_LIMIT = 100


def peer_id_of(public_key: bytes) -> bytes:
    """Return the binary peer id (38 bytes) of a 32-byte Ed25519 transport key."""
    if len(public_key) != 32:
        raise ValueError("an Ed25519 public key has 32 bytes")
    return _ED25519_PREFIX + public_key


def peer_id_text(peer: bytes) -> str:
    """Return a peer id as people and multiaddrs write it: base58btc, "12D3Koo…"."""
    return base58.b58encode(peer).decode("ascii")


def peer_id_from_text(text: str) -> bytes:
    """Read what :func:`peer_id_text` writes (also "Qm…"). Raises ValueError for anything else."""
    if not text or len(text) > _PEER_TEXT_LIMIT:
        raise ValueError("not a peer id")
    try:
        peer = base58.b58decode(text.encode("ascii"))
    except ValueError:
        raise ValueError("not a peer id") from None
    ed25519 = len(peer) == 38 and peer.startswith(_ED25519_PREFIX)
    hashed = len(peer) == 34 and peer.startswith(_SHA256_PREFIX)
    # Decoding strips white space, so compare: one peer id has one text.
    if not (ed25519 or hashed) or peer_id_text(peer) != text:
        raise ValueError("not a peer id")
    return peer
