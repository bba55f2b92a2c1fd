"""The data directory, the identity file and the database: private, whole, or refused with advice."""

import os
import sqlite3
import stat
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from spacedrive_node.actors.base import FatalActorError
from spacedrive_node.actors.vault import identity_file
from spacedrive_node.actors.vault.actor import open_vault
from spacedrive_node.actors.vault.data_directory import DataDirectory
from spacedrive_node.actors.vault.database import MIGRATIONS, migrate, open_database
from spacedrive_node.actors.vault.device_info import FALLBACK_NAME, choose_name
from spacedrive_node.messages.actor_configs import VaultConfig
from spacedrive_node.messages.to_gateway import NodeIdentity


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _refused(host: Any, text: str) -> None:
    with pytest.raises(FatalActorError, match=text):
        host.open()
    host.close()


def test_everything_is_private(host: Any, other: Any) -> None:
    """The directories that were made are 0700, each file 0600, whatever the umask."""
    pairing = other.pairing()
    host.admit(pairing)
    host.request(pairing.sender, pairing.store())
    assert _mode(host.data_dir) == _mode(host.data_dir.parent) == 0o700
    names = {path.name: _mode(path) for path in host.data_dir.iterdir()}
    assert set(names) >= {"lock", "identity.key", "devices.db", "devices.db-wal"}
    assert set(names.values()) == {0o600}


def test_secrets_are_not_in_the_database(host: Any, other: Any) -> None:
    """Neither a pairing secret nor a seed stands in the files of the store; nor in anything's repr."""
    pairing = other.pairing()
    host.admit(pairing)
    host.request(pairing.sender, pairing.store())
    keys = host.vault._identity
    (record,) = host.vault._store.records_of_device(other.device_id)
    shown = repr(keys) + repr(record)
    host.close()
    for path in host.data_dir.glob("devices.db*"):
        content = path.read_bytes()
        assert pairing.secret not in content
        assert keys.storage_key not in content
    assert keys.storage_key.hex() not in shown
    assert repr(keys.storage_key) not in shown


def test_a_second_vault_is_refused_until_the_first_is_gone(host: Any, new_host: Any) -> None:
    """One node to a directory."""
    second = new_host(host.data_dir)
    _refused(second, "in use by another node; choose another with --data-dir")
    host.close()
    second.open()
    second.close()


def test_a_readable_or_damaged_identity_is_refused(host: Any) -> None:
    """Wider permissions, a flipped bit, a cut, a link, a newer version: refused with advice, not replaced."""
    path = host.data_dir / "identity.key"
    whole = path.read_bytes()
    host.close()
    for mode in (0o640, 0o604, 0o660):
        path.chmod(mode)
        _refused(host, "chmod 600")
    path.chmod(0o600)
    flipped = bytearray(whole)
    flipped[-40] ^= 1
    for content in (bytes(flipped), whole[:-1], b"", whole + b"\0", b"\x80"):
        path.write_bytes(content)
        _refused(host, "damaged; restore it from a backup")
        assert path.read_bytes() == content
    path.write_bytes(whole.replace(b"\xa7version\x01", b"\xa7version\x03"))
    _refused(host, "newer program")
    elsewhere = host.data_dir / "elsewhere"
    elsewhere.write_bytes(whole)
    elsewhere.chmod(0o600)
    path.unlink()
    path.symlink_to(elsewhere)
    _refused(host, "symbolic link; put the file itself there")
    path.unlink()
    path.mkdir()
    _refused(host, "not a plain file")
    path.rmdir()
    _refused(host, "missing, but devices were stored with it")
    elsewhere.rename(path)
    host.open()


def test_the_identity_file_is_whole_or_absent(
    tmp_path: Path, new_host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dying at any call of the write leaves no file under the final name, and the next start makes one."""
    for call in ("fsync", "rename"):
        host = new_host(tmp_path / call)

        def fail(*_args: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(f"spacedrive_node.actors.vault.data_directory.os.{call}", fail)
            if call == "fsync":
                patch.setattr(
                    "spacedrive_node.actors.vault.data_directory.sync_directory", lambda _path: None
                )
            with pytest.raises(KeyboardInterrupt):
                host.open()
        host.close()
        assert [path.name for path in host.data_dir.iterdir()] == ["lock"]
        (host.data_dir / "identity.key.new").write_bytes(b"of an attempt that was cut off")
        host.open()
        assert not (host.data_dir / "identity.key.new").exists()
        host.close()


def test_a_directory_that_others_can_change_is_refused(tmp_path: Path, new_host: Any) -> None:
    """Whoever can rename files in it could exchange the identity."""
    host = new_host(tmp_path / "open")
    host.data_dir.mkdir()
    host.data_dir.chmod(0o777)
    _refused(host, "chmod 700")
    blocked = new_host(tmp_path / "file")
    blocked.data_dir.write_text("")
    _refused(blocked, "choose another with --data-dir")


def test_a_damaged_database_is_refused(host: Any) -> None:
    """It is neither replaced nor used."""
    host.close()
    path = host.data_dir / "devices.db"
    path.write_bytes(b"not a database at all" * 100)
    _refused(host, "damaged; restore it from a backup")
    path.chmod(0o644)
    _refused(host, "chmod 600")


@pytest.mark.parametrize("file", ["devices.db", "devices.db-shm"])
def test_a_database_that_cannot_be_opened_is_refused_with_advice(host: Any, file: str) -> None:
    """The system's own words do not say what to do: a full disk is a `disk I/O error` to SQLite."""
    host.close()
    place = host.data_dir / file
    place.unlink(missing_ok=True)
    place.mkdir()
    _refused(host, "devices.db.*; see that its disk has room")


def test_tampered_rows_are_never_used(host: Any, other: Any) -> None:
    """Any changed field, or a secret moved between rows: not listed, not announced; counted, removable."""
    changes = {
        "peer": b"\x12\x20" + bytes(32),
        "public_key": bytes(32),
        "device_id": bytes(16),
        "decision": b"x",
        "expected_mac": bytes(32),
        "reply": b"y",
        "th3": bytes(32),
        "secret": bytes(60),
        "name": "Mallory",
        "generation": 77,
        "stored_at": 1e12,
    }
    path = host.data_dir / "devices.db"
    pairing = other.pairing()
    host.admit(pairing)
    host.request(pairing.sender, pairing.store())
    for field, value in changes.items():
        with sqlite3.connect(path) as connection:
            (former,) = connection.execute(f"SELECT {field} FROM devices").fetchone()
            connection.execute(f"UPDATE devices SET {field} = ?", (value,))
        connection.close()
        host.known.clear()
        out = host.restart().out
        assert host.devices() == (), field
        assert host.known == {}
        assert any("1 damaged" in getattr(send.message, "detail", "") for send in out)
        with sqlite3.connect(path) as connection:
            connection.execute(f"UPDATE devices SET {field} = ?", (former,))
        connection.close()
        assert len(host.devices()) == 1


def test_migrations_are_applied_once_and_whole(tmp_path: Path) -> None:
    """A migration that fails leaves the former version; a database from the future is refused."""
    path = tmp_path / "devices.db"
    connection = open_database(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    broken = (*MIGRATIONS, ("CREATE TABLE more (x)", "no such statement"))
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, broken, path)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    assert connection.execute("SELECT * FROM sqlite_master WHERE name = 'more'").fetchall() == []
    migrate(connection, (*MIGRATIONS, ("CREATE TABLE more (x)",)), path)
    connection.close()
    with pytest.raises(FatalActorError, match="newer program"):
        open_database(path)


def test_names_are_made_to_fit() -> None:
    """Whatever the host is called, the name keeps the rules that the other side checks."""
    assert choose_name("  a\u202eb\n") == "ab"
    assert choose_name("e\u0301") == "é"
    assert choose_name("x" * 100) == "x" * 64
    assert choose_name("\x00", None, " ", "host") == "host"
    assert choose_name("\u3164") == FALLBACK_NAME
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    assert choose_name(family) == family
    assert choose_name(f"a\u200db {family}\u200d") == f"ab {family}"
    assert choose_name("x" * 62 + family) == "x" * 62 + family[:1]


def test_the_configured_name_is_kept(tmp_path: Path) -> None:
    """Given once, it stays when it is not given any more."""

    def name(configured: str | None) -> str:
        with ExitStack() as resources:
            config = VaultConfig(data_dir=str(tmp_path / "d"), device_name=configured)
            effects = open_vault(config, None, resources).first(0.0)
            return next(send.message.name for send in effects.out if isinstance(send.message, NodeIdentity))

    assert name(None)
    assert name("Cellar") == "Cellar"
    assert name(None) == "Cellar"
    assert name(" e\u0301 ") == "é"
    for wrong, why in (("\u3164", "blank"), ("a\u202eb", "U\\+202E"), ("\x00", "U\\+0000")):
        with pytest.raises(FatalActorError, match=why):
            name(wrong)


def test_key_objects_show_nothing(tmp_path: Path) -> None:
    """The repr of what holds seeds names none of them."""
    directory = DataDirectory(tmp_path)
    identity_file.open_identity(directory, may_create=True)
    content = directory.read("identity.key")
    assert content is not None
    file = identity_file._decode_file(content)
    seeds = identity_file._decode_secrets(file.payload)
    for secret in (seeds.device, seeds.transport, seeds.storage):
        assert repr(secret) not in repr(file) + repr(seeds)
    directory.close()
    assert os.listdir(tmp_path)
