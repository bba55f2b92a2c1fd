"""Runs real commands against real nodes, and checks what must hold of every mistake of a user."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from spacedrive_node.tests.harness.secret_sweep import collector

DEADLINE = 60.0
SDNODE = (sys.executable, "-m", "spacedrive_node")
UNUSED_WORDS = "abandon " * 11 + "about"


@dataclass(frozen=True)
class FinishedCommand:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """Its output with --json, one object a line."""
        return [json.loads(line) for line in self.out.splitlines()]

    def expect_refusal(self, code: int, *said: str) -> None:
        """Check that it ended with this exit code and one message on stderr that contains all these texts."""
        assert self.code == code, (self.out, self.err)
        assert "Traceback" not in self.out + self.err
        assert "internal error" not in self.err
        assert self.err.count("sdnode:") == 1, self.err
        for text in said:
            assert text in self.err, self.err

    def expect_failure(self, code: int, outcome: str, *said: str) -> None:
        """Check that the pairing of a command with --json failed so, reported once, on stdout."""
        assert self.code == code, (self.out, self.err)
        assert "Traceback" not in self.out + self.err
        ends = [event for event in self.events if event["event"] in ("failed", "paired")]
        assert [event["event"] for event in ends] == ["failed"]
        assert self.events[-1] == ends[0]
        assert ends[0]["outcome"] == outcome
        for text in said:
            assert text in ends[0]["message"]


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a command: without settings of a node, with directories below `folder`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SDNODE_")}
    return clean | {"XDG_RUNTIME_DIR": str(folder), "XDG_DATA_HOME": str(folder / "share")}


def run(
    folder: Path,
    *arguments: str,
    stdin: str = "",
    more: Mapping[str, str] | None = None,
    before: Sequence[str] = (),
) -> FinishedCommand:
    """Run one command to its end; `before` is a program that starts it, with its arguments."""
    collector.add_folder(folder)
    collector.add_passphrase_of(arguments)
    done = subprocess.run(
        [*before, *SDNODE, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env={**environment(folder), **(more or {})},
    )
    collector.add_json_output(done.stdout)
    collector.add_text(f"standard error of {arguments[0]}", done.stderr)
    return FinishedCommand(done.returncode, done.stdout, done.stderr)


class RunningCommand:
    """A command that runs while the test goes on. Its standard input stays open until `end`."""

    def __init__(self, folder: Path, *arguments: str, more: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [*SDNODE, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**environment(folder), **(more or {})},
            text=True,
        )
        self._read = ""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def event(self, kind: str) -> dict[str, Any]:
        """Return the next event of this kind."""
        assert self._process.stdout is not None
        with trio.fail_after(DEADLINE):
            while line := await trio.to_thread.run_sync(
                self._process.stdout.readline, abandon_on_cancel=True
            ):
                self._read += line
                collector.add_json_output(line)
                if (event := json.loads(line))["event"] == kind:
                    return event
        raise AssertionError(f"it ended without {kind}: {self._read}")

    def answer(self, text: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(text + "\n")
        self._process.stdin.flush()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    async def end(self) -> FinishedCommand:
        """Wait until it ends by itself. Its standard input is closed only then."""
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        with trio.fail_after(DEADLINE):
            out = await trio.to_thread.run_sync(self._process.stdout.read, abandon_on_cancel=True)
            err = await trio.to_thread.run_sync(self._process.stderr.read, abandon_on_cancel=True)
            code = await trio.to_thread.run_sync(self._process.wait, abandon_on_cancel=True)
        self.close()
        collector.add_json_output(out)
        collector.add_text("standard error of a command", err)
        return FinishedCommand(code, self._read + out, err)

    def close(self) -> None:
        """Kill it if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()
