"""Where the files of a node are: its data directory, the runtime directory, its folder and socket in it.

The runtime directory is `$XDG_RUNTIME_DIR/spacedrive-node`, else `/tmp/spacedrive-node-<uid>` (also when that
variable names a directory of another user), with one folder for each node, named by a hash of its real data
directory: so a command finds the socket from the data directory alone. Owns the check that nobody else can
enter these directories. Never opens a data directory. Implements docs/interfaces.md, "Control socket".
"""

import hashlib
import os
import stat
from pathlib import Path

from ..messages.errors import ReportedError, is_temporary

_NAME = "spacedrive-node"
MAX_SOCKET_PATH_BYTES = 100
"""Of a Unix socket's path. The kernel allows 107; the rest is room for temporary names in the same folder."""


class UnsafePathError(ReportedError):
    """A directory or socket that must not be used; the text says why and what to do."""


def default_data_dir() -> Path:
    """Return the platform's user data directory for a node. Raises UnsafePathError if there is no home."""
    import platformdirs  # costs some milliseconds that most callers need not spend

    if not os.path.isabs(os.environ.get("XDG_DATA_HOME", "")):
        expand_user("~")
    return Path(platformdirs.user_data_dir("spacedrive-node", appauthor=False)).absolute()


def expand_user(path: Path | str) -> str:
    """Return a path in which a leading `~` or `~user` is replaced by the home directory of that user.

    Raises UnsafePathError when there is none: the path would otherwise count from the present directory.
    """
    text = os.fspath(path)
    if not text.startswith("~"):
        return text
    found = os.path.expanduser(text)
    home = os.environ.get("HOME", "/")
    if text.partition("/")[0] == "~" and not os.path.isabs(home):
        raise UnsafePathError(f"HOME is {home!r}, which is no directory: set it, or give paths without ~")
    if not os.path.isabs(found):
        whose = "this user" if text.partition("/")[0] == "~" else f"{text.partition('/')[0][1:]!r}"
        raise UnsafePathError(
            f"no home directory of {whose} is known: set HOME, or name the data directory with --data-dir"
        )
    return found


def real_data_dir(data_dir: Path | str) -> str:
    """Return the one name of a data directory by which a node is known: absolute, without symbolic links."""
    return os.path.realpath(expand_user(data_dir))


def runtime_dirs() -> list[Path]:
    """Return where the runtime directory of this user may be, that of a new node first. Makes nothing.

    More than one only without a usable XDG_RUNTIME_DIR: a node may have been started with it. One that
    belongs to another user, as after sudo or su, is not usable.
    """
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(base) and _is_own_directory(base):
        return [Path(base, _NAME)]
    # A fixed name in a shared directory is safe only because it is checked whenever it is used.
    found = [Path("/tmp", f"{_NAME}-{os.geteuid()}")]  # noqa: S108
    session = f"/run/user/{os.geteuid()}"
    return [*found, Path(session, _NAME)] if _is_own_directory(session) else found


def runtime_dir() -> Path:
    """Return the runtime directory for a node that starts, made if need be. Raises UnsafePathError."""
    path = runtime_dirs()[0]
    make_private_directory(path)
    return path


def _is_own_directory(path: str) -> bool:
    try:
        found = os.stat(path)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def folder_name(data_dir: Path | str) -> str:
    """Return the name of the folder that the node on `data_dir` has in the runtime directory."""
    return hashlib.sha256(os.fsencode(real_data_dir(data_dir))).hexdigest()[:16]


def node_dir(data_dir: Path | str) -> Path:
    """Return the runtime folder of the node on `data_dir`. Makes nothing. Raises UnsafePathError."""
    parent = runtime_dirs()[0]
    check_private_directory(parent, missing_ok=True)
    return parent / folder_name(data_dir)


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
        raise UnsafePathError(
            f"cannot make {path}: {error.strerror}", is_temporary=is_temporary(error)
        ) from None
    check_private_directory(path)


def check_private_directory(path: Path, *, missing_ok: bool = False) -> None:
    """Raise UnsafePathError unless `path` is this user's directory and closed to all others."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        if missing_ok:
            return
        raise UnsafePathError(f"{path} has been removed") from None
    except OSError as error:
        raise UnsafePathError(f"cannot look at {path}: {error.strerror}") from None
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


def readable_by_others(file: str) -> bool:
    """Return whether a plain file can be read by everyone on this machine."""
    try:
        mode = os.stat(file).st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and bool(mode & stat.S_IROTH)
