"""The identity file: two Ed25519 seeds (device key, transport key) and the key that seals the store.

Owns the file and the secrecy of what is in it, which leaves this module only as key objects and, the
transport seed, towards the swarm. A file that cannot be used is refused with advice, never replaced; only a
whole one that stands open is, by the same identity sealed. docs/security.md, "The identity file".
"""

import hashlib
import os
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ...messages.base import Decoder, MalformedMessageError, encode
from ...messages.secret_struct import SecretStruct
from ...messages.types import Bytes32
from ...protocol.identity import device_id
from ...protocol.peer_ids import peer_id_of
from ..base import FatalActorError
from .data_directory import DataDir
from .passphrase_seal import COSTS, Costs, WrongPassphraseError, parse, seal, unseal
from .passphrase_seal import VERSION as SEALED

KEY_FILE = "identity.key"
_OPEN: Literal[1] = 1
_FORMAT: Literal["spacedrive-node identity"] = "spacedrive-node identity"


class KeyFile(SecretStruct):
    """What stands in a file without a passphrase; passphrase_seal.py has the other."""

    format: Literal["spacedrive-node identity"]
    version: Literal[1]
    protection: Literal["none"]
    payload: Annotated[bytes, msgspec.Meta(max_length=1024)]
    digest: Bytes32
    """SHA-256 of `payload`: tells a damaged file from a whole one."""


class Seeds(SecretStruct):
    """The payload: secret through and through."""

    device: Bytes32
    transport: Bytes32
    storage: Bytes32


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
    """What every version begins with."""

    format: str
    version: int


_decode_head: Decoder[_Head] = Decoder(_Head)


def open_keys(
    directory: DataDir, *, may_create: bool, passphrase: bytes | None = None, costs: Costs = COSTS
) -> Keys:
    """Return the keys of the data directory, made there when there are none.

    With `may_create` false their absence is an error: a store that they sealed is there. With a passphrase
    they are sealed: new ones from the beginning, and those that stand open now, in place.
    Raises FatalActorError with advice.
    """
    path = directory.path / KEY_FILE
    try:
        content = directory.read(KEY_FILE)
    except OSError as error:
        raise FatalActorError(
            f"cannot read {path}: {error.strerror}; the node must run as its owner, on a disk that works"
        ) from None
    try:
        if content is not None:
            return Keys(_open(directory, content, passphrase, costs))
        if may_create:
            seeds = Seeds(os.urandom(32), os.urandom(32), os.urandom(32))
            _write(directory, seeds, passphrase, costs)
            return Keys(seeds)
    except MalformedMessageError:
        raise FatalActorError(
            f"{path} is damaged; restore it from a backup, or start as a new device with another --data-dir"
        ) from None
    except MemoryError:
        raise FatalActorError(f"there is not enough memory to open {path}; end other programs") from None
    raise FatalActorError(
        f"{path} is missing, but devices were stored with it; restore it from a backup, "
        "or start as a new device with another --data-dir"
    )


def would_seal(data_dir: Path) -> bool:
    """Say whether a passphrase that is given now would be a new one: there is no identity, or an open one.

    Reads the first bytes of the file only, which hold no secret. False when that cannot be told: opening it
    will say why.
    """
    head = encode(_Head(_FORMAT, _OPEN))[1:]  # whatever the number of fields
    try:
        fd = os.open(data_dir / KEY_FILE, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    try:
        return os.read(fd, 1 + len(head))[1:] == head
    except OSError:
        return False
    finally:
        os.close(fd)


def _open(directory: DataDir, content: bytes, passphrase: bytes | None, costs: Costs) -> Seeds:
    """Return what is in the file; seal one that stands open when there is a passphrase for it.

    Raises FatalActorError, MalformedMessageError, MemoryError.
    """
    path = directory.path / KEY_FILE
    version = _decode_head(content).version
    if version > SEALED:
        raise FatalActorError(f"{path} has version {version}, made by a newer program; update this one")
    if version != SEALED:
        seeds = _decode_open(content)
        if passphrase is not None:
            _write(directory, seeds, passphrase, costs)
        return seeds
    parse(content)  # a damaged file is told from one that lacks its passphrase
    if passphrase is None:
        raise FatalActorError(
            f"{path} is sealed with a passphrase: start the node with --ask-passphrase, "
            "--passphrase-file FILE or --passphrase-fd N"
        )
    try:
        return _decode_seeds(unseal(content, passphrase))
    except WrongPassphraseError:
        raise FatalActorError(f"this passphrase does not open {path}; try again with another") from None


def _decode_open(content: bytes) -> Seeds:
    file = _decode_file(content)
    if hashlib.sha256(file.payload).digest() != file.digest:
        raise MalformedMessageError("digest")
    return _decode_seeds(file.payload)


def _write(directory: DataDir, seeds: Seeds, passphrase: bytes | None, costs: Costs) -> None:
    """Put the identity into its file, as a whole or not at all. Raises FatalActorError, MemoryError."""
    payload = encode(seeds)
    if passphrase is not None:
        content = seal(payload, passphrase, costs)
    else:
        digest = hashlib.sha256(payload).digest()
        content = encode(KeyFile(_FORMAT, _OPEN, "none", payload, digest))
    try:
        directory.write(KEY_FILE, content)
    except OSError as error:
        raise FatalActorError(
            f"cannot write {directory.path / KEY_FILE}: {error.strerror}; nothing was changed: "
            "make room, or choose another data directory with --data-dir"
        ) from None
