"""Nodes started with `sdnode up`, and commands that are run against them, as a user runs them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spacedrive_node.tests.harness.secret_sweep import collector

DEADLINE = 60
SDNODE = [sys.executable, "-m", "spacedrive_node"]


class UpCommand:
    """A running `sdnode up`. Raises AssertionError with its log if it does not become ready.

    `command` runs it and what is run against it, in a network namespace for example; `listen` None leaves the
    choice to the node.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        *flags: str,
        variables: Mapping[str, str] | None = None,
        command: Sequence[str] = (),
        listen: str | None = "/ip4/127.0.0.1/tcp/0",
    ) -> None:
        self.folder, self.data_dir = folder, folder / name
        self.sdnode = [*command, *SDNODE]
        collector.add_folder(folder)
        collector.add_passphrase_of(flags)
        log = (folder / f"{name}.log").open("ab")
        self.process = subprocess.Popen(
            [
                *self.sdnode,
                "up",
                "--json",
                "--data-dir",
                str(self.data_dir),
                "--name",
                name,
                *([] if listen is None else ["--listen", listen]),
                "--metrics-listen",
                "127.0.0.1:0",
                "--no-mdns",
                "--no-port-mapping",
                *flags,
            ],
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, "XDG_RUNTIME_DIR": str(folder), **(variables or {})},
            text=True,
        )
        log.close()
        try:
            self.ready = self._read_ready()
        except BaseException:  # Ctrl-C too: nobody else knows of the process yet
            self.process.terminate()
            self.process.wait(DEADLINE)
            raise
        if "page_token" in self.ready:
            collector.add_secret("token of the page", self.ready["page_token"].encode())

    def _read_ready(self) -> dict[str, Any]:
        """Return the line with which the node says that it is ready."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait(DEADLINE)
            self.process.stdout.close()
            raise AssertionError(self.log())
        ready: dict[str, Any] = json.loads(line)
        return ready

    def run(self, *arguments: str, stdin: str = "", code: int = 0) -> list[dict[str, object]]:
        done = subprocess.run(
            [*self.sdnode, *arguments, "--json", "--data-dir", str(self.data_dir)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            env={**os.environ, "XDG_RUNTIME_DIR": str(self.folder)},
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        collector.add_json_output(done.stdout)
        collector.add_text(f"standard error of {arguments[0]}", done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def log(self) -> str:
        """What the node has logged so far, and before."""
        return self._log_path.read_text()

    @property
    def _log_path(self) -> Path:
        return self.folder / f"{self.data_dir.name}.log"

    def wait_logged(self, event: str, after: int = 0) -> dict[str, object]:
        """Wait for a line of this event in a log that is JSON, behind so many bytes; return it."""
        tail = ["timeout", str(DEADLINE), "tail", "-c", f"+{after + 1}", "-F", str(self._log_path)]
        with subprocess.Popen(tail, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    found: dict[str, object] = json.loads(line)
                    if found["event"] == event:
                        return found
            finally:
                process.terminate()
        raise AssertionError(f"{event!r} is not in the log:\n{self.log()}")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE)


@contextmanager
def sdnode_up(
    folder: Path,
    name: str,
    *flags: str,
    variables: Mapping[str, str] | None = None,
    command: Sequence[str] = (),
    listen: str | None = "/ip4/127.0.0.1/tcp/0",
) -> Iterator[UpCommand]:
    node = UpCommand(folder, name, *flags, variables=variables, command=command, listen=listen)
    try:
        yield node
    finally:
        if node.process.poll() is None:
            node.stop()
        assert node.process.stdout is not None
        node.process.stdout.close()


@contextmanager
def sdnode_pair(node: UpCommand) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Run `sdnode pair --yes`. Yields the words that it shows, and its process."""
    process = subprocess.Popen(
        [*node.sdnode, "pair", "--yes", "--json", "--data-dir", str(node.data_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "XDG_RUNTIME_DIR": str(node.folder)},
        text=True,
    )
    assert process.stdout is not None
    try:
        words = json.loads(process.stdout.readline())["words"]
        collector.add_code(words)
        yield words, process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


@contextmanager
def sdnode_started(
    node: UpCommand, *arguments: str, output: int = subprocess.DEVNULL
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command against a node without waiting for its end. It is killed at the end of the block."""
    process = subprocess.Popen(
        [*node.sdnode, *arguments, "--json", "--data-dir", str(node.data_dir)],
        stdout=output,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "XDG_RUNTIME_DIR": str(node.folder)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
