"""The memory of peers that were of use, and its file: SQLite beside the devices, which may be lost any time.

A node that starts again knows servers without asking those that its user has named (docs/decisions/0016). It
is a file of its own, so that nothing which befalls it touches the devices: a damaged one is replaced by an
empty one, one that cannot be written is written later, and none of it is durable. It is open only while it is
read or written. Owns the SQL; what is remembered is peer_scores.py's. Never keeps anything of a code.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from ...messages.child_protocol import Log
from ...messages.to_swarm import RecalledPeers
from ...messages.to_vault import PeersBehaved
from ...messages.types import FewAddresses
from ..base import FatalActorError, log_frame
from .data_directory import check_private
from .peer_scores import Entry, Key, PeerMemory

PEERS_FILE: Final = "peers.db"
_VERSION: Final = 1
_DAY_S: Final = 86_400
_PEERS_PER_MESSAGE: Final = 128
_MAX_ROWS: Final = 1024
"""Rows that are read; a file of this program has fewer."""
_CACHE_KIB: Final = 64
_BUSY_TIMEOUT_S: Final = 0.2
_TABLE = """CREATE TABLE peers (
    kind TEXT NOT NULL,
    protocol TEXT NOT NULL,
    peer BLOB NOT NULL,
    addresses BLOB NOT NULL,
    score REAL NOT NULL,
    day INTEGER NOT NULL,
    PRIMARY KEY (kind, protocol, peer)
) STRICT, WITHOUT ROWID"""
"""Without numbers of rows, which would tell the order in which peers became known."""
_READ = "SELECT kind, protocol, peer, addresses, score, day FROM peers LIMIT ?"
_PUT = "INSERT OR REPLACE INTO peers (kind, protocol, peer, addresses, score, day) VALUES (?, ?, ?, ?, ?, ?)"
_REMOVE = "DELETE FROM peers WHERE kind = ? AND protocol = ? AND peer = ?"
_CANNOT_USE = (sqlite3.Error, OSError, FatalActorError)

_encode_addresses = msgspec.msgpack.Encoder().encode
_decode_addresses = msgspec.msgpack.Decoder(FewAddresses).decode


class RememberedPeers:
    """The memory of one vault. No method raises because of the file: then the memory is this process's.

    `wall` returns Unix time, `probe` is called around every statement (device_store.DeviceStore).
    """

    def __init__(
        self,
        path: Path,
        is_trusted: Callable[[bytes], bool],
        probe: Callable[[str], None],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._is_trusted = is_trusted
        self._probe = probe
        self._wall = wall
        self._problem = ""
        self._logs: list[Log] = []
        self._loaded: PeerMemory | None = None

    @property
    def _memory(self) -> PeerMemory:
        """The memory. It is read when it is used first, because a starting node waits for its vault."""
        if self._loaded is None:
            self._loaded = self._read()
            self.forget_devices()
        return self._loaded

    def report(self, message: PeersBehaved) -> None:
        """Take in what peers did; of devices only those whose peer is trusted."""
        with suppress(sqlite3.Error):  # the store of devices cannot be read, so nobody is trusted now
            for report in message.reports:
                if report.kind != "device" or self._is_trusted(report.peer):
                    self._memory.report(report, message.dht_protocol, self._today())
        self._write()

    def recall(self, protocol: str) -> list[RecalledPeers]:
        """Return the messages for the swarm: one at least."""
        peers = self._memory.recall(protocol, self._today(), os.urandom(16))
        starts = range(0, max(len(peers), 1), _PEERS_PER_MESSAGE)
        return [RecalledPeers(tuple(peers[start : start + _PEERS_PER_MESSAGE])) for start in starts]

    def forget_devices(self) -> None:
        """Forget where devices are that are not trusted any more: nothing of them stays in the file."""
        with suppress(sqlite3.Error):  # likewise; it is done again at the next start
            self._memory.keep_devices(self._is_trusted)
        self._write()

    def tidy(self) -> None:
        """Write what could not be written before, if the memory is in use."""
        if self._loaded is not None:
            self.forget_devices()

    def take_logs(self) -> list[Log]:
        """Return the lines for the log that have come together since."""
        logs, self._logs = self._logs, []
        return logs

    def _today(self) -> int:
        return max(int(self._wall()) // _DAY_S, 0)

    # -- the file

    def _is_there(self) -> bool:
        try:
            os.stat(self._path)
        except OSError:
            return False
        return True

    def _read(self) -> PeerMemory:
        """Read the file, if there is one. A damaged one is removed."""
        if not self._is_there():
            return PeerMemory()
        try:
            with self._open() as connection:
                if self._run(connection, "PRAGMA quick_check(1)") != [("ok",)]:
                    raise sqlite3.DatabaseError("quick_check")
                rows = self._run(connection, _READ, _MAX_ROWS)
        except _CANNOT_USE as error:
            self._fail(error)
            return PeerMemory()
        return PeerMemory(_entries(rows), self._today())

    def _write(self) -> None:
        """Write what has changed, or leave it for the next time."""
        memory = self._memory
        if not (memory.changed or memory.removed):
            return
        if not self._is_there():  # new, or lost while this process runs
            memory.rewrite()
            if not memory.changed:
                memory.written()
                return
        try:
            self._write_rows(memory.changed.values(), memory.removed)
        except _CANNOT_USE as error:
            self._fail(error)
        else:
            memory.written()
            self._problem = ""

    def _write_rows(self, changed: Iterable[Entry], removed: Iterable[Key]) -> None:
        with self._open() as connection:
            self._run(connection, "BEGIN IMMEDIATE")
            for key in removed:
                self._run(connection, _REMOVE, *key)
            for entry in changed:
                addresses = _encode_addresses(entry.addresses)
                self._run(connection, _PUT, *entry.key, addresses, entry.score, entry.day)
            self._run(connection, "COMMIT")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Open the file, make it if it is not there; what is not committed at the end is rolled back."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            check_private(self._path, os.fstat(fd))
        finally:
            os.close(fd)
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=_BUSY_TIMEOUT_S)
        with closing(connection):
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA secure_delete = ON")  # overwrite where a forgotten device was
            connection.execute("PRAGMA trusted_schema = OFF")
            version: int = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                self._run(connection, "BEGIN IMMEDIATE")
                self._run(connection, _TABLE)
                self._run(connection, f"PRAGMA user_version = {_VERSION}")
                self._run(connection, "COMMIT")
            elif version != _VERSION:
                raise sqlite3.DatabaseError("of another version")
            yield connection

    def _run(self, connection: sqlite3.Connection, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        self._probe(f"before peers: {sql}")
        rows = connection.execute(sql, values).fetchall()
        self._probe(f"after peers: {sql}")
        return rows

    def _fail(self, error: Exception) -> None:
        """Say once that the file cannot be used; remove it if it is damaged."""
        problem = str(error)
        if problem != self._problem:
            self._problem = problem
            self._logs.append(log_frame("warning", "memory of peers cannot be used", {"detail": problem}))
        if _is_damage(error):
            for path in (self._path, Path(f"{self._path}-journal")):
                with suppress(OSError):
                    path.unlink()


def _is_damage(error: Exception) -> bool:
    """Return whether the file itself is wrong; a full disk, say, says nothing against it."""
    if isinstance(error, sqlite3.OperationalError):
        return error.sqlite_errorcode == sqlite3.SQLITE_ERROR  # there is no such table, or no such column
    return isinstance(error, sqlite3.DatabaseError)


def _entries(rows: Iterable[tuple[Any, ...]]) -> Iterator[Entry]:
    for kind, protocol, peer, addresses, score, day in rows:
        try:
            decoded = _decode_addresses(addresses)
        except (msgspec.DecodeError, UnicodeDecodeError):
            decoded = ()
        yield Entry(kind, protocol, peer, decoded, score, day)
