"""The package, and a Debian in which it is installed; both are made once."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from spacedrive_node.tests.harness.debian_machine import ROOT, base, debian_machine, missing

BUILD = ROOT / "deploy/debian/build.py"


def built(target: Path, *flags: str) -> Path:
    done = subprocess.run(
        [sys.executable, str(BUILD), str(target), *flags], stdout=subprocess.PIPE, text=True, check=True
    )
    return Path(done.stdout.strip())


@pytest.fixture
def folder() -> Iterator[str]:
    """An empty directory for whole Debians. No Path: the search for secrets would read it for minutes."""
    with tempfile.TemporaryDirectory(prefix="sdnode-") as name:
        yield name


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as `make deb` builds it, or the one that is given (`make test-deb DEB=…`)."""
    if given := os.environ.get("DEB"):
        return Path(given).absolute()
    return built(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="session")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest Debian, as a layer."""
    if problem := missing():
        pytest.skip(problem)
    return base(tmp_path_factory.mktemp("debian"))


@pytest.fixture(scope="session")
def installed(debian: Path, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Path]:
    """The layers of a Debian in which apt has installed the package, with the users anna and bruno."""
    upper = tmp_path_factory.mktemp("installed") / "upper"
    (upper / "var/tmp").mkdir(parents=True)
    (upper / "var/tmp").chmod(0o1777)
    (upper / "var/tmp" / package.name).write_bytes(package.read_bytes())
    (upper / "etc/dpkg/dpkg.cfg.d").mkdir(parents=True)
    (upper / "etc/dpkg/dpkg.cfg.d/quick").write_text("force-unsafe-io\n")
    with debian_machine([debian], upper, network=True) as machine:
        machine.run("apt-get", "update")
        machine.run("apt-get", "install", "--yes", "--no-install-recommends", f"/var/tmp/{package.name}")
        machine.add_user("anna")
        machine.add_user("bruno")
    return [debian, upper]
