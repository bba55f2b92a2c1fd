"""The SQLite file: opened with private permissions, checked for damage, and migrated to the current schema.

Owns the connection's settings and the schema. Never reads or writes a row: device_store.py knows what rows
mean. A change of the schema is one more entry at the end of MIGRATIONS; a released entry is never edited.
"""

import os
import sqlite3
from pathlib import Path

from ...messages.errors import is_temporary
from ..base import FatalActorError
from .data_directory import check_private

DATABASE_FILE = "devices.db"
_BUSY_TIMEOUT_S = 1.0
"""How long to wait for another process that has the file locked; far below the heartbeat's time-out."""

_ADVICE = "see that its disk has room, and that the node's user may write there"
"""SQLite says `disk I/O error` also of a disk that is full, and `readonly` of a file that it cannot make."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
        # One row for each pairing with a device. Of one device at most one row is paired; unconfirmed ones
        # may wait beside it, and replaced ones are kept to answer repeats.
        """CREATE TABLE devices (
            generation INTEGER PRIMARY KEY AUTOINCREMENT,
            device_id BLOB NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('unconfirmed', 'paired', 'replaced')),
            session TEXT NOT NULL,
            th3 BLOB NOT NULL,
            peer BLOB NOT NULL,
            public_key BLOB NOT NULL,
            name TEXT NOT NULL,
            label TEXT,
            os TEXT NOT NULL,
            app_version TEXT NOT NULL,
            fingerprint TEXT NOT NULL,
            stored_at REAL NOT NULL,
            paired_at REAL,
            "order" INTEGER NOT NULL,
            decision BLOB NOT NULL,
            expected_mac BLOB NOT NULL,
            peer_decision BLOB NOT NULL,
            reply BLOB NOT NULL,
            secret BLOB NOT NULL
        ) STRICT""",
        "CREATE UNIQUE INDEX devices_paired ON devices (device_id) WHERE state = 'paired'",
        "CREATE UNIQUE INDEX devices_transcript ON devices (device_id, th3)",
        "CREATE INDEX devices_peer ON devices (peer)",
        """CREATE TABLE journal (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            sender TEXT NOT NULL,
            id BLOB NOT NULL,
            kind TEXT NOT NULL,
            effect BLOB NOT NULL,
            UNIQUE (sender, id, kind)
        ) STRICT""",
    ),
    (
        "ALTER TABLE devices ADD COLUMN replaced_at REAL",
        "UPDATE devices SET replaced_at = CAST(strftime('%s', 'now') AS REAL) WHERE state = 'replaced'",
        """INSERT INTO meta (key, value) SELECT 'clock', coalesce(max("order"), 0) FROM devices""",
        # Devices that were forgotten while sessions run: what was signed before may still be stored for them.
        """CREATE TABLE forgotten (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            device_id BLOB NOT NULL UNIQUE
        ) STRICT""",
    ),
)
"""The statements from each version of the schema to the next; PRAGMA user_version counts the applied ones."""


def open_database(path: Path) -> sqlite3.Connection:
    """Open or create the database, with every commit durable. Raises FatalActorError with advice."""
    try:
        # SQLite creates its files beside this one (-wal, -shm) with the mode of this one.
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            check_private(path, os.fstat(fd))
        finally:
            os.close(fd)
        connection = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_TIMEOUT_S)
    except OSError as error:
        raise FatalActorError(
            f"cannot open {path}: {error.strerror}; {_ADVICE}", is_temporary=is_temporary(error)
        ) from None
    except sqlite3.Error as error:
        raise FatalActorError(f"cannot open {path}: {error}; {_ADVICE}", is_temporary=True) from None
    try:
        _prepare(connection, path)
    except sqlite3.OperationalError as error:
        connection.close()
        raise FatalActorError(f"cannot use {path}: {error}; {_ADVICE}", is_temporary=True) from None
    except sqlite3.DatabaseError:
        connection.close()
        raise FatalActorError(
            f"{path} is damaged; restore it from a backup, or move it away and pair the devices again"
        ) from None
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")  # overwrite the secret of a forgotten device
    connection.execute("PRAGMA trusted_schema = OFF")
    if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
        raise sqlite3.DatabaseError("quick_check")
    migrate(connection, MIGRATIONS, path)
    # The log may still hold records that were deleted just before the vault was killed.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def migrate(connection: sqlite3.Connection, migrations: tuple[tuple[str, ...], ...], path: Path) -> None:
    """Apply the missing migrations, each in one transaction. Raises FatalActorError, sqlite3.Error."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(migrations):
        raise FatalActorError(f"{path} has version {version}, made by a newer program; update this one")
    for number, statements in enumerate(migrations[version:], start=version + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
