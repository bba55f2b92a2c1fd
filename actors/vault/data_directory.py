"""The data directory: private to its user, locked against a second node, and written atomically.

The device's identity exists only here, so a file must not be half-written, readable by others, or used by two
nodes at once. Owns paths, descriptors and the lock. Never knows what a file means.
"""

import contextlib
import errno
import fcntl
import os
import stat
import time
from pathlib import Path

from ...messages.errors import is_temporary
from ..base import FatalActorError

LOCK_FILE = "lock"
_LOCK_TIMEOUT_S = 1.0
"""A vault that was killed keeps its lock until its process has ended, shortly after its channel closes."""
_LOCK_RETRY_S = 0.01
_MAX_FILE_BYTES = 64 * 1024


class UnsafeFileError(FatalActorError):
    """A file with secrets, or their directory, is not private, or the file is not a plain file."""


class DataDirectory:
    """An open and locked data directory, created if it does not exist. Raises FatalActorError with advice."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            _make_private(path)
            _check_owner(path)
            self._lock = os.open(
                path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
        except OSError as error:
            raise FatalActorError(
                f"cannot use the data directory {path}: {error.strerror}; choose another with --data-dir",
                is_temporary=is_temporary(error),
            ) from None
        try:
            self._acquire_lock()
        except BaseException:
            os.close(self._lock)
            raise

    def _acquire_lock(self) -> None:
        deadline = time.monotonic() + _LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise FatalActorError(
                        f"{self.path} is in use by another node; choose another with --data-dir",
                        is_temporary=True,
                    ) from None
            except OSError as error:
                raise FatalActorError(
                    f"cannot lock {self.path}: {error.strerror}; choose a local disk with --data-dir",
                    is_temporary=is_temporary(error),
                ) from None
            # flock has no time-out, so try again. Nothing else runs in the vault before it has the lock.
            time.sleep(_LOCK_RETRY_S)

    def close(self) -> None:
        """Release the lock.

        Its file stays: if it were removed, two nodes could each lock a file of that name.
        """
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def write(self, name: str, content: bytes) -> None:
        """Make `name` hold `content` (mode 0600) durably, or leave it as it was. Raises OSError."""
        # Write another file beside it, make its bytes durable, then rename it over the old one. rename(2) is
        # atomic: after a crash at any point `name` has the old content or the new one, never a part.
        target, temporary = self.path / name, self.path / f"{name}.new"
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()  # left by a write that was interrupted
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
        """Return the content of a private file, None if it does not exist.

        Raises UnsafeFileError, OSError.
        """
        path = self.path / name
        with contextlib.suppress(FileNotFoundError):
            (self.path / f"{name}.new").unlink()  # half-written secrets, left by an interrupted write
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
            return os.read(fd, _MAX_FILE_BYTES)
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
    """Make the entries of a directory (new, renamed or removed files) durable. Raises OSError."""
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
