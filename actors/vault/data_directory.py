"""The data directory: made private, locked against a second node, written atomically.

Owns file descriptors and paths, never the meaning of a file. Implements docs/architecture.md, "The vault".
"""

import contextlib
import errno
import fcntl
import os
import stat
import time
from pathlib import Path

from ..base import FatalActorError

_LOCK_PATIENCE = 1.0
"""Seconds: the lock of a vault that was killed goes with its process, perhaps a moment after its channel."""
_LOCK_RETRY = 0.01
_LARGEST_FILE = 64 * 1024


class UnsafeFileError(FatalActorError):
    """A file that holds secrets is not private, or is not a plain file."""


class DataDir:
    """An open and locked data directory. Raises FatalActorError when it cannot be had."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            _make_private(path)
            _check_owner(path)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise FatalActorError(
                f"cannot use the data directory {path}: {error.strerror}; choose another with --data-dir"
            ) from None
        try:
            self._take_lock()
        except BaseException:
            os.close(self._lock)
            raise

    def _take_lock(self) -> None:
        deadline = time.monotonic() + _LOCK_PATIENCE
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise FatalActorError(
                        f"{self.path} is in use by another node; choose another with --data-dir"
                    ) from None
            except OSError as error:
                raise FatalActorError(
                    f"cannot lock {self.path}: {error.strerror}; choose a local disk with --data-dir"
                ) from None
            time.sleep(
                _LOCK_RETRY
            )  # flock has no time-out of its own; nothing else runs before the lock is had

    def close(self) -> None:
        """Give the lock back. The file stays: removing it would let two nodes lock two files."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def write(self, name: str, content: bytes) -> None:
        """Make `name` hold `content` (mode 0600) durably, or leave everything as it was.

        Raises OSError.
        """
        target, temporary = self.path / name, self.path / f"{name}.new"
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()  # of an attempt that was cut off
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        sync_directory(self.path)

    def read(self, name: str) -> bytes | None:
        """Return a secret file's content, or None if there is none. Raises UnsafeFileError, OSError."""
        path = self.path / name
        with contextlib.suppress(FileNotFoundError):
            (self.path / f"{name}.new").unlink()  # half-written secrets of an attempt that was cut off
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise UnsafeFileError(f"{path} is a symbolic link; put the file itself there") from None
            raise
        try:
            check_private(path, os.fstat(fd))
            return os.read(fd, _LARGEST_FILE)
        finally:
            os.close(fd)


def check_private(path: Path, status: os.stat_result) -> None:
    """Raise UnsafeFileError unless `path` is a plain file that only this user may read and write."""
    if not stat.S_ISREG(status.st_mode):
        raise UnsafeFileError(f"{path} is not a plain file; move it away or choose another --data-dir")
    if status.st_uid != os.geteuid():
        raise UnsafeFileError(f"{path} belongs to another user; run the node as its owner")
    if status.st_mode & 0o077:
        raise UnsafeFileError(f"{path} can be read by others; if you trust it still, run: chmod 600 '{path}'")


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _make_private(path: Path) -> None:
    missing = []
    at = path
    while not at.is_dir():
        missing.append(at)
        if at == at.parent:
            break
        at = at.parent
    for directory in reversed(missing):
        directory.mkdir(mode=0o700, exist_ok=True)
        sync_directory(directory.parent)


def _check_owner(path: Path) -> None:
    status = path.stat()
    if status.st_uid != os.geteuid():
        raise UnsafeFileError(f"{path} belongs to another user; choose another with --data-dir")
    if status.st_mode & 0o022:
        raise UnsafeFileError(f"{path} can be changed by others; run: chmod 700 '{path}'")
