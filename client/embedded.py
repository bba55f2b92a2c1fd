"""A node inside a program: start it as a child process, use it, stop it.

Owns the child process; what the node does is NodeClient's. The supervisor runs in a process of its own and
not as a task of the program, because it changes what belongs to a process and not to a task: it handles
SIGTERM, SIGINT and SIGHUP, forbids core dumps and debuggers, raises the limit of open files, and its
children die with the thread that started them. A program that is busy for seconds would also hold up every
message of the node. The node ends with the program, however that ends, because its standard input is a pipe
that only the program holds open (--lifeline). See docs/interfaces.md, "sdnode up".
"""

import os
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import trio

from ..config.settings import NodeConfig
from ..messages.actor_configs import PASSPHRASE_LIMIT
from ..messages.errors import SpacedriveNodeError
from .control_connection import ControlConnection
from .node_client import NodeClient, open_connection

__all__ = ["Node", "NodeConfig", "NodeStartError", "open_node"]

START_TIMEOUT_S = 30.0
"""In which the node must report that it is ready: a slow machine imports for some of them."""
STOP_TIMEOUT_S = 5.0
"""In which the node must drain and stop before it is killed."""
_KILL_TIMEOUT_S = 2.0
_MAX_LINE_BYTES = 64 * 1024
_MAX_ERROR_LINES = 20
_MAX_ERROR_LINE_CHARS = 500


class NodeStartError(SpacedriveNodeError):
    """The node did not start; the text is what it wrote to stderr, or that it was not ready in time."""


class ReadyLine(msgspec.Struct, frozen=True):
    """The line that `sdnode up --json` prints when the node is ready."""

    event: str
    name: str
    peer_id: str
    addresses: tuple[str, ...]
    control: str
    metrics: str | None = None


class Node(NodeClient):
    """A running node that this program has started: its name and addresses, and all of NodeClient."""

    def __init__(self, connection: ControlConnection, ready: ReadyLine) -> None:
        super().__init__(connection)
        self.name = ready.name
        self.peer_id = ready.peer_id
        self.addresses = ready.addresses
        self.control = Path(ready.control)
        self.metrics = ready.metrics
        """`HOST:PORT` of the metrics, None when there are none."""


@asynccontextmanager
async def open_node(config: NodeConfig, *, passphrase: bytes | None = None) -> AsyncIterator[Node]:
    """Run a node while the block runs. Raises NodeStartError, and ValueError for an impossible passphrase.

    With a passphrase, one line of 1 to 1024 bytes, the identity in the data directory is sealed with it.
    """
    failure: BaseException | None = None
    process = await _spawn(config, passphrase)
    async with trio.open_nursery() as nursery:
        child = _NodeProcess(process)
        nursery.start_soon(child.read_errors)
        try:
            ready = await child.ready()
            nursery.start_soon(child.discard_output)
            async with open_connection(Path(ready.control)) as connection:
                yield Node(connection, ready)
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            # What the caller's block raises leaves as it is, not wrapped in the nursery's group.
            failure = error
        finally:
            await child.stop()
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


def node_command(config: NodeConfig) -> list[str]:
    """Return the command that runs a node with this configuration, for as long as its input is open."""
    package = __name__.partition(".")[0]
    return [sys.executable, "-m", package, "up", *config.to_argv(), "--json", "--lifeline"]


async def _spawn(config: NodeConfig, passphrase: bytes | None) -> trio.Process:
    if passphrase is None:
        return await _open_process(node_command(config), ())
    fd = _pipe_holding(passphrase)
    try:
        return await _open_process([*node_command(config), "--passphrase-fd", str(fd)], (fd,))
    finally:
        os.close(fd)


def _pipe_holding(passphrase: bytes) -> int:
    """Return the readable end of a pipe that holds the passphrase. Raises ValueError for a wrong length."""
    if not 0 < len(passphrase) <= PASSPHRASE_LIMIT:
        raise ValueError(f"a passphrase has 1 to {PASSPHRASE_LIMIT} bytes")
    readable, writable = os.pipe()
    try:
        os.write(writable, passphrase)  # fits into any pipe, so nothing waits
    finally:
        os.close(writable)
    return readable


async def _open_process(command: list[str], fds: tuple[int, ...]) -> trio.Process:
    return await trio.lowlevel.open_process(
        command,
        pass_fds=fds,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # In a session of its own: the terminal's Ctrl-C is for the host, which then stops the node.
        start_new_session=True,
    )


class _NodeProcess:
    """The node's process: what it writes, and its end."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self._stdin = process.stdin
        self._stdout = _LineReader(process.stdout)
        self._stderr = _LineReader(process.stderr)
        self._errors: deque[str] = deque(maxlen=_MAX_ERROR_LINES)
        self._errors_read = trio.Event()
        # Shielded: the pipes are read until the process has ended, also while the caller is being cancelled.
        # A node that cannot write its last lines would not stop.
        self._reading_scopes = [trio.CancelScope(shield=True), trio.CancelScope(shield=True)]

    async def ready(self) -> ReadyLine:
        """Wait for the line that reports the node ready. Raises NodeStartError."""
        with trio.move_on_after(START_TIMEOUT_S):
            while (line := await self._stdout.next()) is not None:
                try:
                    ready = msgspec.json.decode(line, type=ReadyLine)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    continue
                if ready.event == "ready":
                    return ready
            await self._process.wait()
            await self._errors_read.wait()
            reason = "\n".join(self._errors) or f"it ended with exit code {self._process.returncode}"
            raise NodeStartError(f"the node did not start: {reason}")
        raise NodeStartError(
            "\n".join([f"the node was not ready within {START_TIMEOUT_S:.0f} s", *self._errors])
        )

    async def read_errors(self) -> None:
        """Read standard error to its end, so that the node never waits to write; keep its last lines."""
        with self._reading_scopes[0]:
            while (line := await self._stderr.next()) is not None:
                self._errors.append(line.decode("utf-8", "replace")[:_MAX_ERROR_LINE_CHARS])
        self._errors_read.set()

    async def discard_output(self) -> None:
        """Read standard output to its end, so that the node never waits to write."""
        with self._reading_scopes[1]:
            while await self._stdout.next() is not None:
                pass

    async def stop(self) -> None:
        """End the process, by SIGTERM and then by SIGKILL; also while this task is being cancelled."""
        with trio.CancelScope(shield=True):
            if self._process.poll() is None:
                self._process.terminate()
                await self._stdin.aclose()
                with trio.move_on_after(STOP_TIMEOUT_S):
                    await self._process.wait()
            if self._process.poll() is None:
                self._process.kill()
                with trio.move_on_after(_KILL_TIMEOUT_S):
                    await self._process.wait()
            for scope in self._reading_scopes:
                scope.cancel()
            await self._stdin.aclose()
            await self._stdout.aclose()
            await self._stderr.aclose()


class _LineReader:
    """Reads the lines of a pipe; of a line that is too long only the beginning is kept."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def next(self) -> bytes | None:
        """Return the next line without its end; None at the end of the pipe."""
        while (end := self._buffer.find(b"\n")) < 0:
            try:
                data = await self._stream.receive_some(_MAX_LINE_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return None
            if not data:
                return None
            self._buffer += data
            if len(self._buffer) > _MAX_LINE_BYTES and b"\n" not in data:
                del self._buffer[_MAX_LINE_BYTES:]
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    async def aclose(self) -> None:
        """Close the pipe."""
        await self._stream.aclose()
