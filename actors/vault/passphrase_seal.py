"""The identity file in its sealed form, version 2, which only a passphrase opens.

Argon2id (RFC 9106) derives a key from the passphrase; ChaCha20-Poly1305 (RFC 8439) seals the payload with it,
with the header as associated data. Owns the format and the cryptography, bytes in and bytes out. Never
opens a file, and keeps no passphrase or key after a call. See docs/security.md, "The identity file".
"""

import hashlib
import os
import unicodedata
from typing import Annotated, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from ...messages.base import Decoder, MalformedMessageError, encode
from ...messages.errors import SpacedriveNodeError
from ...messages.types import Bytes16, Bytes32

SEALED_VERSION: Literal[2] = 2
_KEY_BYTES = 32


class WrongPassphraseError(SpacedriveNodeError):
    """The file is undamaged, and this passphrase does not open it."""


class Argon2Costs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The costs of Argon2id: memory in KiB, passes over it, lanes.

    The bounds are for costs that a file states. A file from elsewhere cannot make the vault use more than
    half a GiB or some seconds, which is well within the vault's start deadline.
    """

    memory: Annotated[int, msgspec.Meta(ge=8, le=512 * 1024)]
    passes: Annotated[int, msgspec.Meta(ge=1, le=8)]
    lanes: Annotated[int, msgspec.Meta(ge=1, le=16)]


DEFAULT_COSTS = Argon2Costs(memory=64 * 1024, passes=3, lanes=4)
"""RFC 9106, section 4, for machines that cannot spare 2 GiB. A tenth of a second on a desktop computer."""


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is needed to open the payload. It is bound to the payload as associated data."""

    format: Literal["spacedrive-node identity"]
    version: Literal[2]
    protection: Literal["passphrase"]
    kdf: Literal["argon2id"]
    costs: Argon2Costs
    cipher: Literal["chacha20-poly1305"]
    salt: Bytes16
    nonce: Annotated[bytes, msgspec.Meta(min_length=12, max_length=12)]


class SealedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The content of the file. It begins with format and version, as that of every version does."""

    format: Literal["spacedrive-node identity"]
    version: Literal[2]
    header: Annotated[bytes, msgspec.Meta(max_length=1024)]
    payload: Annotated[bytes, msgspec.Meta(max_length=2048)]
    digest: Bytes32
    """SHA-256 of header and payload. It differs in a damaged file; a wrong passphrase does not change it."""
    has_stored: bool = False
    """As in identity_file.UnsealedFile. It is not sealed: it is written while the node runs."""

    def __repr__(self) -> str:
        return f"SealedFile(version={self.version})"


_decode_file: Decoder[SealedFile] = Decoder(SealedFile)
_decode_header: Decoder[Header] = Decoder(Header)


def seal(payload: bytes, passphrase: bytes, costs: Argon2Costs = DEFAULT_COSTS) -> bytes:
    """Return the content of a file that only `passphrase` opens. Raises MemoryError."""
    header = Header(
        format="spacedrive-node identity",
        version=SEALED_VERSION,
        protection="passphrase",
        kdf="argon2id",
        costs=costs,
        cipher="chacha20-poly1305",
        salt=os.urandom(16),
        nonce=os.urandom(12),
    )
    encoded = encode(header)
    sealed = ChaCha20Poly1305(_key(passphrase, header)).encrypt(header.nonce, payload, encoded)
    return encode(
        SealedFile(
            format=header.format,
            version=SEALED_VERSION,
            header=encoded,
            payload=sealed,
            digest=_digest(encoded, sealed),
        )
    )


def unseal(content: bytes, passphrase: bytes) -> bytes:
    """Return the payload of a sealed file.

    Raises WrongPassphraseError; MalformedMessageError for a damaged file; MemoryError.
    """
    file, header = parse(content)
    try:
        return ChaCha20Poly1305(_key(passphrase, header)).decrypt(header.nonce, file.payload, file.header)
    except InvalidTag:
        raise WrongPassphraseError from None


def parse(content: bytes) -> tuple[SealedFile, Header]:
    """Return the file and its header, without the cost of opening it.

    Raises MalformedMessageError when the file is damaged or states costs that are out of bounds.
    """
    file = _decode_file(content)
    header = _decode_header(file.header)
    if _digest(file.header, file.payload) != file.digest:
        raise MalformedMessageError("digest")
    if header.costs.memory < 8 * header.costs.lanes:  # RFC 9106, section 3.1
        raise MalformedMessageError("costs")
    return file, header


def _digest(header: bytes, payload: bytes) -> bytes:
    return hashlib.sha256(len(header).to_bytes(4, "big") + header + payload).digest()


def _key(passphrase: bytes, header: Header) -> bytes:
    costs = header.costs
    kdf = Argon2id(
        salt=header.salt,
        length=_KEY_BYTES,
        iterations=costs.passes,
        lanes=costs.lanes,
        memory_cost=costs.memory,
    )
    return kdf.derive(_normal(passphrase))


def _normal(passphrase: bytes) -> bytes:
    """Return the passphrase in NFC, so that every keyboard gives the same bytes (RFC 8265, section 4.2)."""
    try:
        return unicodedata.normalize("NFC", passphrase.decode()).encode()
    except UnicodeDecodeError:
        return passphrase
