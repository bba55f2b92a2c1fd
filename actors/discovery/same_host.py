"""Finds the nodes of one user on one host: each registers in the runtime directory and sees the others.

Owns the files of `<runtime directory>/nodes/`: one `<peer id in hex>.node` (mode 0600, in a directory of mode
0700) for each node, locked with flock for as long as its process lives, however that ends. An unlocked file
is stale, and any node that sees it removes it. A second node with the same peer id (a data directory that was
copied) takes `<peer id in hex>-<16 hex digits>.node`, so that both see each other. Everything found there is
treated as hostile: owner, mode, kind and size are checked before a byte is read. Implements
docs/architecture.md, "Discovery", same host.

Never decides what the addresses are used for.
"""

import fcntl
import math
import os
import secrets
import stat
import time
from pathlib import Path

import msgspec

from ...messages.base import Decoder, MalformedMessageError, encode
from ...messages.errors import SpacedriveNodeError
from ...messages.types import Addresses, Instant, PeerAddresses, PeerId

DIRECTORY_NAME = "nodes"
MAX_FILE_BYTES = 16 * 1024
MAX_NODES = 64
MAX_ENTRIES = 512
POLL_INTERVAL_BUSY_SECONDS = 1.0
POLL_INTERVAL_IDLE_SECONDS = 5.0
"""How often actor.py calls `others`: while a session searches or provides, and otherwise."""
SCAN_INTERVAL_BUSY_SECONDS = 5.0
SCAN_INTERVAL_IDLE_SECONDS = 30.0
"""After this time the directory is read though it looks unchanged: a node that is killed leaves its file."""
_SUFFIX = ".node"
_TEMPORARY_SUFFIX = ".new"
_MAX_TEMPORARY_AGE_SECONDS = 60.0
_MTIME_GRANULARITY_SECONDS = 2.0
"""Two changes within this time may leave the directory with the same modification time."""


class Registration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of one file: a node, and the addresses at which processes of this host reach it."""

    peer: PeerId
    addresses: Addresses


_decode: Decoder[Registration] = Decoder(Registration)


class UnsafeDirectoryError(SpacedriveNodeError, OSError):
    """The directory belongs to another user or others may enter it; nothing is read or written there."""


class SameHost:
    """This node's registration and its view of the others. Every call does a little local file I/O."""

    def __init__(self, runtime_dir: Path) -> None:
        self._directory = runtime_dir / DIRECTORY_NAME
        self._registered: tuple[Registration, Path, int] | None = None
        self._last_mtime = -1
        self._scanned_at: Instant = -math.inf
        self._nodes: tuple[PeerAddresses, ...] = ()
        self._twin_seen_at: Instant | None = None
        self._twin: Addresses | None = None

    @property
    def twin(self) -> Addresses | None:
        """Addresses of another node of this host that has this node's peer id; None if there is none.

        Only one that was there in two readings of the directory counts: after a restart of this actor the
        file of its last process may still be locked for a moment.
        """
        return self._twin

    @property
    def twin_suspected(self) -> bool:
        """Whether there may be a twin, so that `others` should be called again soon."""
        return self._twin_seen_at is not None and self._twin is None

    def register(self, peer: bytes, addresses: tuple[str, ...]) -> None:
        """Register this node, or update its registration.

        Raises OSError, and UnsafeDirectoryError among it.
        """
        registration = Registration(peer, addresses)
        if self._registered is not None and self._registered[0] == registration and self._file_is_in_place():
            return
        self._prepare_directory()
        path = self._directory / f"{peer.hex()}{_SUFFIX}"
        if not self._is_own(path) and _read(path) is not None:
            path = self._directory / f"{peer.hex()}-{secrets.token_hex(8)}{_SUFFIX}"
        temporary = self._directory / f"{secrets.token_hex(8)}{_TEMPORARY_SUFFIX}"
        descriptor = os.open(
            temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            # Locked before it gets its name: otherwise another node could see it unlocked, and remove it.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(descriptor, encode(registration))
            os.rename(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            os.close(descriptor)
            raise
        former, self._registered = self._registered, (registration, path, descriptor)
        if former is not None:
            if former[1] != path and _same_file(former[1], former[2]):
                former[1].unlink(missing_ok=True)
            os.close(former[2])

    def close(self) -> None:
        """Remove the registration."""
        if self._registered is None:
            return
        _, path, descriptor = self._registered
        if self._file_is_in_place():
            path.unlink(missing_ok=True)
        os.close(descriptor)
        self._registered = None

    def others(self, now: Instant, *, busy: bool) -> tuple[PeerAddresses, ...]:
        """Return the other nodes that run now.

        Reads the directory only if it may have changed. Raises OSError.
        """
        if self._registered is not None and not self._file_is_in_place():
            self.register(self._registered[0].peer, self._registered[0].addresses)
        try:
            mtime = os.stat(self._directory).st_mtime_ns
        except FileNotFoundError:
            self._nodes = ()
            return ()
        recent = time.time() - mtime / 1e9 < _MTIME_GRANULARITY_SECONDS
        overdue = now >= self._scanned_at + (
            SCAN_INTERVAL_BUSY_SECONDS if busy else SCAN_INTERVAL_IDLE_SECONDS
        )
        if mtime != self._last_mtime or recent or overdue or self._twin_seen_at is not None:
            self._last_mtime = mtime
            self._scanned_at = now
            self._notice_twin(self._scan(), now)
        return self._nodes

    def _notice_twin(self, found: dict[bytes, PeerAddresses], now: Instant) -> None:
        """Keep what was found, without a node that has this node's own peer id: that one is `twin`."""
        twin = found.pop(self._registered[0].peer, None) if self._registered is not None else None
        self._nodes = tuple(found[peer] for peer in sorted(found))
        if twin is None:
            self._twin = self._twin_seen_at = None
        elif self._twin_seen_at is None:
            self._twin_seen_at = now
        elif now - self._twin_seen_at >= POLL_INTERVAL_BUSY_SECONDS:
            self._twin = twin.addresses

    def _prepare_directory(self) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._check_directory()

    def _check_directory(self) -> None:
        status = os.lstat(self._directory)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise UnsafeDirectoryError(f"{self._directory} must be a directory of this user with mode 0700")

    def _file_is_in_place(self) -> bool:
        assert self._registered is not None
        _, path, descriptor = self._registered
        return _same_file(path, descriptor)

    def _scan(self) -> dict[bytes, PeerAddresses]:
        self._check_directory()
        found: dict[bytes, PeerAddresses] = {}
        with os.scandir(self._directory) as entries:
            for count, entry in enumerate(entries):
                if count >= MAX_ENTRIES or len(found) >= MAX_NODES:
                    break
                path = Path(entry.path)
                if entry.name.endswith(_TEMPORARY_SUFFIX):
                    _remove_if_abandoned(path)
                elif entry.name.endswith(_SUFFIX) and not self._is_own(path):
                    registration = _read(path)
                    if registration is not None:
                        peer = registration.peer
                        found[peer] = PeerAddresses(peer, registration.addresses)
        return found

    def _is_own(self, path: Path) -> bool:
        return self._registered is not None and self._registered[1].name == path.name


def _same_file(path: Path, descriptor: int) -> bool:
    try:
        named = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    opened = os.fstat(descriptor)
    return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)


def _read(path: Path) -> Registration | None:
    """Return the registration of a node that runs; None for any other file.

    Removes the file of a dead node.
    """
    try:
        # O_NONBLOCK: opening a FIFO that somebody has put here must not block the node.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        is_safe = (
            stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077
        )
        if not is_safe or status.st_size > MAX_FILE_BYTES:
            return None
        if _unlocked(descriptor):
            # A new registration may take the name at this moment; its owner notices that it is gone and
            # repeats it.
            if _same_file(path, descriptor):
                path.unlink(missing_ok=True)
            return None
        registration = _decode(os.read(descriptor, MAX_FILE_BYTES))
    except (OSError, MalformedMessageError):
        return None
    finally:
        os.close(descriptor)
    named = path.name.removesuffix(_SUFFIX).partition("-")[0]
    return registration if named == registration.peer.hex() else None


def _unlocked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_if_abandoned(path: Path) -> None:
    try:
        status = os.lstat(path)
        if stat.S_ISREG(status.st_mode) and time.time() - status.st_mtime > _MAX_TEMPORARY_AGE_SECONDS:
            path.unlink(missing_ok=True)
    except OSError:
        return
