"""Where the files of a node are: its data directory, the runtime directory, its folder and socket in it.

The runtime directory is `$XDG_RUNTIME_DIR/spacedrive-node`, else `/tmp/spacedrive-node-<uid>`, with one
folder for each node, named by a hash of its real data directory: so a command finds the socket from the
data directory alone. Owns the check that nobody else can enter these directories. Never opens a data
directory. Implements docs/interfaces.md, "Control socket".
"""

import hashlib
import os
import stat
from pathlib import Path

from ..messages.errors import SpacedriveNodeError

MAX_SOCKET_PATH_BYTES = 100
"""Of a Unix socket's path. The kernel allows 107; the rest is room for temporary names in the same folder."""


class UnsafePathError(SpacedriveNodeError):
    """A directory or socket that must not be used; the text says why and what to do."""


def default_data_dir() -> Path:
    """Return the platform's user data directory for a node."""
    import platformdirs  # costs some milliseconds that most callers need not spend

    return Path(platformdirs.user_data_dir("spacedrive-node", appauthor=False))


def real_data_dir(data_dir: Path | str) -> str:
    """Return the one name of a data directory by which a node is known: absolute, without symbolic links."""
    return os.path.realpath(os.path.expanduser(data_dir))


def runtime_dir() -> Path:
    """Return the runtime directory of this user's nodes, made if need be. Raises UnsafePathError."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base and os.path.isabs(base) and os.path.isdir(base):
        path = Path(base) / "spacedrive-node"
    else:
        # A fixed name in a shared directory is safe only because of the checks that follow.
        path = Path("/tmp") / f"spacedrive-node-{os.geteuid()}"  # noqa: S108
    make_private_directory(path)
    return path


def node_dir(data_dir: Path | str) -> Path:
    """Return the runtime folder of the node on `data_dir` (not made). Raises UnsafePathError."""
    return runtime_dir() / hashlib.sha256(os.fsencode(real_data_dir(data_dir))).hexdigest()[:16]


def control_path(data_dir: Path | str) -> Path:
    """Return the default control socket of the node on `data_dir`. Raises UnsafePathError."""
    return check_socket_path(node_dir(data_dir) / "control.sock")


def check_socket_path(path: Path) -> Path:
    """Return `path`, or raise UnsafePathError when it is too long for a Unix socket."""
    size = len(os.fsencode(path))
    if size > MAX_SOCKET_PATH_BYTES:
        raise UnsafePathError(
            f"the control socket's path has {size} bytes and {MAX_SOCKET_PATH_BYTES} are possible: {path}\n"
            "choose a shorter one with --control, or set XDG_RUNTIME_DIR to a shorter directory"
        )
    return path


def make_private_directory(path: Path) -> None:
    """Make `path` with mode 0700, or check that it is this user's directory and closed to all others.

    Raises UnsafePathError.
    """
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except FileNotFoundError:
        raise UnsafePathError(f"cannot make {path}: its parent directory does not exist") from None
    except OSError as error:
        raise UnsafePathError(f"cannot make {path}: {error.strerror}") from None
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise UnsafePathError(f"{path} is not a directory (a symbolic link is refused); remove it")
    if found.st_uid != os.geteuid():
        raise UnsafePathError(f"{path} belongs to another user; set XDG_RUNTIME_DIR to a directory of yours")
    if found.st_mode & 0o077:
        raise UnsafePathError(f"{path} is open to other users; run: chmod 700 {path}")


def remove_if_empty(folder: Path) -> None:
    """Remove a node's folder, unless it holds something that is not this node's, or is gone."""
    try:
        folder.rmdir()
    except OSError:
        return
