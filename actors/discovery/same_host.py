"""Nodes of one user on one host: each registers in the runtime directory, and sees the others there.

Owns the files of `<runtime directory>/nodes/`: one `<peer id in hex>.node` (0600, in a directory 0700) for
each node, locked with flock for as long as its process lives, however that ends. An unlocked file is stale
and is removed by whoever sees it. Everything found there is treated as hostile: owner, mode, kind and size
are checked before a byte is read. Implements docs/architecture.md, "discovery", same host.

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

FOLDER = "nodes"
MAX_FILE = 16 * 1024
MAX_NODES = 64
MAX_ENTRIES = 512
POLL_BUSY = 1.0
POLL_IDLE = 5.0
SCAN_EVERY = 5.0
"""Seconds after which the directory is read even if it looks unchanged: a node that dies changes nothing."""
SCAN_EVERY_IDLE = 30.0
_SUFFIX = ".node"
_TEMPORARY = ".new"
_TEMPORARY_LIFE = 60.0
_MTIME_BLUR = 2.0  # a change so soon after another may leave the directory's mtime the same


class Registration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one file holds: the node and where processes of this host reach it."""

    peer: PeerId
    addresses: Addresses


_decode: Decoder[Registration] = Decoder(Registration)


class UnsafeDirectoryError(SpacedriveNodeError, OSError):
    """The directory belongs to someone else or others may enter it; nothing is read or written there."""


class SameHost:
    """This node's registration and its view of the others. All calls are short and local."""

    def __init__(self, runtime_dir: Path) -> None:
        self._directory = runtime_dir / FOLDER
        self._registered: tuple[Registration, Path, int] | None = None
        self._mtime = -1
        self._scanned: Instant = -math.inf
        self._nodes: tuple[PeerAddresses, ...] = ()

    def register(self, peer: bytes, addresses: tuple[str, ...]) -> None:
        """Register this node, or update its registration. Raises OSError."""
        registration = Registration(peer, addresses)
        if self._registered is not None and self._registered[0] == registration and self._in_place():
            return
        self._prepare()
        path = self._directory / f"{peer.hex()}{_SUFFIX}"
        temporary = self._directory / f"{secrets.token_hex(8)}{_TEMPORARY}"
        descriptor = os.open(
            temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            # Locked before it has its name: nobody ever sees a registration that looks stale.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(descriptor, encode(registration))
            os.rename(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            os.close(descriptor)
            raise
        former, self._registered = self._registered, (registration, path, descriptor)
        if former is not None:
            os.close(former[2])

    def close(self) -> None:
        """Remove the registration."""
        if self._registered is None:
            return
        _, path, descriptor = self._registered
        if self._in_place():
            path.unlink(missing_ok=True)
        os.close(descriptor)
        self._registered = None

    def others(self, now: Instant, *, busy: bool) -> tuple[PeerAddresses, ...]:
        """Return the other nodes that run now. Reads the directory only when that may have changed."""
        if self._registered is not None and not self._in_place():
            self.register(self._registered[0].peer, self._registered[0].addresses)
        try:
            mtime = os.stat(self._directory).st_mtime_ns
        except FileNotFoundError:
            self._nodes = ()
            return ()
        recent = time.time() - mtime / 1e9 < _MTIME_BLUR
        overdue = now >= self._scanned + (SCAN_EVERY if busy else SCAN_EVERY_IDLE)
        if mtime != self._mtime or recent or overdue:
            self._mtime = mtime
            self._scanned = now
            self._nodes = self._scan()
        return self._nodes

    def _prepare(self) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._check()

    def _check(self) -> None:
        status = os.lstat(self._directory)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise UnsafeDirectoryError(f"{self._directory} must be a directory of this user with mode 0700")

    def _in_place(self) -> bool:
        assert self._registered is not None
        _, path, descriptor = self._registered
        return _same_file(path, descriptor)

    def _scan(self) -> tuple[PeerAddresses, ...]:
        self._check()
        found: dict[bytes, PeerAddresses] = {}
        with os.scandir(self._directory) as entries:
            for count, entry in enumerate(entries):
                if count >= MAX_ENTRIES or len(found) >= MAX_NODES:
                    break
                path = Path(entry.path)
                if entry.name.endswith(_TEMPORARY):
                    _remove_if_abandoned(path)
                elif entry.name.endswith(_SUFFIX) and not self._is_own(path):
                    registration = _read(path)
                    if registration is not None:
                        peer = registration.peer
                        found[peer] = PeerAddresses(peer, registration.addresses)
        return tuple(found[peer] for peer in sorted(found))

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
    """Return what a living node wrote; None for anything else. A dead node's file is removed."""
    try:
        # NONBLOCK: a FIFO put here must not make the node wait.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        sound = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077
        if not sound or status.st_size > MAX_FILE:
            return None
        if _unlocked(descriptor):
            # Should a new registration take the name just now, its owner notices and puts it back.
            if _same_file(path, descriptor):
                path.unlink(missing_ok=True)
            return None
        registration = _decode(os.read(descriptor, MAX_FILE))
    except (OSError, MalformedMessageError):
        return None
    finally:
        os.close(descriptor)
    return registration if path.name == f"{registration.peer.hex()}{_SUFFIX}" else None


def _unlocked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_if_abandoned(path: Path) -> None:
    try:
        status = os.lstat(path)
        if stat.S_ISREG(status.st_mode) and time.time() - status.st_mtime > _TEMPORARY_LIFE:
            path.unlink(missing_ok=True)
    except OSError:
        return
