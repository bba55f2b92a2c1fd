"""Peer ids: the bytes that name a transport key, and their text (libp2p spec, "Peer IDs").

A module of its own, without cryptography, because the command line only shows peer ids. Pure; never checks
that a peer has the key.
"""

import base64
from typing import Final

import base58

from ..messages.peer_id_text import peer_id_text

__all__ = ["peer_id_from_any_text", "peer_id_from_text", "peer_id_of", "peer_id_text"]

_ED25519_PREFIX: Final = bytes.fromhex("002408011220")
"""Identity multihash of a protobuf PublicKey{type = Ed25519, data = 32 bytes} (libp2p spec, peer-ids)."""
_SHA256_PREFIX: Final = bytes.fromhex("1220")
_CID_PREFIX: Final = bytes.fromhex("0172")
"""CID version 1 of a libp2p-key (multiformats, multicodec table)."""

_MAX_TEXT_CHARACTERS = 100


def peer_id_of(public_key: bytes) -> bytes:
    """Return the binary peer id (38 bytes) of an Ed25519 transport key (32 bytes), else raise ValueError."""
    if len(public_key) != 32:
        raise ValueError("an Ed25519 public key has 32 bytes")
    return _ED25519_PREFIX + public_key


def peer_id_from_text(text: str) -> bytes:
    """Return the binary peer id (38 bytes for "12D3Koo…", 34 for "Qm…"). Raises ValueError for other text."""
    if not text or len(text) > _MAX_TEXT_CHARACTERS:
        raise ValueError("not a peer id")
    try:
        peer = base58.b58decode(text.encode("ascii"))
    except ValueError:
        raise ValueError("not a peer id") from None
    ed25519 = len(peer) == 38 and peer.startswith(_ED25519_PREFIX)
    hashed = len(peer) == 34 and peer.startswith(_SHA256_PREFIX)
    # The library ignores white space. One peer id must have one text, so encode it again and compare.
    if not (ed25519 or hashed) or peer_id_text(peer) != text:
        raise ValueError("not a peer id")
    return peer


def peer_id_from_any_text(text: str) -> bytes:
    """Return the binary peer id of its text, or of its text as a CID (libp2p spec, peer ids).

    Raises ValueError for anything else.
    """
    if not text or len(text) > _MAX_TEXT_CHARACTERS:
        raise ValueError("not a peer id")
    cid = _decode_multibase(text)
    if not cid.startswith(_CID_PREFIX):
        return peer_id_from_text(text)
    return peer_id_from_text(peer_id_text(cid[len(_CID_PREFIX) :]))


def _decode_multibase(text: str) -> bytes:
    """Return the bytes of a multibase text: base16, base32, base36 or base58btc; empty if it is none."""
    base, digits = text[0], text[1:]
    try:
        if base in "fF":
            return bytes.fromhex(digits) if digits.isalnum() else b""
        if base in "bB":
            return base64.b32decode(digits.upper() + "=" * (-len(digits) % 8))
        if base in "kK" and digits.isascii() and digits.isalnum():
            number = int(digits, 36)
            return number.to_bytes((number.bit_length() + 7) // 8, "big")
        return base58.b58decode(digits) if base == "z" else b""
    except ValueError:
        return b""
