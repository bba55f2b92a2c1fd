"""The key schedule of docs/protocol.md, "Keys": labels, HKDF, HMAC, AEAD, X25519 and the transcript hashes.

All arithmetic of the protocol is in this one module, so that it can be compared with the document line by
line. Owns every label (each is written once, here) and every derivation. Never keeps a value, never draws
randomness, and knows no message: frames come in as bytes.
"""

import hashlib
import hmac
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from ..messages.types import Role
from .errors import ProofFailedError, ProtocolError

PROTOCOL_LABEL: Final = b"spacedrive-pairing-v2"
SIGNATURE_LABEL: Final = b"spacedrive-pairing-v2 device"
COMMIT_LABEL: Final = b"spacedrive-pairing-v2 commit"
DEVICE_ID_LABEL: Final = b"spacedrive-device"

ROUTE: Final = b"route"
AUTH: Final = b"auth"
RENDEZVOUS: Final = b"rendezvous"
MDNS: Final = b"mdns"

INITIATOR_PROOF: Final = b"initiator proof"
PAIRING_SECRET: Final = b"pairing secret"
CHECK: Final = b"check"
FINGERPRINT: Final = b"fingerprint"

SEAL: Final[dict[Role, bytes]] = {"initiator": b"initiator seal", "joiner": b"joiner seal"}
DECISION: Final[dict[Role, bytes]] = {"initiator": b"initiator decision", "joiner": b"joiner decision"}
RECEIVED: Final[dict[Role, bytes]] = {"initiator": b"initiator received", "joiner": b"joiner received"}

OTHER_ROLE: Final[dict[Role, Role]] = {"initiator": "joiner", "joiner": "initiator"}

_ZERO_NONCE = bytes(12)
"""Every key seals exactly one message, so no two messages need different nonces."""


def lp(data: bytes) -> bytes:
    """Return the length of `data` as u32 big-endian, followed by `data`: unambiguous when concatenated."""
    return len(data).to_bytes(4, "big") + data


def sha256(data: bytes) -> bytes:
    """Return SHA-256 of `data`, 32 bytes."""
    return hashlib.sha256(data).digest()


def mac(key: bytes, data: bytes) -> bytes:
    """Return HMAC-SHA-256, 32 bytes."""
    return hmac.digest(key, data, "sha256")


def equal(left: bytes, right: bytes) -> bool:
    """Return whether both are equal, in time that does not depend on where they differ."""
    return hmac.compare_digest(left, right)


def extract(salt: bytes, ikm: bytes) -> bytes:
    """Return HKDF-Extract with SHA-256 (RFC 5869, section 2.2), 32 bytes."""
    return mac(salt, ikm)


def expand(prk: bytes, info: bytes, length: int = 32) -> bytes:
    """Return HKDF-Expand with SHA-256 (RFC 5869, section 2.3), `length` bytes."""
    return HKDFExpand(SHA256(), length, info).derive(prk)


def key(prk: bytes, label: bytes, th: bytes) -> bytes:
    """Return K(label, th), 32 bytes: the key for one purpose, bound to the transcript so far."""
    return expand(prk, lp(label) + th)


def public_of(ephemeral: bytes) -> bytes:
    """Return the X25519 public key of 32 private bytes."""
    return X25519PrivateKey.from_private_bytes(ephemeral).public_key().public_bytes_raw()


def shared_prk(auth_key: bytes, ephemeral: bytes, eph: bytes) -> bytes:
    """Return prk, 32 bytes, from this side's private and the other side's public ephemeral key.

    Both sides derive the same prk only if they have the same code (`auth_key`) and hold the private keys.
    Raises ProtocolError when `eph` is of small order, which makes the X25519 result all zero.
    """
    private = X25519PrivateKey.from_private_bytes(ephemeral)
    # The library refuses the all-zero result itself (RFC 7748, section 6.1); a test makes sure that it does.
    try:
        dh = private.exchange(X25519PublicKey.from_public_bytes(eph))
    except ValueError:
        raise ProtocolError("ephemeral key of small order") from None
    return extract(auth_key, dh)


def seal(key_: bytes, plaintext: bytes, th: bytes) -> bytes:
    """Return the one message of this key sealed: ChaCha20-Poly1305, zero nonce, `th` as associated data.

    The ciphertext is 16 bytes longer than the plaintext. Call this once for each key. With one key and one
    nonce, two different plaintexts are encrypted by the same key stream: their difference can be read from
    the ciphertexts, and tags can be forged. So a sender keeps the frame that it has made and repeats it.
    """
    return ChaCha20Poly1305(key_).encrypt(_ZERO_NONCE, plaintext, th)


def unseal(key_: bytes, sealed: bytes, th: bytes) -> bytes:
    """Return the plaintext of what :func:`seal` made. Raises ProofFailedError for anything else."""
    try:
        return ChaCha20Poly1305(key_).decrypt(_ZERO_NONCE, sealed, th)
    except InvalidTag:
        raise ProofFailedError("sealed part does not open") from None


def commitment(nonce: bytes) -> bytes:
    """Return the joiner's commitment to its nonce, 32 bytes (docs/protocol.md, "The exchanges", 1)."""
    return sha256(lp(COMMIT_LABEL) + nonce)


def transcript_base(initiator: bytes, joiner: bytes, request_frame: bytes) -> bytes:
    """Return what every transcript hash begins with: both peer ids and the frame PairingRequest."""
    return lp(PROTOCOL_LABEL) + lp(initiator) + lp(joiner) + lp(request_frame)


def th0(base: bytes, code_id: bytes, attempt: bytes, eph: bytes, nonce: bytes) -> bytes:
    """Return the hash that the initiator's proof covers: every field of Challenge except the proof."""
    return sha256(base + lp(code_id) + lp(attempt) + lp(eph) + lp(nonce))


def th1(base: bytes, challenge_frame: bytes) -> bytes:
    """Return the transcript hash up to and including Challenge."""
    return sha256(base + lp(challenge_frame))


def th_next(th: bytes, frame: bytes) -> bytes:
    """Return th2 (from th1 and the frame ChallengeResponse) or th3 (from th2 and ChallengeConfirmation)."""
    return sha256(th + lp(frame))


def check_value(prk: bytes, th: bytes, nonce: bytes) -> str:
    """Return the six digits that users may compare, from th1 and the joiner's nonce.

    Both were fixed or committed to before either side revealed its nonce, so an attacker in the middle who
    knows the words cannot try inputs until the digits match (docs/protocol.md, "After exchange 2").
    """
    number = int.from_bytes(expand(prk, lp(CHECK) + th + nonce, 4), "big")
    return f"{number % 1_000_000:06d}"


def fingerprint(pairing_secret: bytes) -> str:
    """Return the 16 hex digits that name a pairing, equal on both sides."""
    return expand(pairing_secret, FINGERPRINT, 8).hex()


def connection_keys(pairing_secret: bytes, nonce_i: bytes, nonce_j: bytes) -> tuple[bytes, bytes]:
    """Return two 32-byte keys of one later connection: initiator to joiner, joiner to initiator.

    Each side contributes 32 random bytes, fresh for this connection, so no key is ever used twice.
    Raises ValueError when a nonce has another length. See docs/protocol.md, "After exchange 2".
    """
    if len(nonce_i) != 32 or len(nonce_j) != 32:
        raise ValueError("both nonces are 32 bytes")
    prk = extract(nonce_i + nonce_j, pairing_secret)
    return expand(prk, b"initiator to joiner"), expand(prk, b"joiner to initiator")
