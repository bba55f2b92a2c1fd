"""The register of this user's running nodes, and the choice of the one that a command means.

A running node leaves a record in its folder of the runtime directory (paths.py). A record counts only while
the node answers on its control socket, so one that a killed node leaves behind misleads nobody. Never starts
a node. Implements docs/interfaces.md, "Control socket".
"""

import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from ..messages.errors import SpacedriveNodeError
from .control_socket import is_listening, remove_control
from .paths import (
    UnsafePathError,
    check_private_directory,
    check_socket_path,
    control_path,
    expand_user,
    folder_name,
    make_private_directory,
    node_dir,
    real_data_dir,
    remove_if_empty,
    runtime_dir,
    runtime_dirs,
)

_RECORD_NAME = "node.json"
_MAX_RECORD_BYTES = 64 * 1024
_MAX_NODES = 1024
_TOUCH_INTERVAL_S = 3600.0


class NoNodeRunningError(SpacedriveNodeError, ConnectionError):
    """Nothing answers on the control socket; the text says how to start a node."""


class SeveralNodesError(SpacedriveNodeError):
    """More than one node runs and none was chosen; `nodes` are the candidates."""

    def __init__(self, nodes: "Sequence[RunningNode]") -> None:
        listed = "\n".join(f"  {node.data_dir}" for node in nodes)
        super().__init__(f"several nodes are running; choose one with --data-dir:\n{listed}")
        self.nodes = tuple(nodes)


class RunningNode(NamedTuple):
    """A node that answers on its control socket."""

    control: Path
    data_dir: Path


class NodeRecord(msgspec.Struct, frozen=True):
    """What a running node has registered; `metrics` is the `HOST:PORT` of its metrics, None without."""

    data_dir: str
    control: str
    pid: int
    metrics: str | None = None


def register_node(data_dir: Path | str, control: Path, metrics: str | None = None) -> None:
    """Write the record by which :func:`running_nodes` finds this process's node. Raises UnsafePathError."""
    folder = runtime_dir() / folder_name(data_dir)
    make_private_directory(folder)
    record = NodeRecord(real_data_dir(data_dir), os.path.abspath(control), os.getpid(), metrics)
    # Written to a temporary file and renamed, so that a reader never sees half of it.
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".node-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.encode(record) + b"\n")
        os.replace(temporary, folder / _RECORD_NAME)
    except BaseException:
        os.unlink(temporary)
        raise


def keep_registered(data_dir: Path | str, control: Path, metrics: str | None = None) -> bool:
    """Write this process's record again if it is gone, and keep its files from looking old.

    Programs that clear temporary directories take what has not been touched for days. Returns whether the
    record was gone. Raises UnsafePathError, OSError.
    """
    folder = runtime_dir() / folder_name(data_dir)
    record = folder / _RECORD_NAME
    was_gone = not record.exists()
    if was_gone:
        register_node(data_dir, control, metrics)
    elif time.time() - record.stat().st_mtime > _TOUCH_INTERVAL_S:
        for path in (record, folder, folder.parent):
            os.utime(path)
    else:
        return False
    os.utime(control, follow_symlinks=False)
    return was_gone


def unregister_node(data_dir: Path | str, control: Path) -> None:
    """Remove this process's record and socket file; those of a node started meanwhile stay."""
    folder = node_dir(data_dir)
    record = _read_record(folder)
    if record is None or record.pid != os.getpid():
        return
    (folder / _RECORD_NAME).unlink(missing_ok=True)
    remove_control(control)
    remove_if_empty(folder)


def running_nodes() -> list[RunningNode]:
    """Return the nodes of this user that answer, in order of data directory. Raises UnsafePathError."""
    found = []
    for directory in runtime_dirs():
        check_private_directory(directory, missing_ok=True)
        for folder in _node_folders(directory):
            record = _read_record(folder)
            if record is not None and is_listening(Path(record.control)):
                found.append(RunningNode(Path(record.control), Path(record.data_dir)))
    return sorted(found, key=lambda node: node.data_dir)


def record_of(control: Path) -> NodeRecord | None:
    """Return what the node with this control socket has registered, or None. Raises UnsafePathError."""
    wanted = os.path.abspath(control)
    for directory in runtime_dirs():
        check_private_directory(directory, missing_ok=True)
        for folder in _node_folders(directory):
            record = _read_record(folder)
            if record is not None and record.control == wanted:
                return record
    return None


def choose_node(data_dir: Path | str | None = None, control: Path | str | None = None) -> Path:
    """Return the control socket of the node that is meant: the one named, or else the only one that runs.

    Without arguments the variables SDNODE_CONTROL and SDNODE_DATA_DIR count, as for every command. Raises
    NoNodeRunningError, SeveralNodesError, UnsafePathError.
    """
    if data_dir is None and control is None:
        control = _path_in("SDNODE_CONTROL")
        data_dir = _path_in("SDNODE_DATA_DIR") if control is None else None
    if control is not None:
        path = check_socket_path(Path(expand_user(control)))
        if not is_listening(path):
            raise NoNodeRunningError(f"no node answers on {path}; start one with: sdnode up --control {path}")
        return path
    if data_dir is not None:
        path = _control_of(data_dir)
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


def _path_in(variable: str) -> str | None:
    """Return the absolute path that a variable of the environment holds; None if it is empty or not set."""
    value = os.environ.get(variable)
    if not value:
        return None
    if not value.strip():
        raise UnsafePathError(f"{variable} must not be empty")
    return os.path.abspath(expand_user(value.strip()))


def _control_of(data_dir: Path | str) -> Path:
    """Return the control socket that the node on `data_dir` has registered, else the default one."""
    for directory in runtime_dirs():
        check_private_directory(directory, missing_ok=True)
        record = _read_record(directory / folder_name(data_dir))
        if record is not None:
            return Path(record.control)
    return control_path(data_dir)


def _node_folders(directory: Path) -> list[Path]:
    """Return the folders of nodes in a runtime directory, none if it does not exist.

    Beyond so many, those that were touched last: nodes that run touch theirs, those that were killed leave
    them behind.
    """
    found = []
    with suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # its node has ended just now
                if entry.is_dir(follow_symlinks=False):
                    found.append((entry.stat(follow_symlinks=False).st_mtime, entry.name))
    return [directory / name for _, name in sorted(found, reverse=True)[:_MAX_NODES]]


def _read_record(folder: Path) -> NodeRecord | None:
    try:
        with open(folder / _RECORD_NAME, "rb") as file:
            return msgspec.json.decode(file.read(_MAX_RECORD_BYTES), type=NodeRecord)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
