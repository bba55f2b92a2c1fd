"""Every secret of a code, of a session, of an identity file and of a store (docs/protocol.md).

Computes what the product computes, from the same inputs, and reads the product's own files and checkpoints.
Never compares: that is forms.py's.
"""

import hashlib
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing, suppress
from pathlib import Path

import msgspec

from spacedrive_node.actors.session.state import restore
from spacedrive_node.actors.vault.device_record import FIELDS, DamagedRecordError, load, unseal
from spacedrive_node.actors.vault.identity_file import KEY_FILE, KeyFile, Seeds
from spacedrive_node.actors.vault.passphrase_seal import WrongPassphraseError
from spacedrive_node.actors.vault.passphrase_seal import unseal as unseal_file
from spacedrive_node.messages.base import MalformedMessageError
from spacedrive_node.protocol import keys
from spacedrive_node.protocol.code import derive, parse_words, words_of
from spacedrive_node.tests.harness.secret_sweep.encodings import Sweep

WORDS, ENTROPY = "words", "code"
OF_CODE = {WORDS, ENTROPY, "root", "rendezvous", "route_key", "auth_key"}
OF_SESSION = {
    "auth_key", "ephemeral", "prk", "pairing_secret",
    "own_decision_key", "other_decision_key", "own_received_key", "other_received_key",
}  # fmt: skip
OF_IDENTITY = {"device seed", "transport seed", "storage key"}
OPEN_HEAD = msgspec.msgpack.encode({"format": "spacedrive-node identity", "version": 1})[1:]
DICE = bytes.fromhex("d1ce17a9c35e8b42f06d9be7")
"""All that the sessions of a node with loaded dice draw in 32 bytes begins with this (dice.py)."""
DATABASE = "devices.db"
COLUMNS = ", ".join(f'"{name}"' for name in FIELDS)


def add_code(sweep: Sweep, code: bytes | str) -> None:
    """The words, the 16 bytes, and what is derived from them. The DHT key of `rendezvous` is public."""
    entropy = parse_words(code) if isinstance(code, str) else code
    sweep.add_words(WORDS, words_of(entropy))
    sweep.add(ENTROPY, entropy)
    root = keys.extract(keys.PROTOCOL_LABEL, entropy)
    rendezvous = keys.expand(root, keys.RENDEZVOUS)
    derived = derive(entropy)
    assert derived.provider_key.endswith(hashlib.sha256(rendezvous).digest())
    sweep.add("root", root)
    sweep.add("rendezvous", rendezvous)
    sweep.add("route_key", derived.route_key)
    sweep.add("auth_key", derived.auth_key)


def add_session(sweep: Sweep, checkpoint: bytes) -> None:
    """All that a session holds: its code, the keys of its attempts, and the pairing secret."""
    session = restore(checkpoint)
    if len(session.code) == 16:
        add_code(sweep, session.code)
    for name, value in _named(session):
        sweep.add(name, value)


def _named(value: object) -> Iterator[tuple[str, bytes]]:
    """The secret fields of a struct and of whatever it holds."""
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


def seeds_in(content: bytes, passphrases: Collection[bytes] = ()) -> Seeds | None:
    """Return what is in an identity file; None: it is not one, or none of the passphrases opens it."""
    with suppress(msgspec.ValidationError, msgspec.DecodeError):
        return msgspec.msgpack.decode(msgspec.msgpack.decode(content, type=KeyFile).payload, type=Seeds)
    for passphrase in passphrases:
        with suppress(WrongPassphraseError, MalformedMessageError):
            return msgspec.msgpack.decode(unseal_file(content, passphrase), type=Seeds)
    return None


def is_open_identity(content: bytes) -> bool:
    """Say whether it begins as an identity without a passphrase does, damaged or not.

    That is the one kind of file that may hold secrets in the clear.
    """
    return content[1:].startswith(OPEN_HEAD)


def add_data(sweep: Sweep, data_dir: Path, passphrases: Collection[bytes] = ()) -> bool:
    """The seeds of an identity, and the pairing secrets of its store. False: it could not be opened."""
    try:
        seeds = seeds_in((data_dir / KEY_FILE).read_bytes(), passphrases)
    except OSError:
        return False
    if seeds is None:
        return False
    sweep.add("device seed", seeds.device)
    sweep.add("transport seed", seeds.transport)
    sweep.add("storage key", seeds.storage)
    for secret in pairing_secrets(data_dir / DATABASE, seeds.storage):
        sweep.add("pairing_secret", secret)
    return True


def pairing_secrets(database: Path, storage_key: bytes) -> list[bytes]:
    """Open what is sealed in a store, looking at it without changing it."""
    found = []
    with suppress(sqlite3.Error):
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=0)) as connection:
            rows = connection.execute(f"SELECT {COLUMNS} FROM devices").fetchall()
        for row in rows:
            with suppress(DamagedRecordError):
                found.append(unseal(load(row, storage_key), storage_key))
    return found
