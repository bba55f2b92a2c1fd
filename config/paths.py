"""Where a node puts its control socket, and how commands find the nodes that run.

Owns the runtime directory: `$XDG_RUNTIME_DIR/spacedrive-node`, else `/tmp/spacedrive-node-<uid>`, with one
folder for each node, named by a hash of its real data directory. Never opens a data directory. Implements
docs/interfaces.md, "Control socket".
"""

import errno
import fcntl
import hashlib
import os
import socket
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from ..messages.errors import SpacedriveNodeError

LONGEST_PATH = 100
"""Bytes of a socket's path; the system's own limit is 108 with the closing zero."""
BACKLOG = 128
_RECORD = "node.json"
_RECORD_LIMIT = 64 * 1024
_MOST_NODES = 1024
_PROBE = 2.0


class NoNodeRunningError(SpacedriveNodeError, ConnectionError):
    """Nothing answers on the control socket; the text says how to start a node."""


class SeveralNodesError(SpacedriveNodeError):
    """More than one node runs and none was chosen; `nodes` are the candidates."""

    def __init__(self, nodes: "Sequence[RunningNode]") -> None:
        listed = "\n".join(f"  {node.data_dir}" for node in nodes)
        super().__init__(f"several nodes are running; choose one with --data-dir:\n{listed}")
        self.nodes = tuple(nodes)


class UnsafePathError(SpacedriveNodeError):
    """A directory or socket that must not be used; the text says why and what to do."""


class RunningNode(NamedTuple):
    """A node that answers on its control socket."""

    control: Path
    data_dir: Path


class _Record(msgspec.Struct, frozen=True):
    data_dir: str
    control: str
    pid: int


def default_data_dir() -> Path:
    """Return the platform's user data directory for a node."""
    import platformdirs  # costs some milliseconds that most callers need not spend

    return Path(platformdirs.user_data_dir("spacedrive-node", appauthor=False))


def runtime_dir() -> Path:
    """Return the runtime directory of this user's nodes, made if need be. Raises UnsafePathError."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base and os.path.isabs(base) and os.path.isdir(base):
        path = Path(base) / "spacedrive-node"
    else:
        # A fixed name in a shared directory is safe only because of the checks that follow.
        path = Path("/tmp") / f"spacedrive-node-{os.geteuid()}"  # noqa: S108
    _private_directory(path)
    return path


def node_dir(data_dir: Path | str) -> Path:
    """Return the runtime folder of the node on `data_dir` (not made). Raises UnsafePathError."""
    real = os.path.realpath(os.path.expanduser(data_dir))
    return runtime_dir() / hashlib.sha256(os.fsencode(real)).hexdigest()[:16]


def control_path(data_dir: Path | str) -> Path:
    """Return the default control socket of the node on `data_dir`. Raises UnsafePathError."""
    return check_length(node_dir(data_dir) / "control.sock")


def check_length(path: Path) -> Path:
    """Return `path`, or raise UnsafePathError when it is too long for a Unix socket."""
    size = len(os.fsencode(path))
    if size > LONGEST_PATH:
        raise UnsafePathError(
            f"the control socket's path has {size} bytes and {LONGEST_PATH} are possible: {path}\n"
            "choose a shorter one with --control, or set XDG_RUNTIME_DIR to a shorter directory"
        )
    return path


def bind_control(path: Path) -> socket.socket:
    """Return a listening, non-blocking Unix socket at `path`, mode 0600.

    A socket file that nobody listens on any more is replaced. Raises UnsafePathError when somebody does
    listen, when something else than a socket is there, or when the path is too long.
    """
    check_length(path)
    if path.parent.parent == runtime_dir():
        _private_directory(path.parent)
    elif not path.parent.is_dir():
        raise UnsafePathError(f"the control socket's directory does not exist: {path.parent}")
    with _locked(path.parent):
        _remove_stale(path)
        return _listen(path)


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
            f"cannot listen on {path}: {error.strerror}; choose another with --control"
        ) from None
    return listener


def register_node(data_dir: Path | str, control: Path) -> None:
    """Write the record by which :func:`running_nodes` finds this process's node. Raises UnsafePathError."""
    folder = node_dir(data_dir)
    _private_directory(folder)
    real = os.path.realpath(os.path.expanduser(data_dir))
    record = _Record(data_dir=real, control=os.path.abspath(control), pid=os.getpid())
    # Written beside and renamed, so that a reader never sees half of it.
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".node-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.encode(record) + b"\n")
        os.replace(temporary, folder / _RECORD)
    except BaseException:
        os.unlink(temporary)
        raise


def unregister_node(data_dir: Path | str, control: Path) -> None:
    """Remove this process's record and socket file; those of a node started meanwhile stay."""
    folder = node_dir(data_dir)
    record = _read_record(folder)
    if record is None or record.pid != os.getpid():
        return
    _unlink(folder / _RECORD)
    remove_control(control)
    _remove_folder(folder)


def remove_control(path: Path) -> None:
    """Remove the socket file that this process has bound, and its folder if the node made that for it."""
    _unlink(path)
    if path.parent.parent == runtime_dir():
        _remove_folder(path.parent)


def _remove_folder(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        # Something else lies there, which is not ours to remove; or it is gone.
        return


def running_nodes() -> list[RunningNode]:
    """Return the nodes of this user that answer, in order of data directory. Raises UnsafePathError."""
    found = []
    for folder in _node_folders(runtime_dir()):
        record = _read_record(folder)
        if record is not None and is_listening(Path(record.control)):
            found.append(RunningNode(Path(record.control), Path(record.data_dir)))
    return sorted(found, key=lambda node: node.data_dir)


def choose_node(data_dir: Path | str | None = None, control: Path | str | None = None) -> Path:
    """Return the control socket of the node that is meant: the one named, or else the only one that runs.

    Raises NoNodeRunningError, SeveralNodesError, UnsafePathError.
    """
    if control is not None:
        path = check_length(Path(control))
        if not is_listening(path):
            raise NoNodeRunningError(f"no node answers on {path}; start one with: sdnode up --control {path}")
        return path
    if data_dir is not None:
        record = _read_record(node_dir(data_dir))
        path = Path(record.control) if record is not None else control_path(data_dir)
        if not is_listening(path):
            raise NoNodeRunningError(
                f"no node is running on {data_dir}; start one with: sdnode up --data-dir {data_dir}"
            )
        return path
    nodes = running_nodes()
    if not nodes:
        raise NoNodeRunningError("no node is running; start one with: sdnode up")
    if len(nodes) > 1:
        raise SeveralNodesError(nodes)
    return nodes[0].control


def is_listening(path: Path) -> bool:
    """Say whether somebody listens on the Unix socket at `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE)
        try:
            probe.connect(os.fspath(path))
        except TimeoutError:
            # Its queue is full: it lives, and is busy.
            return True
        except OSError as error:
            return error.errno == errno.EAGAIN
        return True


def _private_directory(path: Path) -> None:
    """Make `path` with mode 0700, or check that it is a directory of ours that nobody else can enter."""
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


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keep two nodes that start at once from replacing each other's socket."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_stale(path: Path) -> None:
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
            "--data-dir (or, if the directories differ, choose another path with --control)"
        )
    _unlink(path)


def _node_folders(directory: Path) -> list[Path]:
    with os.scandir(directory) as entries:
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    return [directory / name for name in sorted(names)[:_MOST_NODES]]


def _read_record(folder: Path) -> _Record | None:
    try:
        with open(folder / _RECORD, "rb") as file:
            return msgspec.json.decode(file.read(_RECORD_LIMIT), type=_Record)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _unlink(path: Path) -> None:
    try:
        path.unlink()
    except FileNotFoundError:
        return
