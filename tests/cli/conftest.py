"""A fake node at a short path, and the command line as a real process."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from spacedrive_node.tests.harness.command_process import Command
from spacedrive_node.tests.harness.fake_node import FakeNode
from spacedrive_node.tests.harness.terminal import Terminal


@pytest.fixture
def folder():
    """A directory whose path is short enough for a socket, private as a runtime directory must be."""
    path = Path(tempfile.mkdtemp(prefix="sdn-cli-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def node(folder):
    """A node that does as the test says."""
    fake = FakeNode(folder / "c.sock")
    yield fake
    fake.stop()


@pytest.fixture
def environment(folder):
    """The process's environment without settings of whoever runs the tests."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("SDNODE_")}
    return clean | {
        "XDG_RUNTIME_DIR": str(folder),
        "XDG_DATA_HOME": str(folder),
        "TERM": "xterm",
        "COLUMNS": "100",
    }


@pytest.fixture
def sdnode(environment):
    """Start a command; what still runs at the end of the test is killed."""
    started = []

    def start(*arguments, env=(), **options):
        command = Command(arguments, environment | dict(env), **options)
        started.append(command)
        return command

    yield start
    for command in started:
        if command.process.poll() is None:
            command.process.kill()
        command.end()


@pytest.fixture
def terminal(environment):
    """Start a command on a terminal."""
    started = []

    def start(*arguments, env=(), **options):
        started.append(Terminal(arguments, environment | dict(env), **options))
        return started[-1]

    yield start
    for one in started:
        one.close()
