"""Notices that the files of the store are no longer its own: removed, moved away, replaced, or written to.

SQLite keeps its files open. When the data directory is removed while the node runs, SQLite goes on writing to
files that have no name any more, and every commit succeeds: both users would be told `paired` with nothing on
disk. So the store looks for its files by name, before each transaction, at its commit, and now and then. What
somebody else writes into them is hidden by SQLite's cache; so the store also remembers when they were written
last. Owns which files those are; never opens one.
"""

import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from ...messages.errors import SpacedriveNodeError
from .data_directory import LOCK_FILE
from .identity_file import KEY_FILE


class StoreGoneError(sqlite3.OperationalError):
    """A file of the store is not in its place or cannot be reached: what is written now is lost."""


class StoreReplacedError(SpacedriveNodeError):
    """Other files are in the place of the store's, or other bytes in them: the vault ends, is started again,
    and opens them, which also finds damage.
    """


class StoreFiles:
    """The database, its write-ahead log and the directory's lock, as they are now; the identity beside them.

    A lock that was removed locks nobody out any more: the next process makes and locks another. So the vault
    is started again, which does that itself.
    """

    def __init__(self, database: Path) -> None:
        self._key = database.parent / KEY_FILE
        self._files = {path: _number(path) for path in (database, Path(f"{database}-wal"))}
        lock = database.parent / LOCK_FILE
        if lock.exists():  # a database alone, without its directory's lock, is opened by tests only
            self._files[lock] = _number(lock)
        self._written = self._last_written()

    def note_written(self) -> None:
        """Remember that it was this process that has written to the files."""
        with suppress(OSError):  # `check` says what is missing
            self._written = self._last_written()

    def _last_written(self) -> list[tuple[int, int]]:
        """Return size and time of the database and of its log."""
        statuses = [os.stat(path) for path in list(self._files)[:2]]
        return [(status.st_size, status.st_mtime_ns) for status in statuses]

    def check(self) -> None:
        """Raise StoreGoneError or StoreReplacedError unless all files are in their place."""
        directory = self._key.parent
        database, *others = self._files
        try:
            # All names first: an incomplete directory, say of a backup that is being restored, is not opened.
            os.stat(self._key)
            status = os.stat(database)
            # A database that is open has a page at least; one that was emptied takes commits all the same.
            same = (status.st_dev, status.st_ino) == self._files[database] and status.st_size > 0
        except FileNotFoundError as error:
            missing = Path(error.filename) if directory.is_dir() else directory
            raise StoreGoneError(f"{missing} was removed; put it back, or stop the node") from None
        except OSError as error:
            raise StoreGoneError(f"cannot reach {error.filename}: {error.strerror}") from None
        try:
            same = same and all(_number(one) == self._files[one] for one in others)
            untouched = same and self._last_written() == self._written
        except OSError:
            same = untouched = False
        if not same:
            raise StoreReplacedError(f"the files in {directory} were replaced")
        if not untouched:
            raise StoreReplacedError(f"something else has written to {database}")


def _number(path: Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino
