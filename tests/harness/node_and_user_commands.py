"""Nodes and users of a test as real commands, with all that they say and show kept to be swept.

Owns the processes, their environment (home, temporary, runtime and working directories are the test's own)
and the record of what they wrote. Knows no secret but the codes that were shown or made up here.
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

from spacedrive_node.tests.harness.secret_sweep import collector as watch
from spacedrive_node.tests.harness.secret_sweep import known_secrets as known
from spacedrive_node.tests.harness.secret_sweep.encodings import Sweep
from spacedrive_node.tests.harness.secret_sweep.places import find_in_files, find_in_texts
from spacedrive_node.tests.harness.secret_sweep.process_views import Watcher

DEADLINE = 60.0
SDNODE = (sys.executable, "-m", "spacedrive_node")
HOMES = {"HOME": "home", "TMPDIR": "tmp", "XDG_RUNTIME_DIR": "run", "XDG_DATA_HOME": "share"}
WORD_ROW = re.compile(r"( *\d+ [a-z]+ *)+")


class Command:
    """One running command."""

    def __init__(self, town: "Town", arguments: tuple[str, ...], fds: tuple[int, ...] = ()) -> None:
        self.arguments = arguments
        self.out: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        with (town.said / f"{len(town.commands)}-{arguments[0]}").open("wb") as errors:
            self.err = Path(errors.name)
            self.process = subprocess.Popen(
                [*SDNODE, *arguments],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, pass_fds=fds,
                env=town.environment, cwd=town.folder / "cwd", start_new_session=True,
            )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        town.commands.append(self)
        town.watcher.add(self.process.pid)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.out.append(line)
            self._lines.put(line)
        self._lines.put(None)

    def line(self) -> str:
        """The next line of its output."""
        line = self._lines.get(timeout=DEADLINE)
        assert line is not None, (self.out, self.err.read_text())
        return line

    def event(self, kind: str) -> dict[str, Any]:
        """The next event of this kind, with --json."""
        while True:
            found: dict[str, Any] = json.loads(self.line())
            if found["event"] == kind:
                return found

    def until(self, text: str) -> str:
        """The next line with this text."""
        while text not in (line := self.line()):
            pass
        return line

    def type(self, text: str) -> None:
        """Give it a line of input."""
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def close_input(self) -> None:
        """Say that no more comes."""
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
        """End it, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    @property
    def texts(self) -> list[tuple[str, bytes]]:
        """Its output, without the words where they belong: the output of `sdnode pair`."""
        lines = self.out
        if self.arguments[0] == "pair":
            lines = [line for line in lines if not WORD_ROW.fullmatch(line.rstrip("\n"))]
            lines = [line for line in lines if not (line[0] == "{" and json.loads(line)["event"] == "code")]
        return [(f"output of {self.arguments[0]}", "".join(lines).encode())]


class Town:
    """Some nodes and their users."""

    def __init__(self, folder: Path, watcher: Watcher, as_json: bool, log_format: str) -> None:
        self.folder, self.watcher, self.as_json, self.log_format = folder, watcher, as_json, log_format
        self.said = folder / "said"
        for name in (*HOMES.values(), "cwd", "said"):
            (folder / name).mkdir(mode=0o700)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("SDNODE_")}
        self.environment = clean | {name: str(folder / place) for name, place in HOMES.items()}
        self.commands: list[Command] = []
        self.codes: set[str] = set()
        self.phrases: set[bytes] = set()
        self.texts: list[tuple[str, bytes]] = []
        watch.folder(folder)

    def start(self, *arguments: str, fds: tuple[int, ...] = ()) -> Command:
        """Start a command."""
        return Command(self, arguments, fds)

    def up(self, name: str, *flags: str, fds: tuple[int, ...] = ()) -> tuple[Command, dict[str, Any]]:
        """Start a node; return it when it is ready, with what it says then."""
        node = self.start(
            "up", "--json", "--data-dir", str(self.folder / name), "--name", name,
            "--log-level", "debug", "--log-format", self.log_format, "--no-mdns",
            "--listen", "/ip4/127.0.0.1/tcp/0", "--metrics-listen", "127.0.0.1:0", *flags, fds=fds,
        )  # fmt: skip
        return node, node.event("ready")

    def at(self, name: str, *arguments: str, as_json: bool | None = None) -> Command:
        """Start a command at a node."""
        form = ("--json",) if (self.as_json if as_json is None else as_json) else ()
        return self.start(*arguments, *form, "--data-dir", str(self.folder / name))

    def pair(self, name: str) -> tuple[Command, str]:
        """Show a code at a node; return its words too."""
        showing = self.at(name, "pair")
        if self.as_json:
            words = str(showing.event("code")["words"])
        else:
            showing.until("enter these words")
            rows = "".join(showing.line() for _ in range(4))
            words = " ".join(
                word for _, word in sorted((int(n), w) for n, w in re.findall(r"(\d+) (\S+)", rows))
            )
        self.enter(words)
        return showing, words

    def enter(self, words: str) -> None:
        """Note the words of a code."""
        self.codes.add(words)
        watch.code(words)

    def asked(self, *commands: Command) -> None:
        """Wait until each of these commands asks whether the device is to be trusted, and look at all."""
        for command in commands:
            if self.as_json:
                command.event("confirm")
            else:
                command.until("this device knows the words")
        self.watcher.look()

    def sweep(self) -> Sweep:
        """All secrets there are."""
        sweep = Sweep()
        for words in self.codes:
            known.add_code(sweep, words)
        for phrase in self.phrases:
            sweep.add_phrase("passphrase", phrase)
        for identity in self.folder.glob("*/identity.key"):
            assert known.add_data(sweep, identity.parent, self.phrases), identity
        return sweep

    def found(self, sweep: Sweep, *, but: str = "") -> list[str]:
        """What of them stands where it must not be: outputs, errors, processes, answers, files.

        `but`: not in this file of processes, where the user has put it.
        """
        texts = [*self.texts, *self.watcher.texts()]
        for command in self.commands:
            texts += command.texts
        texts = [(place, text) for place, text in texts if not (but and place.startswith(but))]
        return find_in_texts(sweep, texts) + find_in_files(sweep, self.folder)


@contextmanager
def town(folder: Path, *, as_json: bool = True, log_format: str = "json") -> Iterator[Town]:
    """Have one; whatever still runs is ended with it, nodes in order and the rest at once."""
    with Watcher() as watcher:
        made = Town(folder, watcher, as_json, log_format)
        try:
            yield made
        finally:
            for command in made.commands:
                if command.arguments[0] == "up" and command.process.poll() is None:
                    command.process.send_signal(signal.SIGTERM)
                    command.process.wait(DEADLINE)
                command.close()
