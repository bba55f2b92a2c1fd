"""The Debian package: built twice alike, installed, used, upgraded, removed and purged. `make test-deb`."""

import hashlib
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from spacedrive_node.tests.debian.conftest import built
from spacedrive_node.tests.harness.debian_machine import ROOT, debian_machine
from spacedrive_node.tests.harness.debian_nodes import devices, pair, sdnode_up

FORMER = "e8981a109693610b80b582b41be12682fdb2cb20"
"""A commit whose devices.db has the first version of its schema."""
DATA, SETTINGS = "/var/lib/spacedrive-node", "/etc/default/spacedrive-node"


def members(package: Path) -> dict[str, str]:
    """Return the hash of all that dpkg unpacks, and of what it does, each in its order and with its times."""
    return {
        part: hashlib.sha256(
            subprocess.run(["dpkg-deb", f"--{part}-tarfile", package], capture_output=True, check=True).stdout
        ).hexdigest()
        for part in ("fsys", "ctrl")
    }


def test_two_builds_give_the_same_bytes(package: Path, folder: str) -> None:
    assert members(built(Path(folder), "--compression", "none")) == members(package)


def test_nothing_names_the_machine_that_has_built_it(package: Path, folder: str) -> None:
    """Neither its tree nor the home directory of whoever built it, in sources, bytecode or records."""
    subprocess.run(["dpkg-deb", "--extract", package, folder], check=True)
    names = [str(ROOT).encode(), os.path.realpath(shutil.which("python3") or "/nowhere").encode()]
    found = [path for path in Path(folder).rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(found) > 3000
    for path in found:
        content = path.read_bytes()
        assert not [name for name in names if name in content and name != b"/usr/bin/python3.11"], path


def test_lintian_has_no_remark(package: Path) -> None:
    if shutil.which("lintian") is None:
        pytest.skip("lintian is not installed: THE PACKAGE IS NOT CHECKED")
    done = subprocess.run(
        ["lintian", "--allow-root", "--fail-on", "error,warning", package], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_needs_no_compiler_and_finds_all_its_libraries(installed: Sequence[Path], folder: str) -> None:
    with debian_machine(installed, Path(folder, "upper")) as machine:
        assert machine.run("sdnode", "--version", user="anna").startswith("sdnode ")
        machine.run("sh", "-c", "! command -v gcc && ! command -v cc && ! command -v pip")
        libraries = "find /usr/lib/spacedrive-node -name '*.so*' -exec ldd {} +"
        listed = machine.run("sh", "-c", libraries, code=None)
        assert "libc.so.6 =>" in listed
        assert "not found" not in listed
        # As root, so that what is not compiled would be written now.
        machine.run("sdnode", "up", "--check-config")
        assert (
            machine.run("find", "/usr/lib/spacedrive-node", "-newer", "/usr/bin/sdnode", "-type", "f") == ""
        )


def test_two_users_nodes_pair(installed: Sequence[Path], folder: str) -> None:
    """On a machine that has its loopback alone; and one command shows a whole pairing."""
    with debian_machine(installed, Path(folder, "upper")) as machine:
        assert "fingerprint" in machine.run("sdnode", "demo", user="bruno")
        first, second = ("anna", "/var/tmp/anna/one"), ("anna", "/var/tmp/anna/two")
        with sdnode_up(machine, *first) as ready, sdnode_up(machine, *second):
            assert ready["event"] == "ready"
            assert pair(machine, first, second)["event"] == "paired"
            assert devices(machine, *first) == {"anna": "paired"}


def former_source(folder: Path) -> Path:
    """Return the tree of the former commit; without its history, this one, whose upgrade migrates nothing."""
    archive = folder / "former.tar"
    done = subprocess.run(["git", "-C", ROOT, "archive", "--output", archive, FORMER], check=False)
    if done.returncode != 0:
        return ROOT
    with tarfile.open(archive) as whole:
        whole.extractall(folder / "former", filter="data")
    return folder / "former"


def test_an_upgrade_keeps_devices_and_settings(installed: Sequence[Path], package: Path, folder: str) -> None:
    """The database of a version with an older schema is migrated; a setting that somebody wrote stays."""
    old = built(
        Path(folder), "--compression", "none", "--version", "0.0.1", "--source", former_source(Path(folder))
    )
    upper = Path(folder, "upper")
    (upper / "var").mkdir(parents=True)
    shutil.copy(old, upper / "var")
    first, second = ("anna", "/var/tmp/anna/one"), ("anna", "/var/tmp/anna/two")
    with debian_machine(installed, upper) as machine:
        machine.run("dpkg", "--install", f"/var/{old.name}")
        assert machine.run("sdnode", "--version") == "sdnode 0.1.0\n"
        with sdnode_up(machine, *first), sdnode_up(machine, *second):
            pair(machine, first, second)
        machine.run("sh", "-c", f"echo SDNODE_NAME=Attic >> {SETTINGS}")
        machine.run("dpkg", "--install", f"/var/tmp/{package.name}")
        assert "SDNODE_NAME=Attic" in machine.run("cat", SETTINGS)
        with sdnode_up(machine, *first), sdnode_up(machine, *second):
            assert devices(machine, *first) == devices(machine, *second) == {"anna": "paired"}
            assert pair(machine, second, first)["event"] == "paired"


def test_removing_keeps_data_and_purging_deletes_it(installed: Sequence[Path], folder: str) -> None:
    with debian_machine(installed, Path(folder, "upper")) as machine:
        data_dir = ("--data-dir", DATA)
        machine.run("install", "-d", "-o", "spacedrive", "-g", "spacedrive", "-m", "700", DATA)
        with sdnode_up(machine, "spacedrive", DATA):
            assert machine.run("sdnode", "status", *data_dir, user="spacedrive")
        machine.run("dpkg", "--remove", "spacedrive-node")
        assert {"identity.key", "devices.db"} <= set(machine.run("ls", DATA).split())
        machine.run("test", "-e", SETTINGS)
        machine.run("sh", "-c", "! command -v sdnode && ! ls /usr/lib/spacedrive-node")
        machine.run("dpkg", "--purge", "spacedrive-node")
        left = machine.run("find", "/", "-xdev", "-name", "*spacedrive-node*").split()
        assert [one for one in left if not re.match(r"/var/tmp/spacedrive-node_\S+\.deb$", one)] == []
        assert "spacedrive:" in machine.run("cat", "/etc/passwd")
