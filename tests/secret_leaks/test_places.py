"""The sweep looks into every place: files and their names, processes, HTTP; and excepts one kind of file."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from spacedrive_node.actors.vault.data_directory import DataDirectory
from spacedrive_node.actors.vault.identity_file import open_identity
from spacedrive_node.actors.vault.passphrase_seal import Argon2Costs
from spacedrive_node.tests.harness.secret_sweep import known_secrets
from spacedrive_node.tests.harness.secret_sweep.encodings import SecretSearch
from spacedrive_node.tests.harness.secret_sweep.places import find_in_files, http_get
from spacedrive_node.tests.harness.secret_sweep.process_views import ProcessSampler

SECRET = os.urandom(32)
DEADLINE = 60


@pytest.fixture
def search() -> SecretSearch:
    made = SecretSearch()
    made.add("it", SECRET)
    return made


def test_files_and_their_names(folder: Path, search: SecretSearch) -> None:
    """Deep, hidden, binary, large, beside a link that leads nowhere; links themselves are not followed."""
    assert find_in_files(search, folder) == []
    deep = folder / "a" / ".b"
    deep.mkdir(parents=True)
    (folder / "a" / "nowhere").symlink_to("none")
    (folder / "loop").symlink_to(folder)
    (deep / "db").write_bytes(os.urandom(5 << 20) + SECRET + bytes(1000))
    assert find_in_files(search, folder) == ["it as raw in a/.b/db"]
    assert find_in_files(search, folder, allowed=[deep / "db"]) == []
    (deep / SECRET.hex()).touch()
    assert "it as hex in the name of a file" in find_in_files(search, folder)


def test_an_identity_may_hold_its_seeds_and_nothing_else(folder: Path) -> None:
    """Without a passphrase and private; not readable by others, not sealed, and no other secret in it."""
    for name, phrase in (("open", None), ("sealed", b"a passphrase")):
        directory = DataDirectory(folder / name)
        costs = Argon2Costs(memory=8, passes=1, lanes=1)
        open_identity(directory, may_create=True, passphrase=phrase, costs=costs)
        directory.close()
    for name in ("open", "sealed"):
        search = SecretSearch()
        assert known_secrets.add_data(search, folder / name, [b"a passphrase"])
        assert search.names == known_secrets.OF_IDENTITY
        assert find_in_files(search, folder) == []
        identity = folder / name / "identity.key"
        whole = identity.read_bytes()
        (folder / "copy").write_bytes(whole[50:])
        assert bool(find_in_files(search, folder)) == (name == "open")
        (folder / "copy").unlink()
        seeds = known_secrets.seeds_in(whole, [b"a passphrase"])
        assert seeds is not None
        (folder / "devices.db").write_bytes(seeds.storage)
        assert "storage key as raw in devices.db" in find_in_files(search, folder)
        (folder / "devices.db").unlink()
    search = SecretSearch()
    assert known_secrets.add_data(search, folder / "open")
    identity = folder / "open" / "identity.key"
    identity.chmod(0o640)
    assert "device seed as raw in open/identity.key" in find_in_files(search, folder)
    identity.chmod(0o600)
    search.add("it", SECRET)
    identity.write_bytes(identity.read_bytes() + SECRET)
    assert find_in_files(search, folder) == ["it as raw in open/identity.key"]
    assert not known_secrets.add_data(SecretSearch(), folder / "sealed", [b"another"])


GRANDCHILD = """
import sys
if sys.argv[1] == "title":
    open("/proc/self/comm", "wb").write(bytes.fromhex("27fb5c41e1963fd8"))
print("there", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("place", ["cmdline", "environ", "comm"])
def test_processes_and_what_descends_from_them(place: str) -> None:
    """Arguments, environment and title of a grandchild, also when it is long gone."""
    secret = bytes.fromhex("27fb5c41e1963fd81122fe7d90a8b3c4")
    search = SecretSearch()
    search.add("it", secret)
    word = {"cmdline": secret.hex(), "environ": "nothing", "comm": "title"}[place]
    environment = {**os.environ, **({"IT": secret.hex()} if place == "environ" else {})}
    with ProcessSampler() as sampler:
        process = subprocess.Popen(
            [sys.executable, "-c", "import subprocess, sys; subprocess.run(sys.argv[1:], check=True)",
             sys.executable, "-c", GRANDCHILD, word],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        sampler.add(process.pid)
        process.communicate(timeout=DEADLINE)
    assert len(sampler.pids) == 2
    found = [where for where, text in sampler.texts() if search.find(text)]
    assert any(where.startswith(f"{place} of process") for where in found)


RENAMED = """
import sys
sys.stdin.read(1)
open("/proc/self/comm", "w").write("later")
sys.stdin.read()
"""


def test_it_looks_by_itself() -> None:
    """Again and again while it is open: what comes later is seen too."""
    with ProcessSampler() as sampler:
        process = subprocess.Popen([sys.executable, "-c", RENAMED], stdin=subprocess.PIPE, text=True)
        assert process.stdin is not None
        sampler.add(process.pid)
        process.stdin.write("x")
        process.stdin.flush()
        assert sampler.wait_until(lambda: ("comm", b"later\n") in sampler.seen, DEADLINE)
        process.communicate(timeout=DEADLINE)


def test_http_answers_are_read_whole(search: SecretSearch) -> None:
    """Head and body."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 200 \r\nX: " + SECRET.hex().encode() + b"\r\n\r\n" + SECRET)

        thread = threading.Thread(target=serve)
        thread.start()
        said = http_get(f"127.0.0.1:{server.getsockname()[1]}", "/metrics")
        thread.join(DEADLINE)
    assert search.find(said) == ["it as hex", "it as raw"]
