"""The two nodes of the demo: real `sdnode up` processes in a temporary directory of their own.

Owns their start, their end and their files. They end with this process however it ends: their standard
input is a pipe that nobody else holds, and they run with --lifeline.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from ..messages.errors import SpacedriveNodeError

_START = 30.0
_STOP = 6.0
_LONGEST_FOLDER = 60
_LONGEST_LINE = 64 * 1024
_SHOWN_LOG_LINES = 5


class DemoNodeStartError(SpacedriveNodeError):
    """A node of the demo did not become ready; the text says what it said last."""


@dataclass
class DemoNode:
    """One running node."""

    name: str
    folder: Path
    process: trio.Process
    ready: dict[str, Any] = field(default_factory=dict)

    @property
    def control(self) -> Path:
        """Its control socket."""
        return self.folder / "control.sock"

    @property
    def bootstrap(self) -> str:
        """Its address for another node's --bootstrap."""
        return f"{self.ready['addresses'][0]}/p2p/{self.ready['peer_id']}"

    @property
    def last_words(self) -> str:
        """The end of its log."""
        try:
            lines = (self.folder / "log").read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(f"  {line[:300]}" for line in lines[-_SHOWN_LOG_LINES:])


@asynccontextmanager
async def temporary_folder() -> AsyncIterator[Path]:
    """Make a folder with a short enough path, and remove it with everything in it."""
    path = tempfile.mkdtemp(prefix="sdnode-demo-")
    if len(os.fsencode(path)) > _LONGEST_FOLDER:
        os.rmdir(path)
        path = tempfile.mkdtemp(prefix="sdnode-demo-", dir="/tmp")
    try:
        yield Path(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)


@asynccontextmanager
async def running_node(folder: Path, name: str, bootstrap: str | None) -> AsyncIterator[DemoNode]:
    """Start a node and wait until it is ready; stop it at the end. Raises DemoNodeStartError."""
    own = folder / name
    (own / "run").mkdir(parents=True, mode=0o700)
    node = DemoNode(name, own, await _spawn(own, name, bootstrap))
    try:
        await _wait_ready(node)
        yield node
    finally:
        await _stop(node.process)


async def _spawn(own: Path, name: str, bootstrap: str | None) -> trio.Process:
    command = [
        *(sys.executable, "-m", __package__.rpartition(".")[0], "up", "--json", "--lifeline"),
        *("--data-dir", str(own / "data"), "--name", name, "--control", str(own / "control.sock")),
        *("--listen", "/ip4/127.0.0.1/tcp/0", "--metrics-listen", "127.0.0.1:0", "--dht-mode", "server"),
        *("--no-mdns", "--no-same-host", "--log-level", "warning"),
    ]
    if bootstrap is not None:
        command += ["--bootstrap", bootstrap]
    # What the user has set for the own node is not meant for these two, and no command shall take
    # them for nodes of the user's.
    env = {key: value for key, value in os.environ.items() if not key.startswith("SDNODE_")}
    env["XDG_RUNTIME_DIR"] = str(own / "run")
    with open(own / "log", "wb") as log:  # noqa: ASYNC230 - a local file, no waiting
        return await trio.lowlevel.open_process(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=env,
            start_new_session=True,  # Ctrl-C is for the demo, which then stops its nodes in order
        )


async def _wait_ready(node: DemoNode) -> None:
    assert node.process.stdout is not None
    received = bytearray()
    with trio.move_on_after(_START):
        while len(received) < _LONGEST_LINE and (chunk := await node.process.stdout.receive_some(4096)):
            received += chunk
            if b"\n" in received:
                node.ready = json.loads(received.split(b"\n", 1)[0])
                return
    raise DemoNodeStartError(f"the node {node.name} did not start:\n{node.last_words}")


async def _stop(process: trio.Process) -> None:
    with trio.CancelScope(shield=True):
        with suppress(ProcessLookupError):
            process.terminate()
        with trio.move_on_after(_STOP):
            await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                await stream.aclose()
