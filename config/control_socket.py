"""The Unix socket on which a node listens for its clients: bound, probed and removed here.

Owns the file of the socket: that only this user can connect, and that a node never takes the place of another
that still listens. The supervisor's process binds it, so that it outlives the gateway. Never accepts a
connection: the gateway does. Implements docs/interfaces.md, "Control socket".
"""

import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..messages.errors import is_temporary
from .paths import (
    UnsafePathError,
    check_socket_path,
    make_private_directory,
    remove_if_empty,
    runtime_dir,
    runtime_dirs,
)

BACKLOG = 128
_PROBE_TIMEOUT_S = 2.0
_LOCK_TIMEOUT_S, _LOCK_PAUSE_S = 2.0, 0.02
"""Another node holds the lock while it looks at one socket: as long as the probe takes, if that is full."""


def bind_control(path: Path) -> socket.socket:
    """Return a listening, non-blocking Unix socket at `path`, mode 0600.

    A socket file on which nobody listens any more is replaced. Raises UnsafePathError when somebody does
    listen, when something else than a socket is there, or when the path is too long.
    """
    check_socket_path(path)
    if path.parent.parent == runtime_dirs()[0]:
        make_private_directory(runtime_dir() / path.parent.name)
    elif not path.parent.is_dir():
        raise UnsafePathError(f"the control socket's directory does not exist: {path.parent}")
    with _locked(path.parent):
        _remove_stale(path)
        return _listen(path)


def remove_control(path: Path) -> None:
    """Remove the socket file that this process has bound, and its folder if the node made that for it."""
    path.unlink(missing_ok=True)
    if path.parent.parent == runtime_dirs()[0]:
        remove_if_empty(path.parent)


def is_listening(path: Path) -> bool:
    """Return whether a process listens on the Unix socket at `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_TIMEOUT_S)
        try:
            probe.connect(os.fspath(path))
        except TimeoutError:
            # Its queue is full: it lives, and is busy.
            return True
        except OSError as error:
            return error.errno == errno.EAGAIN
        return True


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # On Linux the file takes over the socket's mode, so it is never open to others, not even shortly.
        os.fchmod(listener.fileno(), 0o600)
        listener.bind(os.fspath(path))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise UnsafePathError(
            f"cannot listen on {path}: {error.strerror}; choose another with --control",
            is_temporary=is_temporary(error),
        ) from None
    return listener


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Lock the directory, so that two nodes that start at once do not replace each other's socket."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _wait_for_lock(descriptor, directory)
        yield
    finally:
        os.close(descriptor)


def _wait_for_lock(descriptor: int, directory: Path) -> None:
    """Lock it. Raises UnsafePathError if somebody else keeps it locked: in /tmp that may be anybody."""
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise UnsafePathError(
                    f"another program keeps {directory} locked; choose another directory with --control",
                    is_temporary=True,
                ) from None
        time.sleep(_LOCK_PAUSE_S)


def _remove_stale(path: Path) -> None:
    """Remove a socket file on which nobody listens.

    Raises UnsafePathError for anything else that is there.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise UnsafePathError(f"{path} exists and is not a socket; choose another path with --control")
    if found.st_uid != os.geteuid():
        raise UnsafePathError(f"{path} belongs to another user; choose another path with --control")
    if is_listening(path):
        raise UnsafePathError(
            f"a node is already listening on {path}: run a second one on another data directory, with "
            "--data-dir (or, if the directories differ, choose another path with --control)",
            is_temporary=True,
        )
    path.unlink(missing_ok=True)
