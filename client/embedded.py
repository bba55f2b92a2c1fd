"""A node inside a program: start it as a child process, use it, stop it.

Owns the child process; what the node does is NodeClient's. The supervisor runs in a process of its own and
not as a task of the program, because it changes what belongs to a process and not to a task: it handles
SIGTERM, SIGINT and SIGHUP, forbids core dumps and debuggers, raises the limit of open files, and its
children die with the thread that started them. A program that is busy for seconds would also hold up every
message of the node. The node ends with the program, however that ends, because its standard input is a pipe
that only the program holds open (--lifeline). When the node ends first, the program is told at once: how, and
its last words. See docs/interfaces.md, "Python".
"""

import os
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import trio

from ..config.settings import NodeConfig
from ..messages.actor_configs import PASSPHRASE_LIMIT
from ..messages.errors import SpacedriveNodeError
from .control_connection import ControlConnection
from .errors import NodeEndedError
from .node_client import NodeClient, open_connection

__all__ = ["Node", "NodeConfig", "NodeEndedError", "NodeStartError", "open_node"]

START_TIMEOUT_S = 30.0
"""In which the node must report that it is ready: a slow machine imports for some of them."""
STOP_TIMEOUT_S = 5.0
"""In which the node must drain and stop before it is killed."""
_KILL_TIMEOUT_S = 2.0
_LAST_WORDS_TIMEOUT_S = 0.5
"""In which standard error must end after the process; a child of it may hold the pipe open."""
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
        self._has_ended = trio.Event()
        self._end: NodeEndedError | None = None
        self.name = ready.name
        self.peer_id = ready.peer_id
        self.addresses = ready.addresses
        self.control = Path(ready.control)
        self.metrics = ready.metrics
        """`HOST:PORT` of the metrics, None when there are none."""

    @property
    def end(self) -> NodeEndedError | None:
        """How the node has ended, with its exit code and last words; None while it runs."""
        return self._end

    async def wait_ended(self) -> NodeEndedError:
        """Wait until the node has ended, and return how. It may do so by itself, or by `shutdown`."""
        await self._has_ended.wait()
        assert self._end is not None
        return self._end

    def _mark_ended(self, end: NodeEndedError) -> None:
        self._end = end
        self._connection.end(lambda: NodeEndedError(end.exit_code, end.last_lines))
        self._has_ended.set()


@asynccontextmanager
async def open_node(
    config: NodeConfig,
    *,
    passphrase: bytes | None = None,
    on_log: Callable[[str], None] | None = None,
    log_fd: int | None = None,
) -> AsyncIterator[Node]:
    """Run a node while the block runs. Raises NodeStartError, and ValueError for an impossible passphrase.

    With a passphrase, one line of 1 to 1024 bytes, the identity in the data directory is sealed with it.

    `on_log` is called with each line of the node's log, in the form of `config.log_format`, without its end.
    It must be quick; an exception that it raises ends the block. Or `log_fd` is a descriptor that the node
    itself writes its log to; then nobody here reads it, and errors have no last words.

    When the node ends while the block runs, `Node.wait_ended` returns and `Node.end` says how; every method
    that waits for the node, or is called later, raises NodeEndedError at once.
    """
    failure: BaseException | None = None
    if on_log is not None and log_fd is not None:
        raise ValueError("the log goes either to on_log or to log_fd")
    process = await _spawn(config, passphrase, subprocess.PIPE if log_fd is None else log_fd)
    async with trio.open_nursery() as nursery:
        child = _NodeProcess(process, on_log)
        nursery.start_soon(child.read_errors, nursery.cancel_scope)
        try:
            ready = await child.ready()
            nursery.start_soon(child.discard_output)
            async with open_connection(Path(ready.control)) as connection:
                node = Node(connection, ready)
                nursery.start_soon(child.report_end, node._mark_ended)
                yield node
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            # What the caller's block raises leaves as it is, not wrapped in the nursery's group.
            failure = error
        finally:
            await child.stop()
            nursery.cancel_scope.cancel()
    if child.log_failure is not None:
        raise child.log_failure from failure
    if failure is not None:
        raise failure


def node_command(config: NodeConfig) -> list[str]:
    """Return the command that runs a node with this configuration, for as long as its input is open."""
    package = __name__.partition(".")[0]
    return [sys.executable, "-m", package, "up", *config.to_argv(), "--json", "--lifeline"]


async def _spawn(config: NodeConfig, passphrase: bytes | None, log: int) -> trio.Process:
    if passphrase is None:
        return await _open_process(node_command(config), (), log)
    fd = _pipe_holding(passphrase)
    try:
        return await _open_process([*node_command(config), "--passphrase-fd", str(fd)], (fd,), log)
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


async def _open_process(command: list[str], fds: tuple[int, ...], log: int) -> trio.Process:
    return await trio.lowlevel.open_process(
        command,
        pass_fds=fds,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        # In a session of its own: the terminal's Ctrl-C is for the host, which then stops the node.
        start_new_session=True,
    )


class _NodeProcess:
    """The node's process: what it writes, and its end."""

    def __init__(self, process: trio.Process, on_log: Callable[[str], None] | None) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._stdin = process.stdin
        self._stdout = _LineReader(process.stdout)
        self._stderr = None if process.stderr is None else _LineReader(process.stderr)
        self._on_log = on_log
        self.log_failure: Exception | None = None
        """What `on_log` has raised."""
        self._stopping = False
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

    async def read_errors(self, block: trio.CancelScope) -> None:
        """Read standard error to its end, hand each line on, and keep the last ones.

        An exception of `on_log` cancels `block`; the node's log is read on all the same.
        """
        with self._reading_scopes[0]:
            while self._stderr is not None and (line := await self._stderr.next()) is not None:
                text = line.decode("utf-8", "replace")
                self._errors.append(text[:_MAX_ERROR_LINE_CHARS])
                if self._on_log is None:
                    continue
                try:
                    self._on_log(text)
                except Exception as error:  # the host's own, raised where its block ends
                    self._on_log, self.log_failure = None, error
                    block.cancel()
        self._errors_read.set()

    async def report_end(self, report: Callable[[NodeEndedError], None]) -> None:
        """Wait for the end of the process and report it with its last words, unless `stop` has ended it."""
        code = await self._process.wait()
        with trio.move_on_after(_LAST_WORDS_TIMEOUT_S):
            await self._errors_read.wait()
        if not self._stopping:
            report(NodeEndedError(code, tuple(self._errors)))

    async def discard_output(self) -> None:
        """Read standard output to its end, so that the node never waits to write."""
        with self._reading_scopes[1]:
            while await self._stdout.next() is not None:
                pass

    async def stop(self) -> None:
        """End the process, by SIGTERM and then by SIGKILL; also while this task is being cancelled."""
        self._stopping = True
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
            if self._stderr is not None:
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
                # What has no end is a line too: the last words of a process that was cut off.
                line = bytes(self._buffer)
                self._buffer.clear()
                return line or None
            self._buffer += data
            if len(self._buffer) > _MAX_LINE_BYTES and b"\n" not in data:
                del self._buffer[_MAX_LINE_BYTES:]
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    async def aclose(self) -> None:
        """Close the pipe."""
        await self._stream.aclose()
