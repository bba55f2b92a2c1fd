"""The device records in SQLite, and the journal that makes each input take effect once.

Owns all SQL on the tables of database.py. Every pairing with a device is a record of its own, numbered by its
generation; docs/protocol.md, "Which pairing is in use", defines which one counts. Never decides about trust:
machine.py, admission.py and records_in_use.py do.

The journal. An input that changes the store comes again if the vault is killed after its commit but before
its Step reached the supervisor, or if a client repeats a request. So the record of the input is written in
the same transaction as its effect: either both are there or neither. When the input comes again, its record
is found, and the recorded effect is answered instead of being applied a second time.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from ...messages.base import Decoder, encode
from ...messages.to_gateway import DeviceChanged
from ...messages.to_session import Stored
from ...messages.types import PeerId
from .database import open_database
from .device_record import FIELDS, DamagedRecordError, Record, RecordState, load, seal
from .store_files import StoreFiles

MAX_RECORDS = 1024
"""Each may need one standing message to the swarm at every start."""
MAX_UNCONFIRMED_PER_DEVICE = 256
"""As many as sessions run at once by default; beyond, nothing more is stored for the device."""
MAX_REPLACED_PER_DEVICE = 64
"""Beyond, the oldest is deleted."""
MAX_FORGOTTEN = 1024
"""Beyond, a session that began before all of them may store nothing."""
MAX_JOURNAL_ROWS = 4096
"""Beyond, the oldest is deleted. A crash concerns only the last; the others are for repeats by clients."""

_TRIAL_CHARACTERS = 32 * 1024
_DELETE = "DELETE FROM devices"
_COLUMNS = ", ".join(f'"{field}"' for field in FIELDS)
_SELECT = f"SELECT {_COLUMNS} FROM devices"  # noqa: S608 -- the fields of Record
_INSERT = f"INSERT INTO devices ({_COLUMNS}) VALUES ({', '.join('?' * len(FIELDS))})"  # noqa: S608


class RecordedEffect(msgspec.Struct, frozen=True):
    """What an input did, as the journal keeps it: its answer, and the peers whose records changed."""

    answer: Stored | DeviceChanged | None
    peers: tuple[PeerId, ...]


_decode_effect: Decoder[RecordedEffect] = Decoder(RecordedEffect)


def no_probe(_point: str) -> None:
    """Do nothing. Tests pass a function that crashes instead."""


class DeviceStore:
    """The open database. `probe` is called before and after every statement, where a crash can happen."""

    def __init__(self, path: Path, storage_key: bytes, probe: Callable[[str], None] = no_probe) -> None:
        self._storage_key = storage_key
        self._probe = probe
        self._connection = open_database(path)
        self.files = StoreFiles(path)
        self._has_deleted = False
        """Whether records were deleted whose bytes may still be in the write-ahead log."""

    def close(self) -> None:
        """Close the file. A transaction that is still open is rolled back."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Apply everything in the block, durably, or nothing of it.

        Raises sqlite3.Error or StoreReplacedError: then nothing.
        """
        self.files.check()
        self._run("BEGIN IMMEDIATE")
        try:
            yield
            self.files.check()
            self._run("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        if self._has_deleted:
            self._clean_log()

    def _clean_log(self) -> None:
        """Leave nothing of deleted records in any file.

        The pages of the database are overwritten (PRAGMA secure_delete), but the log keeps the former ones.
        What cannot be cleaned now is cleaned after the next transaction or at the next start.
        """
        with suppress(sqlite3.OperationalError):
            busy, _in_log, _moved = self._run("PRAGMA wal_checkpoint(TRUNCATE)")[0]
            self._has_deleted = bool(busy)

    def try_to_write(self) -> None:
        """Write as much as a pairing needs, and delete it again. Raises sqlite3.Error, StoreReplacedError."""
        with self.transaction():
            self._run("INSERT OR REPLACE INTO meta (key, value) VALUES ('trial', ?)", "0" * _TRIAL_CHARACTERS)
        with self.transaction():
            self._run("DELETE FROM meta WHERE key = 'trial'")

    def _run(self, sql: str, *args: Any) -> list[tuple[Any, ...]]:
        self._probe(f"before {sql}")
        cursor = self._connection.execute(sql, args)
        rows = cursor.fetchall()
        if cursor.rowcount > 0 and sql.startswith(_DELETE):
            self._has_deleted = True
        self._probe(f"after {sql}")
        return rows

    # -- journal

    def recorded_effect(self, sender: str, id: bytes, kind: str) -> RecordedEffect | None:
        """Return what this input did, or None if it has not been applied yet."""
        rows = self._run(
            "SELECT effect FROM journal WHERE sender = ? AND id = ? AND kind = ?", sender, id, kind
        )
        return _decode_effect(rows[0][0]) if rows else None

    def record_effect(self, sender: str, id: bytes, kind: str, effect: RecordedEffect) -> None:
        """Record what this input did, in the transaction in which it did it."""
        self._run(
            "INSERT INTO journal (sender, id, kind, effect) VALUES (?, ?, ?, ?)",
            sender,
            id,
            kind,
            encode(effect),
        )
        self._run(
            "DELETE FROM journal WHERE number <= (SELECT max(number) FROM journal) - ?", MAX_JOURNAL_ROWS
        )

    # -- this device

    def own_name(self) -> str | None:
        """Return the name that the user gave to this device, None if there is none."""
        rows = self._run("SELECT value FROM meta WHERE key = 'device_name'")
        return str(rows[0][0]) if rows else None

    def set_own_name(self, name: str) -> None:
        """Store the name of this device."""
        self._run("INSERT OR REPLACE INTO meta (key, value) VALUES ('device_name', ?)", name)

    # -- records

    def count(self) -> int:
        """Return the number of records, damaged ones included."""
        return int(self._run("SELECT count(*) FROM devices")[0][0])

    @property
    def change_count(self) -> int:
        """How many rows have been changed since the store was opened."""
        return self._connection.total_changes

    def count_devices(self) -> dict[str, int]:
        """Return the number of devices by the state in which the list shows them (:meth:`page`)."""
        paired, all_devices = self._run(
            "SELECT count(DISTINCT CASE state WHEN 'paired' THEN device_id END), count(DISTINCT device_id)"
            " FROM devices WHERE state != 'replaced'"
        )[0]
        return {"paired": paired, "unconfirmed": all_devices - paired}

    def all_records(self) -> tuple[list[Record], int]:
        """Return all undamaged records, and the number of damaged ones."""
        return self._load(f"{_SELECT} ORDER BY device_id, generation")

    def records_of_peer(self, peer: bytes, *states: RecordState) -> list[Record]:
        """Return the records of a peer that are in one of these states; without states, all of them."""
        return self._in_states("peer = ?", peer, states)

    def has_peer(self, peer: bytes) -> bool:
        """Return whether there is any record of this peer, damaged ones included."""
        return bool(self._run("SELECT 1 FROM devices WHERE peer = ? LIMIT 1", peer))

    def records_of_device(self, device_id: bytes, *states: RecordState) -> list[Record]:
        """Return the records of a device that are in one of these states; without states, all of them."""
        return self._in_states("device_id = ?", device_id, states)

    def records_of_transcript(self, device_id: bytes, th3: bytes) -> list[Record]:
        """Return the record of this very pairing with a device, if it is stored: none or one."""
        return self._select("device_id = ? AND th3 = ?", device_id, th3)

    def records_of_session(self, session: str, th3: bytes) -> list[Record]:
        """Return the records that a session has stored for a transcript."""
        return self._select("session = ? AND th3 = ?", session, th3)

    def unconfirmed_of_session(self, session: str) -> list[Record]:
        """Return the `unconfirmed` records that a session has stored."""
        return self._select("session = ? AND state = 'unconfirmed'", session)

    def records_of_decision(self, peer: bytes, frame: bytes) -> list[Record]:
        """Return the records for which `peer` sent exactly this PairingDecision frame."""
        return self._select("peer = ? AND peer_decision = ?", peer, frame)

    def outdated_records(self, before: float) -> list[Record]:
        """Return the `replaced` records whose place was taken before this Unix time."""
        return self._select("state = 'replaced' AND replaced_at < ?", before)

    def _in_states(self, where: str, value: bytes, states: tuple[RecordState, ...]) -> list[Record]:
        if not states:
            return self._select(where, value)
        return self._select(f"{where} AND state IN ({', '.join('?' * len(states))})", value, *states)

    def _select(self, where: str, *args: Any) -> list[Record]:
        return self._load(f"{_SELECT} WHERE {where} ORDER BY generation", *args)[0]

    def _load(self, sql: str, *args: Any) -> tuple[list[Record], int]:
        """Return the undamaged records in the rows of a query, and the number of damaged ones."""
        records, damaged = [], 0
        for row in self._run(sql, *args):
            try:
                records.append(load(row, self._storage_key))
            except DamagedRecordError:
                damaged += 1
        return records, damaged

    def label(self, device_id: bytes) -> str | None:
        """Return the name that the user has given to a device here, None if there is none."""
        rows = self._run(
            "SELECT label FROM devices WHERE device_id = ? ORDER BY generation DESC LIMIT 1", device_id
        )
        return rows[0][0] if rows else None

    def page(self, after: bytes, limit: int) -> tuple[list[Record], bool]:
        """Return one record for each of the `limit` devices that follow an id, and whether there are more.

        It is the paired record of the device, or else its latest.
        """
        sql = (
            f"{_SELECT} WHERE device_id > ? AND state != 'replaced'"
            " ORDER BY device_id, state = 'paired' DESC, generation DESC"
        )
        page: list[Record] = []
        for record in self._load(sql, after)[0]:
            if page and page[-1].device_id == record.device_id:
                continue
            if len(page) == limit:
                return page, True
            page.append(record)
        return page, False

    def add(self, record: Record, secret: bytes) -> None:
        """Insert a record, with the next generation as its number, and with its pairing secret sealed."""
        last = self._run("SELECT seq FROM sqlite_sequence WHERE name = 'devices'")
        record = msgspec.structs.replace(record, generation=last[0][0] + 1 if last else 1)
        record = msgspec.structs.replace(record, secret=seal(record, secret, self._storage_key))
        self._run(_INSERT, *(getattr(record, field) for field in FIELDS))

    def clock(self) -> int:
        """Return this device's clock (protocol/pairing_clock.py)."""
        return int(self._run("SELECT value FROM meta WHERE key = 'clock'")[0][0])

    def set_clock(self, clock: int) -> None:
        """Store this device's clock."""
        self._run("UPDATE meta SET value = ? WHERE key = 'clock'", str(clock))

    def mark_complete(self, generation: int, at: float) -> None:
        """Record that a pairing is complete; the record is `replaced` unless :meth:`put_in_use` follows."""
        self._run(
            "UPDATE devices SET state = 'replaced', paired_at = ?, replaced_at = ? WHERE generation = ?",
            at,
            at,
            generation,
        )

    def put_in_use(self, record: Record, at: float) -> None:
        """Make a complete record the `paired` one of its device, in place of any other."""
        self._run(
            "UPDATE devices SET state = 'replaced', replaced_at = ? WHERE device_id = ? AND state = 'paired'",
            at,
            record.device_id,
        )
        self._run(
            "UPDATE devices SET state = 'paired', replaced_at = NULL WHERE generation = ?", record.generation
        )
        self._run(
            "DELETE FROM devices WHERE device_id = ? AND state = 'replaced' AND generation NOT IN"
            " (SELECT generation FROM devices WHERE device_id = ? AND state = 'replaced'"
            " ORDER BY generation DESC LIMIT ?)",
            record.device_id,
            record.device_id,
            MAX_REPLACED_PER_DEVICE,
        )

    def delete_oldest_replaced(self) -> bool:
        """Delete the oldest `replaced` record of any device, to make room. Returns False if there is none."""
        rows = self._run(
            "DELETE FROM devices WHERE generation ="
            " (SELECT min(generation) FROM devices WHERE state = 'replaced') RETURNING generation"
        )
        return bool(rows)

    def set_label(self, device_id: bytes, label: str) -> None:
        """Give a device a name that only this node uses."""
        self._run("UPDATE devices SET label = ? WHERE device_id = ?", label, device_id)

    def delete(self, generation: int) -> None:
        """Delete one record."""
        self._run("DELETE FROM devices WHERE generation = ?", generation)

    def delete_device(self, device_id: bytes) -> list[bytes] | None:
        """Delete every record of a device, damaged ones included.

        Returns the peers that they belonged to, None if there was no record.
        """
        rows = self._run("DELETE FROM devices WHERE device_id = ? RETURNING peer", device_id)
        return list(dict.fromkeys(row[0] for row in rows)) if rows else None

    # -- devices that were forgotten while sessions run

    def forgettings(self) -> int:
        """Return how many times a device was forgotten while sessions ran."""
        rows = self._run("SELECT seq FROM sqlite_sequence WHERE name = 'forgotten'")
        return int(rows[0][0]) if rows else 0

    def record_forgetting(self, device_id: bytes) -> None:
        """Record that a device was forgotten now."""
        self._run("INSERT OR REPLACE INTO forgotten (device_id) VALUES (?)", device_id)
        self._run("DELETE FROM forgotten WHERE number <= ?", self.forgettings() - MAX_FORGOTTEN)

    def was_forgotten_since(self, device_id: bytes, number: int) -> bool:
        """Return whether a device was forgotten after :meth:`forgettings` was `number`, or may have been."""
        rows = self._run("SELECT number FROM forgotten WHERE device_id = ?", device_id)
        return (bool(rows) and rows[0][0] > number) or self.forgettings() - MAX_FORGOTTEN > number

    def any_forgotten(self) -> bool:
        """Return whether the id of a forgotten device is kept."""
        return bool(self._run("SELECT 1 FROM forgotten LIMIT 1"))

    def clear_forgotten(self) -> None:
        """Delete the ids of forgotten devices: no session runs that could store for them."""
        self._run("DELETE FROM forgotten")
