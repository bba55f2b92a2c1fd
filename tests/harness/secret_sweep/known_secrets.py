"""Every secret of a code, of a session, of an identity file and of a store (docs/protocol.md).

Computes what the product computes, from the same inputs, and reads the product's own files and checkpoints.
Never searches: encodings.py does.
"""

import hashlib
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing, suppress
from pathlib import Path

import msgspec

from spacedrive_node.actors.session.state import restore
from spacedrive_node.actors.vault.device_record import FIELDS, DamagedRecordError, load, unseal
from spacedrive_node.actors.vault.identity_file import KEY_FILE, IdentitySecrets, UnsealedFile
from spacedrive_node.actors.vault.passphrase_seal import WrongPassphraseError
from spacedrive_node.actors.vault.passphrase_seal import unseal as unseal_file
from spacedrive_node.messages.base import MalformedMessageError
from spacedrive_node.protocol import keys
from spacedrive_node.protocol.code import derive, parse_words, words_of
from spacedrive_node.tests.harness.secret_sweep.encodings import SecretSearch

WORDS, ENTROPY = "words", "code"
OF_CODE = {WORDS, ENTROPY, "root", "rendezvous", "route_key", "auth_key"}
OF_SESSION = {
    "auth_key", "ephemeral", "prk", "pairing_secret",
    "own_decision_key", "other_decision_key", "own_received_key", "other_received_key",
}  # fmt: skip
OF_IDENTITY = {"device seed", "transport seed", "storage key"}
OPEN_HEAD = msgspec.msgpack.encode({"format": "spacedrive-node identity", "version": 1})[1:]
FIXED_PREFIX = bytes.fromhex("d1ce17a9c35e8b42f06d9be7")
"""The first bytes of everything that sessions draw in 32 bytes where fixed_randomness.py is loaded."""
DATABASE = "devices.db"
COLUMNS = ", ".join(f'"{name}"' for name in FIELDS)


def add_code(search: SecretSearch, code: bytes | str) -> None:
    """Add the words, the 16 bytes, and what is derived from them. The DHT key of `rendezvous` is public."""
    entropy = parse_words(code) if isinstance(code, str) else code
    search.add_words(WORDS, words_of(entropy))
    search.add(ENTROPY, entropy)
    root = keys.extract(keys.PROTOCOL_LABEL, entropy)
    rendezvous = keys.expand(root, keys.RENDEZVOUS)
    derived = derive(entropy)
    assert derived.provider_key.endswith(hashlib.sha256(rendezvous).digest())
    search.add("root", root)
    search.add("rendezvous", rendezvous)
    search.add("route_key", derived.route_key)
    search.add("auth_key", derived.auth_key)


def add_session(search: SecretSearch, checkpoint: bytes) -> None:
    """Add what a session holds: its code, the keys of its attempts, and the pairing secret."""
    session = restore(checkpoint)
    if len(session.code) == 16:
        add_code(search, session.code)
    for name, value in _named(session):
        search.add(name, value)


def _named(value: object) -> Iterator[tuple[str, bytes]]:
    """Yield the secret fields of a struct and of all that it contains."""
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            field = getattr(value, name)
            if name in OF_SESSION and isinstance(field, bytes):
                yield name, field
            else:
                yield from _named(field)
    elif isinstance(value, dict):
        for field in value.values():
            yield from _named(field)


def seeds_in(content: bytes, passphrases: Collection[bytes] = ()) -> IdentitySecrets | None:
    """Return the seeds in an identity file, None when it is no such file or no passphrase opens it."""
    with suppress(msgspec.ValidationError, msgspec.DecodeError):
        return msgspec.msgpack.decode(
            msgspec.msgpack.decode(content, type=UnsealedFile).payload, type=IdentitySecrets
        )
    for passphrase in passphrases:
        with suppress(WrongPassphraseError, MalformedMessageError):
            return msgspec.msgpack.decode(unseal_file(content, passphrase), type=IdentitySecrets)
    return None


def is_open_identity(content: bytes) -> bool:
    """Return whether a file begins like an identity without a passphrase, damaged or not.

    Only such a file may hold secrets in the clear.
    """
    return content[1:].startswith(OPEN_HEAD)


def add_data(search: SecretSearch, data_dir: Path, passphrases: Collection[bytes] = ()) -> bool:
    """Add the seeds of an identity and the pairing secrets of its store. Return whether it opens."""
    try:
        seeds = seeds_in((data_dir / KEY_FILE).read_bytes(), passphrases)
    except OSError:
        return False
    if seeds is None:
        return False
    search.add("device seed", seeds.device)
    search.add("transport seed", seeds.transport)
    search.add("storage key", seeds.storage)
    for secret in pairing_secrets(data_dir / DATABASE, seeds.storage):
        search.add("pairing_secret", secret)
    return True


def pairing_secrets(database: Path, storage_key: bytes) -> list[bytes]:
    """Return the pairing secrets of a store, which is opened read-only."""
    found = []
    with suppress(sqlite3.Error):
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=0)) as connection:
            rows = connection.execute(f"SELECT {COLUMNS} FROM devices").fetchall()
        for row in rows:
            with suppress(DamagedRecordError):
                found.append(unseal(load(row, storage_key), storage_key))
    return found
