"""The identity file: two Ed25519 seeds (device key, transport key) and the key that seals the store.

Owns their format and their secrecy; they leave this module only as key objects and, the transport seed,
towards the swarm. A damaged or too readable file is refused, never replaced. docs/operations.md, "Files".
"""

import hashlib
import os
from typing import Annotated, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ...messages.base import Decoder, MalformedMessage, encode
from ...messages.types import Bytes32
from ...protocol.identity import device_id, peer_id_of
from ..base import ActorFailed
from .files import DataDir

KEY_FILE = "identity.key"
_VERSION = 1


class KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stands in the file. `protection` names how `payload` is kept: another value, say a passphrase,
    comes with a new version and fields of its own."""

    format: Literal["spacedrive-node identity"]
    version: int
    protection: Literal["none"]
    payload: Annotated[bytes, msgspec.Meta(max_length=1024)]
    digest: Bytes32
    """SHA-256 of `payload`: tells a damaged file from a whole one."""

    def __repr__(self) -> str:
        return f"KeyFile(version={self.version})"


class Seeds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The payload: secret through and through."""

    device: Bytes32
    transport: Bytes32
    storage: Bytes32

    def __repr__(self) -> str:
        return "Seeds(…)"


class Keys:
    """The keys of this device."""

    def __init__(self, seeds: Seeds) -> None:
        self._device = Ed25519PrivateKey.from_private_bytes(seeds.device)
        self.public_key = self._device.public_key().public_bytes_raw()
        self.device_id = device_id(self.public_key)
        self.transport_seed = seeds.transport
        transport = Ed25519PrivateKey.from_private_bytes(seeds.transport)
        self.peer = peer_id_of(transport.public_key().public_bytes_raw())
        self.storage_key = seeds.storage

    def __repr__(self) -> str:
        return f"Keys(device_id={self.device_id.hex()})"

    def sign(self, data: bytes) -> bytes:
        """Sign with the device key (64 bytes)."""
        return self._device.sign(data)


_decode_file: Decoder[KeyFile] = Decoder(KeyFile)
_decode_seeds: Decoder[Seeds] = Decoder(Seeds)


class _Head(msgspec.Struct, frozen=True):
    """As much of any version as it takes to say that it is too new."""

    format: str
    version: int


_decode_head: Decoder[_Head] = Decoder(_Head)


def open_keys(directory: DataDir, *, may_create: bool) -> Keys:
    """Return the keys of the data directory, made there when there are none.

    With `may_create` false their absence is an error: a store that they sealed is there.
    Raises ActorFailed with advice.
    """
    path = directory.path / KEY_FILE
    try:
        content = directory.read(KEY_FILE)
        if content is None and may_create:
            content = _encode(Seeds(os.urandom(32), os.urandom(32), os.urandom(32)))
            directory.write(KEY_FILE, content)
    except OSError as error:
        raise ActorFailed(f"cannot read or write {path}: {error.strerror}") from None
    if content is None:
        raise ActorFailed(
            f"{path} is missing, but devices were stored with it; restore it from a backup, "
            "or start as a new device with another --data-dir"
        )
    return Keys(_decode(content, str(path)))


def _encode(seeds: Seeds) -> bytes:
    payload = encode(seeds)
    return encode(
        KeyFile(
            format="spacedrive-node identity",
            version=_VERSION,
            protection="none",
            payload=payload,
            digest=hashlib.sha256(payload).digest(),
        )
    )


def _decode(content: bytes, path: str) -> Seeds:
    try:
        if (version := _decode_head(content).version) > _VERSION:
            raise ActorFailed(f"{path} has version {version}, made by a newer program; update this one")
        file = _decode_file(content)
        if file.version == _VERSION and hashlib.sha256(file.payload).digest() == file.digest:
            return _decode_seeds(file.payload)
    except MalformedMessage:
        pass  # said below, together with a wrong digest
    raise ActorFailed(
        f"{path} is damaged; restore it from a backup, or start as a new device with another --data-dir"
    )
