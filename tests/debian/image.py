"""The container image: built by buildah, and run as an engine would run it. `make test-container`.

Real: every step of the Containerfile, and the node in its root as the image's own settings say: user,
variables, command, health check; no capability, no new privileges, a root that is only read. Not here: an
engine, its filter of system calls, its network; Debian of debootstrap stands for `debian:12-slim`.
"""

import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from spacedrive_node.cli import exit_codes
from spacedrive_node.tests.harness.debian_machine import KEPT, ROOT, DebianMachine, debian_machine

BASE, IMAGE = "localhost/debian:12-slim", "localhost/spacedrive-node"
Settings = dict[str, Any]
PYTHON = "/usr/lib/spacedrive-node/bin/python3"
GET = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode(), end='')"


@pytest.fixture(scope="session")
def image(debian: Path) -> Iterator[tuple[Path, Settings]]:
    """The root of the image, and its settings."""
    if shutil.which("buildah") is None:
        pytest.skip("buildah is not installed: THE IMAGE IS NOT TESTED")
    assert debian.exists()  # and so does its archive
    with tempfile.TemporaryDirectory(prefix="sdnode-") as store:

        def buildah(*argv: str) -> str:
            program = ["buildah", "--root", f"{store}/layers", "--runroot", f"{store}/run"]
            done = subprocess.run([*program, *argv], stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
            return done.stdout.strip()

        try:
            working = buildah("from", "scratch")
            buildah("add", "--quiet", working, str(KEPT / "bookworm.tar"), "/")
            buildah("commit", "--quiet", "--rm", working, BASE)
            flags = [
                "--isolation",
                "chroot",
                "--pull-never",
                "--format",
                "docker",
                "--build-arg",
                f"BASE={BASE}",
            ]
            flags += shlex.split(os.environ.get("BUILD_FLAGS", ""))
            buildah("build", *flags, "--tag", IMAGE, "--file", "deploy/container/Containerfile", ".")
            working = buildah("from", "--pull-never", IMAGE)
            settings = json.loads(buildah("inspect", working))["Docker"]["config"]
            yield Path(buildah("mount", working)), settings
        finally:
            buildah("rm", "--all")
            subprocess.run(["umount", "--quiet", f"{store}/layers/overlay"], check=False)


@contextmanager
def container(root: Path, settings: Settings, folder: str, volume: str) -> Iterator[DebianMachine]:
    """Run a machine whose root is that of the image and only read, with a volume of these owners and mode."""
    (target,) = settings["Volumes"]
    with debian_machine([root], Path(folder, "upper")) as machine:
        machine.run("mount", "-t", "tmpfs", "-o", volume, "tmpfs", target)
        machine.run("mount", "-o", "remount,ro", "/")
        yield machine


def as_image(settings: Settings, *argv: str) -> list[str]:
    """Return the command line that runs a command with the user, rights and variables of the image."""
    user, _, group = str(settings["User"]).partition(":")
    apart = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
    apart += ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
    return [*apart, "env", "HOME=/", *settings["Env"], *argv]


VOLUMES = ["uid=10001,gid=10001,mode=0700", "uid=0,gid=10001,mode=2775"]
"""As an engine makes a volume, and as `fsGroup` of Kubernetes leaves one."""


@pytest.mark.parametrize("volume", VOLUMES, ids=["engine", "fsGroup"])
def test_the_image_runs_a_node(image: tuple[Path, Settings], folder: str, volume: str) -> None:
    """It gets ready, is healthy, alive and ready for probes, whole in its sandbox, and stops when told."""
    root, settings = image
    command = [*settings["Entrypoint"], *settings["Cmd"], "--json", "--log-level", "debug"]
    healthcheck = settings["Healthcheck"]["Test"][1:]
    log = "/tmp/log"
    with container(root, settings, folder, volume) as machine:
        script = f'echo $$; exec "$@" 2>{log}'
        with machine.started(*as_image(settings, "sh", "-c", script, "sh", *command)) as process:
            assert process.stdout is not None
            number = process.stdout.readline().strip()
            ready = json.loads(process.stdout.readline() or "{}")
            assert ready.get("event") == "ready", machine.run("cat", log)
            machine.run(*as_image(settings, *healthcheck))
            for path in ("livez", "readyz"):
                machine.run(*as_image(settings, PYTHON, "-c", GET, f"http://127.0.0.1:9464/{path}"))
            machine.run("sh", "-c", 'kill -TERM "$0"', number)
            assert process.wait(30) == 0
        lines = [json.loads(line) for line in machine.run("cat", log).splitlines()]
        sandboxes = {one["actor"]: one for one in lines if one["event"] == "sandbox"}
        assert {"swarm", "vault", "gateway", "discovery", "metrics"} <= set(sandboxes)
        for one in sandboxes.values():
            steps = set(one) - {"actor", "event", "level", "timestamp"}
            assert {one[step] for step in steps} == {"ok"}, one
        machine.run(*as_image(settings, *healthcheck), code=exit_codes.NO_NODE)
