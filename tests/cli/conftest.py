"""A fake node at a short path, and the command line as a real process."""

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fake_node import PATIENCE, WORDS, FakeNode
from terminal import Terminal

from spacedrive_node.tests.secrets import watch


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


class Command:
    """One running command; threads collect what it writes, and its lines can be awaited."""

    def __init__(self, arguments, env, stdin=subprocess.PIPE):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "spacedrive_node", *arguments],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            text=True,
            start_new_session=True,  # no controlling terminal, whoever runs the tests
        )
        self.out, self.err = [], []
        self._lines = queue.Queue()
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.out), daemon=True),
            threading.Thread(target=self._read, args=(self.process.stderr, self.err), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream, kept):
        for line in stream:
            kept.append(line)
            if kept is self.out:
                self._lines.put(line)
        stream.close()

    def line(self):
        """The next line of stdout."""
        return self._lines.get(timeout=PATIENCE)

    def type(self, text):
        """Write to stdin."""
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def close_input(self):
        """End stdin."""
        self.process.stdin.close()

    def interrupt(self):
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def end(self):
        """Exit code, all of stdout, all of stderr. Standard input stays open until then."""
        code = self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        watch.code(WORDS)
        watch.said("standard error of a command", "".join(self.err))
        return code, "".join(self.out), "".join(self.err)


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

    def start(*arguments):
        started.append(Terminal(arguments, environment))
        return started[-1]

    yield start
    for one in started:
        one.close()
