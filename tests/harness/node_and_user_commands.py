"""Nodes and their users as real commands, with everything that they write kept for the search for secrets.

Owns the processes, their environment (with home, temporary, runtime and working directories below the test's
folder) and the record of what they wrote. Knows the codes and passphrases that the test used.
"""

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spacedrive_node.tests.harness.secret_sweep import collector, known_secrets
from spacedrive_node.tests.harness.secret_sweep.encodings import SecretSearch
from spacedrive_node.tests.harness.secret_sweep.places import find_in_files, find_in_texts
from spacedrive_node.tests.harness.secret_sweep.process_views import ProcessSampler

DEADLINE = 60.0
SDNODE = (sys.executable, "-m", "spacedrive_node")
HOMES = {"HOME": "home", "TMPDIR": "tmp", "XDG_RUNTIME_DIR": "run", "XDG_DATA_HOME": "share"}
WORD_ROW = re.compile(r"( *\d+ [a-z]+ *)+")


class Command:
    """One running command."""

    def __init__(self, owner: "NodesAndUsers", arguments: tuple[str, ...], fds: tuple[int, ...] = ()) -> None:
        self.arguments = arguments
        self.out: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        with (owner.stderr_folder / f"{len(owner.commands)}-{arguments[0]}").open("wb") as errors:
            self.err = Path(errors.name)
            self.process = subprocess.Popen(
                [*SDNODE, *arguments],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, pass_fds=fds,
                env=owner.environment, cwd=owner.folder / "cwd", start_new_session=True,
            )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        owner.commands.append(self)
        owner.sampler.add(self.process.pid)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.out.append(line)
            self._lines.put(line)
        self._lines.put(None)

    def line(self) -> str:
        """Return the next line of its standard output."""
        line = self._lines.get(timeout=DEADLINE)
        assert line is not None, (self.out, self.err.read_text())
        return line

    def event(self, kind: str) -> dict[str, Any]:
        """Return the next event of this kind. The command runs with --json."""
        while True:
            found: dict[str, Any] = json.loads(self.line())
            if found["event"] == kind:
                return found

    def wait_until(self, text: str) -> str:
        """Return the next line that contains this text."""
        while text not in (line := self.line()):
            pass
        return line

    def type(self, text: str) -> None:
        """Write a line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def close_input(self) -> None:
        """Close its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Wait until it ends by itself; return its exit code."""
        code = self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        self.close()
        return code

    def close(self) -> None:
        """Kill it if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    @property
    def texts(self) -> list[tuple[str, bytes]]:
        """Its output. The words are left out of that of `sdnode pair`, where they belong."""
        lines = self.out
        if self.arguments[0] == "pair":
            lines = [line for line in lines if not WORD_ROW.fullmatch(line.rstrip("\n"))]
            lines = [line for line in lines if not (line[0] == "{" and json.loads(line)["event"] == "code")]
        return [(f"output of {self.arguments[0]}", "".join(lines).encode())]


class NodesAndUsers:
    """The commands of some nodes and of their users."""

    def __init__(self, folder: Path, sampler: ProcessSampler, as_json: bool, log_format: str) -> None:
        self.folder, self.sampler, self.as_json, self.log_format = folder, sampler, as_json, log_format
        self.stderr_folder = folder / "stderr"
        for name in (*HOMES.values(), "cwd", "stderr"):
            (folder / name).mkdir(mode=0o700)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("SDNODE_")}
        self.environment = clean | {name: str(folder / place) for name, place in HOMES.items()}
        self.commands: list[Command] = []
        self.codes: set[str] = set()
        self.passphrases: set[bytes] = set()
        self.texts: list[tuple[str, bytes]] = []
        collector.add_folder(folder)

    def start(self, *arguments: str, fds: tuple[int, ...] = ()) -> Command:
        """Start a command."""
        return Command(self, arguments, fds)

    def up(self, name: str, *flags: str, fds: tuple[int, ...] = ()) -> tuple[Command, dict[str, Any]]:
        """Start a node. Return it when it is ready, with its event `ready`."""
        node = self.start(
            "up", "--json", "--data-dir", str(self.folder / name), "--name", name,
            "--log-level", "debug", "--log-format", self.log_format, "--no-mdns", "--no-port-mapping",
            "--listen", "/ip4/127.0.0.1/tcp/0", "--metrics-listen", "127.0.0.1:0", *flags, fds=fds,
        )  # fmt: skip
        return node, node.event("ready")

    def at(self, name: str, *arguments: str, as_json: bool | None = None) -> Command:
        """Start a command that uses a node."""
        form = ("--json",) if (self.as_json if as_json is None else as_json) else ()
        return self.start(*arguments, *form, "--data-dir", str(self.folder / name))

    def pair(self, name: str) -> tuple[Command, str]:
        """Show a code at a node. Return the command and the words."""
        showing = self.at(name, "pair")
        if self.as_json:
            words = str(showing.event("code")["words"])
        else:
            showing.wait_until("enter these words")
            rows = "".join(showing.line() for _ in range(4))
            words = " ".join(
                word for _, word in sorted((int(n), w) for n, w in re.findall(r"(\d+) (\S+)", rows))
            )
        self.add_code(words)
        return showing, words

    def add_code(self, words: str) -> None:
        """Search for the words of a code."""
        self.codes.add(words)
        collector.add_code(words)

    def wait_for_questions(self, *commands: Command) -> None:
        """Wait until each command asks whether to trust the device, and take a sample of all processes."""
        for command in commands:
            if self.as_json:
                command.event("confirm")
            else:
                command.wait_until("this device knows the words")
        self.sampler.sample()

    def search(self) -> SecretSearch:
        """Return a search for all secrets of the nodes."""
        search = SecretSearch()
        for words in self.codes:
            known_secrets.add_code(search, words)
        for phrase in self.passphrases:
            search.add_phrase("passphrase", phrase)
        for identity in self.folder.glob("*/identity.key"):
            assert known_secrets.add_data(search, identity.parent, self.passphrases), identity
        return search

    def findings(self, search: SecretSearch, *, except_in: str = "") -> list[str]:
        """Return which secrets are in outputs, processes, answers or files, and where.

        `except_in`: a file of /proc where the user has put the secret, such as "cmdline".
        """
        texts = [*self.texts, *self.sampler.texts()]
        for command in self.commands:
            texts += command.texts
        texts = [(place, text) for place, text in texts if not (except_in and place.startswith(except_in))]
        return find_in_texts(search, texts) + find_in_files(search, self.folder)


@contextmanager
def open_nodes_and_users(
    folder: Path, *, as_json: bool = True, log_format: str = "json"
) -> Iterator[NodesAndUsers]:
    """Open a NodesAndUsers. At the end stop the nodes in order and kill all other commands."""
    with ProcessSampler() as sampler:
        made = NodesAndUsers(folder, sampler, as_json, log_format)
        try:
            yield made
        finally:
            for command in made.commands:
                if command.arguments[0] == "up" and command.process.poll() is None:
                    command.process.send_signal(signal.SIGTERM)
                    command.process.wait(DEADLINE)
                command.close()
