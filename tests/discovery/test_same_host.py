"""Registration of nodes on one host, with real files, real locks and a real process that is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from spacedrive_node.actors.discovery.same_host import (
    MAX_FILE_BYTES,
    SCAN_INTERVAL_BUSY_SECONDS,
    Registration,
    SameHost,
    UnsafeDirectoryError,
)
from spacedrive_node.messages.base import encode
from spacedrive_node.messages.types import PeerAddresses
from spacedrive_node.tests.harness.simulated_dht import peer

A, B = peer("a"), peer("b")
ADDRESSES = ("/ip4/127.0.0.1/tcp/7520",)

_HOLD = """
import sys
from pathlib import Path
from spacedrive_node.actors.discovery.same_host import SameHost
SameHost(Path(sys.argv[1])).register(bytes.fromhex(sys.argv[2]), ("/ip4/127.0.0.1/tcp/1",))
print("registered", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    return tmp_path / "runtime"


def seen(node: SameHost, now: float = 0.0) -> list[bytes]:
    return [other.peer for other in node.others(now, busy=True)]


def hold(path: Path) -> int:
    """Lock a file as a living node does; returns the descriptor."""
    import fcntl

    descriptor = os.open(path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def test_two_nodes_see_each_other(runtime: Path) -> None:
    """Each sees the other with its addresses, and not itself; what is left behind is private."""
    a, b = SameHost(runtime), SameHost(runtime)
    a.register(A, ADDRESSES)
    b.register(B, ())
    assert b.others(0.0, busy=True) == (PeerAddresses(A, ADDRESSES),)
    assert seen(a) == [B]
    assert (runtime / "nodes").stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in (runtime / "nodes").iterdir())
    a.close()
    assert seen(b) == []
    b.close()
    assert list((runtime / "nodes").iterdir()) == []


def test_new_addresses_replace_the_old(runtime: Path) -> None:
    """A registration is replaced as a whole and never looks stale in between."""
    a, b = SameHost(runtime), SameHost(runtime)
    a.register(A, ADDRESSES)
    assert seen(b) == [A]
    a.register(A, ("/ip4/127.0.0.1/tcp/1",))
    assert b.others(SCAN_INTERVAL_BUSY_SECONDS, busy=True) == (PeerAddresses(A, ("/ip4/127.0.0.1/tcp/1",)),)
    a.close()


def test_a_killed_node_is_forgotten(runtime: Path) -> None:
    """The file of a process that got SIGKILL is recognised as stale by its free lock, and removed."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(runtime), A.hex()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"registered\n"
        b = SameHost(runtime)
        assert seen(b) == [A]
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        assert seen(b, SCAN_INTERVAL_BUSY_SECONDS) == []
        assert list((runtime / "nodes").iterdir()) == []
    finally:
        process.kill()
        process.wait(60)
        process.stdin.close()  # type: ignore[union-attr]
        process.stdout.close()  # type: ignore[union-attr]


def test_a_registration_that_vanished_is_put_back(runtime: Path) -> None:
    """A node whose file somebody removed registers again the next time it looks."""
    a, b = SameHost(runtime), SameHost(runtime)
    a.register(A, ADDRESSES)
    for path in (runtime / "nodes").iterdir():
        path.unlink()
    seen(a)
    assert seen(b) == [A]
    a.close()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xc1",
        os.urandom(200),
        encode(Registration(B, ADDRESSES)) + b"x",
        encode(Registration(A, ADDRESSES)),  # under another's name
        b"\x91" * 5000,
        b"\x00" * (MAX_FILE_BYTES + 1),
    ],
    ids=["empty", "invalid", "random", "trailing", "other peer", "nested", "large"],
)
def test_malformed_files_are_ignored(runtime: Path, content: bytes) -> None:
    """Whatever a file holds, locked or not, only that file is ignored."""
    a, b = SameHost(runtime), SameHost(runtime)
    a.register(A, ADDRESSES)
    path = runtime / "nodes" / f"{B.hex()}.node"
    path.write_bytes(content)
    path.chmod(0o600)
    descriptor = hold(path)
    try:
        assert seen(b) == [A]
    finally:
        os.close(descriptor)
    a.close()


def test_files_of_other_kinds_are_ignored(runtime: Path) -> None:
    """Symbolic links, FIFOs, directories and files that others may read are not opened, or not believed."""
    a, b = SameHost(runtime), SameHost(runtime)
    a.register(A, ADDRESSES)
    nodes = runtime / "nodes"
    secret = runtime / "secret"
    secret.write_bytes(encode(Registration(B, ADDRESSES)))
    secret.chmod(0o600)
    (nodes / f"{B.hex()}.node").symlink_to(secret)
    os.mkfifo(nodes / f"{peer('fifo').hex()}.node", 0o600)
    (nodes / f"{peer('directory').hex()}.node").mkdir()
    public = nodes / f"{peer('public').hex()}.node"
    public.write_bytes(encode(Registration(peer("public"), ADDRESSES)))
    public.chmod(0o644)
    descriptor = hold(public)
    try:
        assert seen(b) == [A]
        assert secret.exists()
    finally:
        os.close(descriptor)
    a.close()


def test_an_open_directory_is_refused(runtime: Path) -> None:
    """A directory that others may enter is neither written to nor read."""
    (runtime / "nodes").mkdir(parents=True)
    (runtime / "nodes").chmod(0o755)
    with pytest.raises(UnsafeDirectoryError):
        SameHost(runtime).register(A, ADDRESSES)
    with pytest.raises(UnsafeDirectoryError):
        SameHost(runtime).others(0.0, busy=True)


def test_without_a_directory_there_is_nobody(runtime: Path) -> None:
    """Looking around before anybody has registered is no error, and creates nothing."""
    assert seen(SameHost(runtime)) == []
    assert not runtime.exists()


def test_an_unchanged_directory_is_not_read(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle node only looks at the directory's time of change."""
    a, b = SameHost(runtime), SameHost(runtime)
    a.register(A, ADDRESSES)
    old = (runtime / "nodes").stat().st_mtime - 60
    os.utime(runtime / "nodes", (old, old))
    assert seen(b, 0.0) == [A]
    monkeypatch.setattr(SameHost, "_scan", lambda self: pytest.fail("the directory was read"))
    assert seen(b, 1.0) == [A]
    a.close()


def test_abandoned_temporary_files_go(runtime: Path) -> None:
    """What a node left that was killed while it registered is removed after a minute."""
    a = SameHost(runtime)
    a.register(A, ADDRESSES)
    left = runtime / "nodes" / "0123.new"
    left.touch()
    seen(a)
    assert left.exists()
    os.utime(left, (1, 1))
    seen(a, SCAN_INTERVAL_BUSY_SECONDS)
    assert not left.exists()
    a.close()


def test_a_second_node_with_the_same_peer_id_is_a_twin(runtime: Path) -> None:
    """Both see the other's addresses, neither takes it for another device; until one ends."""
    a, copy, other = SameHost(runtime), SameHost(runtime), SameHost(runtime)
    a.register(A, ADDRESSES)
    copy.register(A, ("/ip4/127.0.0.1/tcp/1",))
    other.register(B, ())
    for now in (0.0, 1.0):
        assert (seen(a, now), seen(copy, now), seen(other, now)) == ([B], [B], [A])
    assert (a.twin, copy.twin, other.twin) == (("/ip4/127.0.0.1/tcp/1",), ADDRESSES, None)
    a.close()
    assert seen(copy, 2.0) == [B]
    assert copy.twin is None
    copy.register(A, ADDRESSES)
    assert seen(other, 20.0) == [A]
    assert (runtime / "nodes" / f"{A.hex()}.node").exists()
    copy.close()
    other.close()
    assert list((runtime / "nodes").iterdir()) == []


def test_what_a_killed_process_still_holds_is_no_twin(runtime: Path) -> None:
    """Its lock goes when it has ended, which may be after the next one has registered."""
    former, node = SameHost(runtime), SameHost(runtime)
    former.register(A, ADDRESSES)
    node.register(A, ADDRESSES)
    assert seen(node, 0.0) == []
    assert node.twin_suspected
    former.close()
    assert seen(node, 1.0) == []
    assert node.twin is None
    assert not node.twin_suspected
    node.close()
