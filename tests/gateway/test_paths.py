"""Where control sockets lie, who may lie there, and which nodes are found."""

import fcntl
import os
import socket
import stat
from contextlib import contextmanager

import pytest

from spacedrive_node.config import control_socket, paths
from spacedrive_node.config.control_socket import bind_control, is_listening
from spacedrive_node.config.paths import UnsafePathError, control_path, runtime_dir
from spacedrive_node.config.running_nodes import (
    NoNodeRunningError,
    RunningNode,
    SeveralNodesError,
    choose_node,
    register_node,
    running_nodes,
    unregister_node,
)


@pytest.fixture(autouse=True)
def runtime(short_folder, monkeypatch):
    """A runtime directory of the test's own."""
    base = short_folder / "run"
    base.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(base))
    return base / "spacedrive-node"


@pytest.fixture
def start(short_folder):
    """Start "nodes": bound, registered sockets."""
    listeners = []

    def begin(name: str, control=None):
        data_dir = short_folder / name
        data_dir.mkdir(exist_ok=True)
        control = control or control_path(data_dir)
        listener = bind_control(control)
        listeners.append(listener)
        register_node(data_dir, control)
        return data_dir, control, listener

    yield begin
    for listener in listeners:
        listener.close()


def test_the_socket_is_private(start, runtime):
    """Directories 0700 and the socket 0600, whatever the umask."""
    old = os.umask(0)
    try:
        _, control, _ = start("one")
    finally:
        os.umask(old)
    assert stat.S_IMODE(runtime.stat().st_mode) == 0o700
    assert stat.S_IMODE(control.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(control.stat().st_mode) == 0o600
    assert control.parent.parent == runtime


def test_the_path_follows_the_real_directory(short_folder):
    """A link to the data directory leads to the same node, another directory to another."""
    real = short_folder / "real"
    real.mkdir()
    link = short_folder / "link"
    link.symlink_to(real)
    assert control_path(link) == control_path(real)
    assert control_path(short_folder / "other") != control_path(real)


def test_a_runtime_directory_that_is_a_link_is_refused(short_folder, runtime):
    """Somebody could have put it there to have sockets made elsewhere."""
    (short_folder / "elsewhere").mkdir(mode=0o700)
    runtime.symlink_to(short_folder / "elsewhere")
    with pytest.raises(UnsafePathError, match="symbolic link"):
        runtime_dir()


def test_a_runtime_directory_open_to_others_is_refused(runtime):
    """The text says what to do about it."""
    runtime.mkdir()
    runtime.chmod(0o755)
    with pytest.raises(UnsafePathError, match="chmod 700"):
        runtime_dir()


def test_a_runtime_directory_of_somebody_else_is_refused(runtime, monkeypatch):
    """The owner is checked, not only the mode."""
    runtime.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: runtime.stat().st_uid + 1)
    with pytest.raises(UnsafePathError, match="another user"):
        runtime_dir()


def test_without_a_session_directory(monkeypatch):
    """Without XDG_RUNTIME_DIR the directory is in /tmp and named by the user."""
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    made = []
    monkeypatch.setattr(paths, "make_private_directory", made.append)
    directory = runtime_dir()
    assert str(directory) == f"/tmp/spacedrive-node-{os.geteuid()}"
    assert made == [directory]


def test_a_node_is_found_among_the_folders_of_many_that_were_killed(start, runtime):
    """However its own sorts among them."""
    runtime.mkdir(mode=0o700)
    for number in range(1100):
        folder = runtime / f"{number:016x}"
        folder.mkdir()
        os.utime(folder, (number, number))
    _, control, _ = start("one")
    assert [node.control for node in running_nodes()] == [control]
    assert choose_node() == control


def test_a_path_that_is_too_long_is_refused_with_advice(short_folder):
    """100 bytes are the limit."""
    with pytest.raises(UnsafePathError, match="--control"):
        bind_control(short_folder / ("x" * 100))


def test_a_live_socket_is_refused_and_a_stale_one_replaced(start):
    """A second node on the same socket is refused; after a crash the left-over file is not in the way."""
    _, control, listener = start("one")
    with pytest.raises(UnsafePathError, match="already listening"):
        bind_control(control)
    listener.close()
    assert control.exists()
    start("one")
    assert is_listening(control)


def test_what_is_not_a_socket_stays(short_folder):
    """A file that happens to have the name is never removed."""
    file = short_folder / "precious"
    file.write_text("x")
    with pytest.raises(UnsafePathError, match="not a socket"):
        bind_control(file)
    assert file.read_text() == "x"


def test_a_directory_that_is_not_there(short_folder):
    """A control path given by hand needs its directory."""
    with pytest.raises(UnsafePathError, match="does not exist"):
        bind_control(short_folder / "no" / "c.sock")


def test_a_directory_that_somebody_keeps_locked(short_folder, monkeypatch):
    """In /tmp anybody may; a node that starts says so, and does not wait for ever."""
    monkeypatch.setattr(control_socket, "_LOCK_TIMEOUT_S", 0.1)
    with open_directory(short_folder) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(UnsafePathError, match="locked") as refused:
            bind_control(short_folder / "c.sock")
        assert refused.value.is_temporary
    bind_control(short_folder / "c.sock").close()


@contextmanager
def open_directory(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def test_a_full_queue_is_a_living_node(short_folder):
    """A node that is too busy to accept is not taken for a dead one."""
    path = short_folder / "c.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        waiting = []
        for _ in range(4):
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            waiting.append(client)
            try:
                client.connect(str(path))
            except BlockingIOError:
                break
        assert is_listening(path)
        for client in waiting:
            client.close()


def test_running_nodes(start, short_folder, runtime):
    """Those that answer are listed, with their data directory; stale and damaged records are not."""
    one, control_one, _ = start("one")
    two, control_two, _ = start("two", short_folder / "given.sock")
    _, _, dead = start("three")
    dead.close()
    (runtime / ("f" * 16)).mkdir()
    (runtime / ("f" * 16) / "node.json").write_bytes(b"\xff{")
    assert running_nodes() == [RunningNode(control_one, one), RunningNode(control_two, two)]


def test_choosing(start, short_folder, monkeypatch):
    """The only one, the one named; none and several are errors that help."""
    with pytest.raises(NoNodeRunningError, match="sdnode up"):
        choose_node()
    one, control_one, _ = start("one")
    assert choose_node() == control_one
    two, control_two, _ = start("two", short_folder / "given.sock")
    with pytest.raises(SeveralNodesError, match=str(one)) as several:
        choose_node()
    assert [node.data_dir for node in several.value.nodes] == [one, two]
    assert choose_node(data_dir=two) == control_two
    assert choose_node(control=control_one) == control_one
    with monkeypatch.context() as variables:
        variables.setenv("SDNODE_DATA_DIR", str(two))
        assert choose_node() == control_two
        variables.setenv("SDNODE_CONTROL", str(control_one))
        assert choose_node() == control_one
        assert choose_node(data_dir=two) == control_two
        variables.setenv("SDNODE_CONTROL", " ")
        with pytest.raises(UnsafePathError, match="SDNODE_CONTROL"):
            choose_node()
    with pytest.raises(NoNodeRunningError, match="three"):
        choose_node(data_dir=short_folder / "three")
    with pytest.raises(NoNodeRunningError):
        choose_node(control=short_folder / "none.sock")


def test_unregistering(start):
    """A node that stops takes its record, its socket and its folder away."""
    data_dir, control, _ = start("one")
    unregister_node(data_dir, control)
    assert not control.parent.exists()
    assert running_nodes() == []
