"""The nodes of the demo: real `sdnode up` processes, each in a folder of one temporary directory.

Owns their start, their end and their files. They end with this process however it ends: their standard
input is a pipe that only this process holds open, and they run with --lifeline.
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

_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 6.0
_MAX_FOLDER_BYTES = 60
"""Of the temporary directory's path, so that the nodes' sockets in it have paths that are short enough."""
_MAX_LINE_BYTES = 64 * 1024
_SHOWN_LOG_LINES = 5


class DemoNodeStartError(SpacedriveNodeError):
    """A node of the demo did not become ready; the text has the end of its log."""


@dataclass
class DemoNode:
    """One running node; `ready` is the ready line of `sdnode up --json`."""

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
    def log_tail(self) -> str:
        """The end of its log, for an error."""
        try:
            lines = (self.folder / "log").read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(f"  {line[:300]}" for line in lines[-_SHOWN_LOG_LINES:])


@asynccontextmanager
async def temporary_folder() -> AsyncIterator[Path]:
    """Make a folder with a short enough path, and remove it with everything in it at the end."""
    path = tempfile.mkdtemp(prefix="sdnode-demo-")
    if len(os.fsencode(path)) > _MAX_FOLDER_BYTES:
        os.rmdir(path)
        path = tempfile.mkdtemp(prefix="sdnode-demo-", dir="/tmp")
    try:
        yield Path(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)


@asynccontextmanager
async def running_node(folder: Path, name: str, bootstrap: str | None) -> AsyncIterator[DemoNode]:
    """Start a node and wait until it is ready; stop it at the end. Raises DemoNodeStartError."""
    node_folder = folder / name
    (node_folder / "run").mkdir(parents=True, mode=0o700)
    node = DemoNode(name, node_folder, await _spawn(node_folder, name, bootstrap))
    try:
        await _wait_ready(node)
        yield node
    finally:
        await _stop(node.process)


async def _spawn(folder: Path, name: str, bootstrap: str | None) -> trio.Process:
    command = [
        *(sys.executable, "-P", "-m", __package__.rpartition(".")[0], "up", "--json", "--lifeline"),
        *("--data-dir", str(folder / "data"), "--name", name, "--control", str(folder / "control.sock")),
        *("--listen", "/ip4/127.0.0.1/tcp/0", "--metrics-listen", "127.0.0.1:0", "--dht-mode", "server"),
        *("--no-mdns", "--no-same-host", "--log-level", "warning"),
    ]
    if bootstrap is not None:
        command += ["--bootstrap", bootstrap]
    # Variables that the user has set for a node of theirs are not meant for these. A runtime directory of
    # their own keeps other commands from finding them among the user's nodes.
    env = {key: value for key, value in os.environ.items() if not key.startswith("SDNODE_")}
    env["XDG_RUNTIME_DIR"] = str(folder / "run")
    with open(folder / "log", "wb") as log:  # noqa: ASYNC230 - a local file, no waiting
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
    with trio.move_on_after(_START_TIMEOUT_S):
        while len(received) < _MAX_LINE_BYTES and (chunk := await node.process.stdout.receive_some(4096)):
            received += chunk
            if b"\n" in received:
                node.ready = json.loads(received.split(b"\n", 1)[0])
                return
    raise DemoNodeStartError(f"the node {node.name} did not start:\n{node.log_tail}")


async def _stop(process: trio.Process) -> None:
    with trio.CancelScope(shield=True):
        with suppress(ProcessLookupError):
            process.terminate()
        with trio.move_on_after(_STOP_TIMEOUT_S):
            await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                await stream.aclose()
