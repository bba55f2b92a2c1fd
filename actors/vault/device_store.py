"""Device records in SQLite, and the journal by which each input takes effect once.

The one place that runs SQL on the tables of database.py. Decides nothing about trust: machine.py does.
Pairing again makes a new *generation* of a device's record; docs/protocol.md, "Ending", says when it replaces
the former one.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from ...messages.base import Decoder, encode
from ...messages.to_gateway import DeviceChanged
from ...messages.to_session import Stored
from ...messages.types import PeerId
from .database import open_database
from .device_record import FIELDS, DamagedRecordError, Record, RecordState, load, seal

MAX_RECORDS = 1024
"""Each is one standing message for the swarm at every start."""
MAX_WAITING = 256
"""Unconfirmed records of one device, as many as sessions run at once by default; the oldest gives way."""
MAX_REPLACED = 64
"""Records of one device that others have replaced; the oldest gives way."""
JOURNAL_ROWS = 4096
"""Inputs remembered. A crash can cut off the last only; the rest serve clients that repeat a request."""

_COLUMNS = ", ".join(f'"{field}"' for field in FIELDS)
_SELECT = f"SELECT {_COLUMNS} FROM devices"  # noqa: S608 -- names of our own struct
_INSERT = f"INSERT INTO devices ({_COLUMNS}) VALUES ({', '.join('?' * len(FIELDS))})"  # noqa: S608


class Effect(msgspec.Struct, frozen=True):
    """What an input did, kept beside it: its answer, and the peers of which something changed."""

    answer: Stored | DeviceChanged | None
    peers: tuple[PeerId, ...]


_decode_effect: Decoder[Effect] = Decoder(Effect)


def no_probe(_point: str) -> None:
    """Do nothing: what production does at every point."""


class Store:
    """The open database. `probe` is called at every point where a crash could fall (tests crash there)."""

    def __init__(self, path: Path, storage_key: bytes, probe: Callable[[str], None] = no_probe) -> None:
        self._storage_key = storage_key
        self._probe = probe
        self._connection = open_database(path)

    def close(self) -> None:
        """Close the file; an open transaction is rolled back."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, durable when it returns. Raises sqlite3.Error, and then nothing has happened."""
        self._run("BEGIN IMMEDIATE")
        try:
            yield
            self._run("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _run(self, sql: str, *args: Any) -> list[tuple[Any, ...]]:
        self._probe(f"before {sql}")
        rows = self._connection.execute(sql, args).fetchall()
        self._probe(f"after {sql}")
        return rows

    # -- journal

    def recall(self, sender: str, id: bytes, kind: str) -> Effect | None:
        """Return what this input did, if it has been handled."""
        rows = self._run(
            "SELECT effect FROM journal WHERE sender = ? AND id = ? AND kind = ?", sender, id, kind
        )
        return _decode_effect(rows[0][0]) if rows else None

    def remember(self, sender: str, id: bytes, kind: str, effect: Effect) -> None:
        """Note what this input did; the oldest notes beyond JOURNAL_ROWS go."""
        self._run(
            "INSERT INTO journal (sender, id, kind, effect) VALUES (?, ?, ?, ?)",
            sender,
            id,
            kind,
            encode(effect),
        )
        self._run("DELETE FROM journal WHERE number <= (SELECT max(number) FROM journal) - ?", JOURNAL_ROWS)

    # -- this device

    def own_name(self) -> str | None:
        """Return the name given to this device, if one was."""
        rows = self._run("SELECT value FROM meta WHERE key = 'device_name'")
        return str(rows[0][0]) if rows else None

    def set_own_name(self, name: str) -> None:
        """Keep the name of this device."""
        self._run("INSERT OR REPLACE INTO meta (key, value) VALUES ('device_name', ?)", name)

    # -- records

    def count(self) -> int:
        """Return how many records there are, damaged ones too."""
        return int(self._run("SELECT count(*) FROM devices")[0][0])

    def find(self, where: str, *args: Any) -> list[Record]:
        """Return the whole records that match, by generation; `where` is SQL of this package, never input."""
        return self._find(f"{_SELECT} WHERE {where} ORDER BY generation", *args)[0]

    def everything(self) -> tuple[list[Record], int]:
        """Return all whole records, and how many are damaged."""
        return self._find(f"{_SELECT} ORDER BY device_id, generation")

    def _find(self, sql: str, *args: Any) -> tuple[list[Record], int]:
        records, damaged = [], 0
        for row in self._run(sql, *args):
            try:
                records.append(load(row, self._storage_key))
            except DamagedRecordError:
                damaged += 1
        return records, damaged

    def of_peer(self, peer: bytes, *states: RecordState) -> list[Record]:
        """Return the records of a transport identity that are in one of these states; by default all."""
        return self._in_state("peer = ?", peer, states)

    def of_device(self, device_id: bytes, *states: RecordState) -> list[Record]:
        """Return the generations of a device that are in one of these states; by default all."""
        return self._in_state("device_id = ?", device_id, states)

    def _in_state(self, where: str, value: bytes, states: tuple[RecordState, ...]) -> list[Record]:
        if not states:
            return self.find(where, value)
        return self.find(f"{where} AND state IN ({', '.join('?' * len(states))})", value, *states)

    def label(self, device_id: bytes) -> str | None:
        """Return the name that a device has on this node, if it was given one."""
        rows = self._run(
            "SELECT label FROM devices WHERE device_id = ? ORDER BY generation DESC LIMIT 1", device_id
        )
        return rows[0][0] if rows else None

    def page(self, after: bytes, limit: int) -> tuple[list[Record], bool]:
        """Return one record for each of the next `limit` devices after an id, and whether others follow.

        The paired one stands for a device; else its latest.
        """
        sql = (
            f"{_SELECT} WHERE device_id > ? AND state != 'replaced'"
            " ORDER BY device_id, state = 'paired' DESC, generation DESC"
        )
        page: list[Record] = []
        for record in self._find(sql, after)[0]:
            if page and page[-1].device_id == record.device_id:
                continue
            if len(page) == limit:
                return page, True
            page.append(record)
        return page, False

    def add(self, record: Record, secret: bytes) -> None:
        """Insert a record (its generation is chosen here) with the secret sealed."""
        last = self._run("SELECT seq FROM sqlite_sequence WHERE name = 'devices'")
        record = msgspec.structs.replace(record, generation=last[0][0] + 1 if last else 1)
        record = msgspec.structs.replace(record, secret=seal(record, secret, self._storage_key))
        self._run(_INSERT, *(getattr(record, field) for field in FIELDS))

    def clock(self) -> int:
        """Return the greatest order of any pairing that is stored."""
        return int(self._run('SELECT coalesce(max("order"), 0) FROM devices')[0][0])

    def complete(self, generation: int, at: float) -> None:
        """Note that a pairing is complete; its record is `replaced` until it is put to use."""
        self._run("UPDATE devices SET state = 'replaced', paired_at = ? WHERE generation = ?", at, generation)

    def use(self, record: Record) -> None:
        """Make a completed record the paired one of its device, in place of any other."""
        self._run(
            "UPDATE devices SET state = 'replaced' WHERE device_id = ? AND state = 'paired'",
            record.device_id,
        )
        self._run("UPDATE devices SET state = 'paired' WHERE generation = ?", record.generation)
        self._run(
            "DELETE FROM devices WHERE device_id = ? AND state = 'replaced' AND generation NOT IN"
            " (SELECT generation FROM devices WHERE device_id = ? AND state = 'replaced'"
            " ORDER BY generation DESC LIMIT ?)",
            record.device_id,
            record.device_id,
            MAX_REPLACED,
        )

    def drop_replaced(self) -> bool:
        """Delete the oldest record that another has replaced, to make room; False if there is none."""
        rows = self._run(
            "DELETE FROM devices WHERE generation ="
            " (SELECT min(generation) FROM devices WHERE state = 'replaced') RETURNING generation"
        )
        return bool(rows)

    def set_label(self, device_id: bytes, label: str) -> None:
        """Give a device another name on this node."""
        self._run("UPDATE devices SET label = ? WHERE device_id = ?", label, device_id)

    def remove(self, generation: int) -> None:
        """Delete one record."""
        self._run("DELETE FROM devices WHERE generation = ?", generation)

    def forget(self, device_id: bytes) -> list[bytes] | None:
        """Delete every record of a device, damaged ones too; return their peers, None if there was none."""
        rows = self._run("DELETE FROM devices WHERE device_id = ? RETURNING peer", device_id)
        return list(dict.fromkeys(row[0] for row in rows)) if rows else None
