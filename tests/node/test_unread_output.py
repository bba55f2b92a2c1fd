"""A node whose output nobody takes: a pipe without a reader at work, a terminal stopped with Ctrl-S."""

import fcntl
import json
import os
import pty
import signal
import subprocess
import tempfile
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spacedrive_node.tests.harness.node_commands import DEADLINE, SDNODE

_FLAGS = ("--listen", "/ip4/127.0.0.1/tcp/0", "--metrics-listen", "off", "--no-mdns", "--log-level", "debug")


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sdnode-") as name:
        yield Path(name)


@contextmanager
def _full_pipe() -> Iterator[int]:
    """The end of a pipe that takes nothing more; nobody reads the other end."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, b"x" * 4096)
    try:
        yield writer
    finally:
        os.close(writer)
        os.close(reader)


@contextmanager
def _stopped_terminal() -> Iterator[int]:
    """A terminal in which somebody has pressed Ctrl-S."""
    master, slave = pty.openpty()
    termios.tcflow(slave, termios.TCOOFF)
    try:
        yield slave
    finally:
        os.close(slave)
        os.close(master)


def _up(folder: Path, output: int, *flags: str, stdout: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [*SDNODE, "up", "--data-dir", str(folder / "anna"), *_FLAGS, *flags],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=output,
        env={**os.environ, "XDG_RUNTIME_DIR": str(folder)},
    )


def _wait_until_ready(folder: Path, process: "subprocess.Popen[bytes]") -> None:
    """Ask for the status, as an operator would, until it says ready; each answer comes within seconds."""
    while True:
        assert process.poll() is None, process.returncode
        done = subprocess.run(
            [*SDNODE, "status", "--json", "--data-dir", str(folder / "anna")],
            capture_output=True,
            timeout=DEADLINE,
            env={**os.environ, "XDG_RUNTIME_DIR": str(folder)},
        )
        if done.stdout and json.loads(done.stdout)["ready"]:
            return


@pytest.mark.parametrize("both", [False, True], ids=["log", "log and output"])
@pytest.mark.parametrize("make", [_full_pipe, _stopped_terminal], ids=["pipe", "terminal"])
def test_a_node_whose_output_nobody_takes_answers_and_stops(folder: Path, make, both: bool) -> None:
    """It becomes ready, and SIGTERM ends it with exit code 0."""
    with make() as output:
        process = _up(folder, output, stdout=output if both else subprocess.DEVNULL)
        try:
            _wait_until_ready(folder, process)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()
            process.wait()


def test_a_node_that_cannot_start_does_not_wait_for_a_reader_of_its_error(folder: Path) -> None:
    (folder / "anna").mkdir(mode=0o700)
    (folder / "anna" / "identity.key").write_bytes(b"damaged")
    with _full_pipe() as output:
        process = _up(folder, output, stdout=subprocess.DEVNULL)
        try:
            assert process.wait(DEADLINE) == 2
        finally:
            process.kill()
            process.wait()
