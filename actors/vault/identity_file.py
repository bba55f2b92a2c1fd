"""The identity file: the seeds of the device key and the transport key, and the key that seals the store.

Owns the file and its secrets. They leave this module as key objects only, except for the transport seed,
which the swarm needs, and the storage key, which the store needs. A file that cannot be used is refused
with advice and never replaced, because the identity in it exists nowhere else. Exception: an undamaged file
without a passphrase is replaced by a sealed file with the same identity when a passphrase is given. See
docs/security.md, "The identity file".
"""

import errno
import hashlib
import os
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ...messages.base import Decoder, MalformedMessageError, encode
from ...messages.errors import is_temporary
from ...messages.secret_struct import SecretStruct
from ...messages.types import Bytes32
from ...protocol.identity import device_id
from ...protocol.peer_ids import peer_id_of
from ..base import FatalActorError
from .data_directory import DataDirectory, UnsafeFileError
from .passphrase_seal import (
    DEFAULT_COSTS,
    SEALED_VERSION,
    Argon2Costs,
    SealedFile,
    WrongPassphraseError,
    parse,
    seal,
    unseal,
)

KEY_FILE = "identity.key"
_UNSEALED_VERSION: Literal[1] = 1
_MAX_UNSEALED_BYTES = 2048
_FORMAT: Literal["spacedrive-node identity"] = "spacedrive-node identity"


class UnsealedFile(SecretStruct, omit_defaults=True):
    """The content of a file without a passphrase; passphrase_seal.SealedFile is the other form."""

    format: Literal["spacedrive-node identity"]
    version: Literal[1]
    protection: Literal["none"]
    payload: Annotated[bytes, msgspec.Meta(max_length=1024)]
    digest: Bytes32
    """SHA-256 of `payload`, to notice damage."""
    has_stored: bool = False
    """Whether a device was ever stored beside this identity (:func:`remember_devices`)."""


class IdentitySecrets(SecretStruct):
    """The payload of both forms of the file: two Ed25519 seeds and a symmetric key, 32 bytes each."""

    device: Bytes32
    transport: Bytes32
    storage: Bytes32


class DeviceIdentity:
    """This device's identity: its keys, and what is derived from them."""

    def __init__(self, secrets: IdentitySecrets) -> None:
        self._device = Ed25519PrivateKey.from_private_bytes(secrets.device)
        self.public_key = self._device.public_key().public_bytes_raw()
        self.device_id = device_id(self.public_key)
        self.transport_seed = secrets.transport
        transport = Ed25519PrivateKey.from_private_bytes(secrets.transport)
        self.peer = peer_id_of(transport.public_key().public_bytes_raw())
        self.storage_key = secrets.storage

    def __repr__(self) -> str:
        return f"DeviceIdentity(device_id={self.device_id.hex()})"

    def sign(self, data: bytes) -> bytes:
        """Return the signature of `data` by the device key, 64 bytes."""
        return self._device.sign(data)


_decode_file: Decoder[UnsealedFile] = Decoder(UnsealedFile)
_decode_secrets: Decoder[IdentitySecrets] = Decoder(IdentitySecrets)


class _Head(msgspec.Struct, frozen=True, omit_defaults=True):
    """The first two fields of every version of the file, and the last."""

    format: str
    version: int
    has_stored: bool = False


_decode_head: Decoder[_Head] = Decoder(_Head)


def open_identity(
    directory: DataDirectory,
    *,
    may_create: bool,
    passphrase: bytes | None = None,
    costs: Argon2Costs = DEFAULT_COSTS,
) -> DeviceIdentity:
    """Return the identity in the data directory; create one if there is none.

    With `may_create` false its absence is an error: the directory has a store that it sealed. With a
    passphrase a new identity is sealed from the beginning, and an unsealed one is sealed in place. Raises
    FatalActorError with advice.
    """
    path = directory.path / KEY_FILE
    try:
        content = directory.read(KEY_FILE)
    except OSError as error:
        raise FatalActorError(
            f"cannot read {path}: {error.strerror}; the node must run as its owner, on a disk that works",
            is_temporary=is_temporary(error),
        ) from None
    try:
        if content is not None:
            return DeviceIdentity(_open(directory, content, passphrase, costs))
        if may_create:
            secrets = IdentitySecrets(os.urandom(32), os.urandom(32), os.urandom(32))
            _write(directory, secrets, passphrase, costs)
            return DeviceIdentity(secrets)
    except MalformedMessageError:
        raise FatalActorError(
            f"{path} is damaged; restore it from a backup, or start as a new device with another --data-dir"
        ) from None
    except MemoryError:
        raise FatalActorError(
            f"there is not enough memory to open {path}; end other programs", is_temporary=True
        ) from None
    raise FatalActorError(
        f"{path} is missing, but devices were stored with it; restore it from a backup, "
        "or start as a new device with another --data-dir"
    )


class OpenedIdentity:
    """The identity of a file that was opened, for a vault that tries again to open what is beside it.

    Deriving the key of a sealed one takes a fifth of a second of a processor and 64 MiB each time. Owns no
    passphrase, and nothing that the vault would not hold a moment later.
    """

    def __init__(self) -> None:
        self._digest = b""
        self._identity: DeviceIdentity | None = None

    def of(self, directory: DataDirectory) -> DeviceIdentity | None:
        """Return the identity if the file is still the one that was opened."""
        return self._identity if self._digest and _digest_of(directory) == self._digest else None

    def keep(self, directory: DataDirectory, identity: DeviceIdentity) -> None:
        """Keep the identity of the file as it is now."""
        self._digest, self._identity = _digest_of(directory), identity


def _digest_of(directory: DataDirectory) -> bytes:
    """Return the SHA-256 of the identity file; nothing if it cannot be read."""
    try:
        content = directory.read(KEY_FILE)
    except (OSError, FatalActorError):
        return b""
    return b"" if content is None else hashlib.sha256(content).digest()


def would_seal(data_dir: Path) -> bool:
    """Return whether starting with a passphrase would seal an identity that is new or unsealed so far.

    The command line asks this to know whether a new passphrase has to be typed twice. Reads only the first
    bytes of the file, which hold no secret. Returns False if the file cannot be read: opening it gives the
    reason.
    """
    head = encode(_Head(_FORMAT, _UNSEALED_VERSION))[1:]  # without the first byte, the number of fields
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


def unsealed_peer(data_dir: Path) -> bytes | None:
    """Return the peer id of an identity that stands open in `data_dir`; None if there is none to be read.

    For `sdnode up --check-config`, which ends without a node. The keys in the file are not kept.
    """
    try:
        fd = os.open(data_dir / KEY_FILE, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            content = os.read(fd, _MAX_UNSEALED_BYTES)
        finally:
            os.close(fd)
        return DeviceIdentity(_decode_unsealed(content)).peer
    except (OSError, MalformedMessageError):
        return None


def remembers_devices(directory: DataDirectory) -> bool:
    """Return whether a device was ever stored beside the identity. Raises OSError."""
    content = directory.read(KEY_FILE)
    return content is not None and _decode_head(content).has_stored


def remember_devices(directory: DataDirectory) -> None:
    """Note in the identity file that a device is stored beside it, durably and without opening it.

    So a database that is lost is noticed, whichever files were lost with it. Raises OSError.
    """
    try:
        content = directory.read(KEY_FILE)
    except UnsafeFileError as error:
        raise PermissionError(errno.EPERM, str(error), KEY_FILE) from None
    if content is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), KEY_FILE)
    sealed = _decode_head(content).version == SEALED_VERSION
    file: UnsealedFile | SealedFile = parse(content)[0] if sealed else _decode_file(content)
    if not file.has_stored:
        directory.write(KEY_FILE, encode(msgspec.structs.replace(file, has_stored=True)))


def _open(
    directory: DataDirectory, content: bytes, passphrase: bytes | None, costs: Argon2Costs
) -> IdentitySecrets:
    """Return the secrets in a file; if it is unsealed and there is a passphrase, seal it in place.

    Raises FatalActorError, MalformedMessageError, MemoryError.
    """
    path = directory.path / KEY_FILE
    version = _decode_head(content).version
    if version > SEALED_VERSION:
        raise FatalActorError(f"{path} has version {version}, made by a newer program; update this one")
    if version != SEALED_VERSION:
        secrets = _decode_unsealed(content)
        if passphrase is not None:
            # Seal in place: the same identity is written, sealed, to a file beside this one, made durable,
            # and renamed over it (data_directory.write). A crash leaves the unsealed file or the sealed one,
            # never neither; after a crash before the rename, the next start with the passphrase seals it.
            had_devices = _decode_head(content).has_stored
            _write(directory, secrets, passphrase, costs)
            if had_devices:
                remember_devices(directory)
        return secrets
    parse(content)  # report damage first: no passphrase helps then
    if passphrase is None:
        raise FatalActorError(
            f"{path} is sealed with a passphrase: start the node with --ask-passphrase, "
            "--passphrase-file FILE or --passphrase-fd N"
        )
    try:
        return _decode_secrets(unseal(content, passphrase))
    except WrongPassphraseError:
        raise FatalActorError(f"this passphrase does not open {path}; try again with another") from None


def _decode_unsealed(content: bytes) -> IdentitySecrets:
    file = _decode_file(content)
    if hashlib.sha256(file.payload).digest() != file.digest:
        raise MalformedMessageError("digest")
    return _decode_secrets(file.payload)


def _write(
    directory: DataDirectory, secrets: IdentitySecrets, passphrase: bytes | None, costs: Argon2Costs
) -> None:
    """Write the identity to its file, atomically. Raises FatalActorError, MemoryError."""
    payload = encode(secrets)
    if passphrase is not None:
        content = seal(payload, passphrase, costs)
    else:
        digest = hashlib.sha256(payload).digest()
        content = encode(UnsealedFile(_FORMAT, _UNSEALED_VERSION, "none", payload, digest))
    try:
        directory.write(KEY_FILE, content)
    except OSError as error:
        raise FatalActorError(
            f"cannot write {directory.path / KEY_FILE}: {error.strerror}; nothing was changed: "
            "make room, or choose another data directory with --data-dir",
            is_temporary=is_temporary(error),
        ) from None
