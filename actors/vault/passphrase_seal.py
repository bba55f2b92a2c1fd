"""The sealed identity file, version 2: Argon2id makes a key of the passphrase, ChaCha20-Poly1305 seals.

Owns the format and the cryptography: bytes in, bytes out. Never opens a file, and never holds a passphrase or
a key beyond a call. RFC 9106, RFC 8439; docs/security.md, "The identity file".
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

VERSION: Literal[2] = 2
_KEY_BYTES = 32


class WrongPassphraseError(SpacedriveNodeError):
    """The file is whole, and this passphrase does not open it."""


class Costs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Argon2id's: memory in KiB, passes over it, lanes. The bounds are what a file may ask of whoever
    opens it: half a GiB, and some seconds, well within the vault's start deadline.
    """

    memory: Annotated[int, msgspec.Meta(ge=8, le=512 * 1024)]
    passes: Annotated[int, msgspec.Meta(ge=1, le=8)]
    lanes: Annotated[int, msgspec.Meta(ge=1, le=16)]


COSTS = Costs(memory=64 * 1024, passes=3, lanes=4)
"""RFC 9106, section 4, for machines that cannot spare 2 GiB: a tenth of a second on a desktop computer."""


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything beside the sealed part, which is bound to it as associated data."""

    format: Literal["spacedrive-node identity"]
    version: Literal[2]
    protection: Literal["passphrase"]
    kdf: Literal["argon2id"]
    costs: Costs
    cipher: Literal["chacha20-poly1305"]
    salt: Bytes16
    nonce: Annotated[bytes, msgspec.Meta(min_length=12, max_length=12)]


class SealedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stands in the file. It begins as every version does, with format and version."""

    format: Literal["spacedrive-node identity"]
    version: Literal[2]
    header: Annotated[bytes, msgspec.Meta(max_length=1024)]
    payload: Annotated[bytes, msgspec.Meta(max_length=2048)]
    digest: Bytes32
    """SHA-256 of header and payload: tells a damaged file from a wrong passphrase."""

    def __repr__(self) -> str:
        return f"SealedFile(version={self.version})"


_decode_file: Decoder[SealedFile] = Decoder(SealedFile)
_decode_header: Decoder[Header] = Decoder(Header)


def seal(payload: bytes, passphrase: bytes, costs: Costs = COSTS) -> bytes:
    """Return the content of a file that only `passphrase` opens. Raises MemoryError."""
    header = Header(
        format="spacedrive-node identity",
        version=VERSION,
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
            version=VERSION,
            header=encoded,
            payload=sealed,
            digest=_digest(encoded, sealed),
        )
    )


def unseal(content: bytes, passphrase: bytes) -> bytes:
    """Return the payload of such a file. Raises WrongPassphraseError, MalformedMessageError, MemoryError."""
    file, header = parse(content)
    try:
        return ChaCha20Poly1305(_key(passphrase, header)).decrypt(header.nonce, file.payload, file.header)
    except InvalidTag:
        raise WrongPassphraseError from None


def parse(content: bytes) -> tuple[SealedFile, Header]:
    """Return a whole file and its header. Raises MalformedMessageError for every other; costs nothing."""
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
    """Return the form that every keyboard's way of typing the same text comes to (RFC 8265, 4.2: NFC)."""
    try:
        return unicodedata.normalize("NFC", passphrase.decode()).encode()
    except UnicodeDecodeError:
        return passphrase
