"""Real nodes with a sealed identity: they come back from SIGKILL unasked, and leak the passphrase nowhere."""

import os
import re
import resource
import signal
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from spacedrive_node import NodeConfig, NodeStartError, open_node
from spacedrive_node.actors.vault.data_directory import DataDirectory
from spacedrive_node.actors.vault.identity_file import open_identity, would_seal
from spacedrive_node.actors.vault.passphrase_seal import Argon2Costs
from spacedrive_node.tests.harness.node_commands import DEADLINE, SDNODE, UpCommand, sdnode_up
from spacedrive_node.tests.harness.secret_sweep import collector

PHRASE = b"correct horse battery staple"
IS_ROOT = os.geteuid() == 0
CHEAP = Argon2Costs(memory=8, passes=1, lanes=1)


@pytest.fixture
def phrase(short_path: Path) -> Path:
    path = short_path / "phrase"
    path.touch(0o600)
    path.write_bytes(PHRASE + b"\n")
    collector.add_passphrase_of(["--passphrase-file", str(path)])
    return path


def identity(data_dir: Path, passphrase: bytes | None = None) -> bytes:
    """Make a device there, and return its file."""
    with ExitStack() as resources:
        directory = DataDirectory(data_dir)
        resources.callback(directory.close)
        open_identity(directory, may_create=True, passphrase=passphrase, costs=CHEAP)
    return (data_dir / "identity.key").read_bytes()


def refused(
    folder: Path, *flags: str, data_dir: Path | None = None, largest: int | None = None, code: int = 2
) -> str:
    """Run `sdnode up` to its end; return the one line that it says. `largest`: bytes a file may have."""

    def limit() -> None:
        if largest is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))

    done = subprocess.run(
        [
            *SDNODE, "up", "--data-dir", str(data_dir or folder / "anna"), "--metrics-listen", "off",
            "--listen", "/ip4/127.0.0.1/tcp/0", "--no-mdns", *flags,
        ],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env={**os.environ, "XDG_RUNTIME_DIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=limit,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert PHRASE.decode() not in done.stderr
    collector.add_passphrase(PHRASE)
    collector.add_text("standard error of up", done.stderr)
    (line,) = done.stderr.splitlines()
    assert line.startswith("sdnode: ")
    return line


def vault_pid(node: UpCommand) -> int:
    """Return the vault's process once it runs."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        (row,) = [row for row in node.run("actors") if row["actor"] == "vault"]
        if row["state"] == "running":
            return int(str(row["pid"]))
    raise AssertionError("the vault does not run")


def test_a_killed_vault_comes_back_unasked(short_path: Path, phrase: Path) -> None:
    """SIGKILL three times, the file with the passphrase being gone: the same device answers."""
    with sdnode_up(short_path, "anna", "--passphrase-file", str(phrase)) as a:
        phrase.unlink()
        for _ in range(3):
            pid = vault_pid(a)
            os.kill(pid, signal.SIGKILL)
            assert a.run("devices") == []
            assert vault_pid(a) != pid
        assert a.run("status")[0]["peer_id"] == a.ready["peer_id"]
        assert a.stop() == 0
    assert not would_seal(short_path / "anna")
    assert "sealed with a passphrase" in refused(short_path)


def test_a_lost_fork_server_brings_the_vault_back_too(short_path: Path, phrase: Path) -> None:
    """A new fork server gets the descriptor from the supervisor again."""
    with sdnode_up(short_path, "anna", "--passphrase-file", str(phrase)) as a:
        pid = vault_pid(a)
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        zygote = int(stat[1])
        assert zygote != a.process.pid
        os.kill(zygote, signal.SIGKILL)
        assert a.run("devices") == []
        assert vault_pid(a) != pid


def test_the_passphrase_is_nowhere_to_be_seen(short_path: Path, phrase: Path) -> None:
    """Not in arguments, environments, files or the log; nor in the memory of any process but the vault's."""
    with sdnode_up(short_path, "anna", "--passphrase-file", str(phrase), "--log-level", "debug") as a:
        phrase.unlink()
        vault_pid(a)
        pids = {str(row["actor"]): int(str(row["pid"])) for row in a.run("actors")}
        for pid in pids.values():
            for name in ("cmdline", "comm", *(("environ",) if IS_ROOT else ())):
                assert PHRASE not in Path(f"/proc/{pid}/{name}").read_bytes()
        if IS_ROOT:
            assert in_memory(a.process.pid, str(a.data_dir).encode()), "the search finds nothing at all"
            for name, pid in pids.items():
                if name != "vault":
                    assert not in_memory(pid, PHRASE), name
        assert a.stop() == 0
    for path in short_path.rglob("*"):
        assert not path.is_file() or PHRASE not in path.read_bytes(), path


@pytest.mark.skipif(IS_ROOT, reason="root may look into every process")
def test_no_process_of_the_node_can_be_looked_into(short_path: Path) -> None:
    """Not by the user whose node it is: neither the supervisor, nor the fork server, nor any actor."""
    with sdnode_up(short_path, "anna") as a:
        pids = [int(str(row["pid"])) for row in a.run("actors")]
        assert len(pids) == 7
        assert Path("/proc/self/environ").read_bytes()
        for pid in pids:
            for name in ("environ", "mem", "maps"):
                with pytest.raises(PermissionError):
                    os.open(f"/proc/{pid}/{name}", os.O_RDONLY)
            with pytest.raises(PermissionError):
                os.listdir(f"/proc/{pid}/fd")


def in_memory(pid: int, wanted: bytes) -> bool:
    """Say whether a process has it anywhere in its writable memory."""
    with open(f"/proc/{pid}/maps") as maps:
        ranges = [
            (int(found[1], 16), int(found[2], 16))
            for line in maps
            if (found := re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line))
        ]
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for start, end in ranges:
            memory.seek(start)
            try:
                if wanted in memory.read(end - start):
                    return True
            except OSError:
                continue
    return False


def test_mistakes_with_a_sealed_identity(short_path: Path, phrase: Path) -> None:
    """None and a wrong one: one message each, and the file stays as it is."""
    before = identity(short_path / "anna", PHRASE)
    assert "--ask-passphrase, --passphrase-file FILE or --passphrase-fd N" in refused(short_path)
    phrase.write_bytes(PHRASE[:-1])
    assert "does not open" in refused(short_path, "--passphrase-file", str(phrase))
    assert (short_path / "anna" / "identity.key").read_bytes() == before


@pytest.mark.parametrize("sealed", [True, False])
def test_an_identity_that_cannot_be_used(short_path: Path, phrase: Path, sealed: bool) -> None:
    """Empty, cut, damaged, of a newer version, readable by others, a link: one message, no change."""
    whole = identity(short_path / "anna", PHRASE if sealed else None)
    path = short_path / "anna" / "identity.key"
    newer = whole.replace(b"version" + (b"\x02" if sealed else b"\x01"), b"version\x09", 1)
    for content, said in (
        (b"", "damaged"),
        (whole[:40], "damaged"),
        (whole[:-1], "damaged"),
        (whole[:-5] + b"\0" + whole[-4:], "damaged"),
        (newer, "version 9, made by a newer program"),
    ):
        path.write_bytes(content)
        assert said in refused(short_path, "--passphrase-file", str(phrase))
        assert path.read_bytes() == content
    path.write_bytes(whole)
    path.chmod(0o644)
    assert "chmod 600" in refused(short_path, "--passphrase-file", str(phrase))
    path.chmod(0o600)
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")
    assert "symbolic link" in refused(short_path, "--passphrase-file", str(phrase))
    assert path.with_name("elsewhere").read_bytes() == whole
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["elsewhere", "identity.key", "lock"]


def test_a_disk_that_takes_no_identity(short_path: Path, phrase: Path) -> None:
    """Files may have 200 bytes, so each write stops in the middle: a new identity is not half made, and an
    open one that was to be sealed stays as it was.
    """
    assert "cannot write" in refused(short_path, largest=200)
    assert [path.name for path in (short_path / "anna").iterdir()] == ["lock"]
    before = identity(short_path / "anna")
    message = refused(short_path, "--passphrase-file", str(phrase), largest=200)
    assert "nothing was changed" in message
    assert (short_path / "anna" / "identity.key").read_bytes() == before


def test_a_disk_that_takes_no_database(short_path: Path) -> None:
    """The identity fits and the store does not."""
    assert "devices.db" in refused(
        short_path, "--name", "Anna", largest=1000, code=6
    )  # it may have room later


def test_a_data_directory_that_cannot_be(short_path: Path, phrase: Path) -> None:
    """Below a file, below what is no disk: one message that says what to do."""
    for data_dir in (phrase / "data", Path("/proc/self/none")):
        assert "choose another with --data-dir" in refused(short_path, data_dir=data_dir)


@pytest.mark.skipif(IS_ROOT, reason="nothing is closed to root")
def test_a_data_directory_that_is_closed(short_path: Path) -> None:
    """Not ours to write, or its identity not ours to read."""
    before = identity(short_path / "anna")
    (short_path / "anna" / "identity.key").chmod(0)
    assert "cannot read" in refused(short_path)
    (short_path / "anna" / "identity.key").chmod(0o600)
    assert (short_path / "anna" / "identity.key").read_bytes() == before
    (short_path / "closed").mkdir(mode=0o500)
    assert "cannot use the data directory" in refused(short_path, data_dir=short_path / "closed")


async def test_the_python_api_takes_a_passphrase(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes through a pipe; a wrong one is a NodeStartError that says so."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_path))
    config = NodeConfig(
        data_dir=str(short_path / "anna"), listen=("/ip4/127.0.0.1/tcp/0",), metrics_listen=None, mdns=False
    )
    with trio.fail_after(DEADLINE):
        for _ in range(2):
            async with open_node(config, passphrase=PHRASE) as node:
                assert await node.devices() == []
            assert not would_seal(short_path / "anna")
        with pytest.raises(NodeStartError, match="does not open"):
            async with open_node(config, passphrase=b"another"):
                pass
        for wrong in (b"", b"x" * 1025):
            with pytest.raises(ValueError, match="1 to 1024"):
                async with open_node(config, passphrase=wrong):
                    pass
