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

import anyio
import msgspec

from ..config.settings import NodeConfig
from ..messages.actor_configs import PASSPHRASE_LIMIT
from ..messages.errors import SpacedriveNodeError
from .child_process import ChildProcess
from .control_connection import ControlConnection
from .errors import NodeEndedError
from .node_client import NodeClient, open_connection
from .tasks import background_tasks

__all__ = ["Node", "NodeConfig", "NodeEndedError", "NodeStartError", "open_node"]

START_TIMEOUT_S = 30.0
"""In which the node must report that it is ready: a slow machine imports for some of them."""
STOP_TIMEOUT_S = 5.0
"""In which the node must drain and stop before it is killed."""
_KILL_TIMEOUT_S = 2.0
_LAST_WORDS_TIMEOUT_S = 0.5
"""In which standard error must end after the process; a child of it may hold the pipe open."""
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
    page: str | None = None
    page_token: str | None = None


class Node(NodeClient):
    """A running node that this program has started: its name and addresses, and all of NodeClient."""

    def __init__(self, connection: ControlConnection, ready: ReadyLine) -> None:
        super().__init__(connection)
        self._has_ended = anyio.Event()
        self._end: NodeEndedError | None = None
        self.name = ready.name
        self.peer_id = ready.peer_id
        self.addresses = ready.addresses
        self.control = Path(ready.control)
        self.metrics = ready.metrics
        """`HOST:PORT` of the metrics, None when there are none."""
        self.page = ready.page
        """The address of the page, None when there is none."""
        self.page_token = ready.page_token
        """What the page asks for; None when there is no page, or its token is in a file."""

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
    if on_log is not None and log_fd is not None:
        raise ValueError("the log goes either to on_log or to log_fd")
    child = _NodeProcess(_spawn(config, passphrase, subprocess.PIPE if log_fd is None else log_fd), on_log)
    try:
        async with background_tasks() as tasks:
            tasks.start_soon(child.read_errors, tasks.cancel_scope)
            try:
                ready = await child.ready()
                tasks.start_soon(child.discard_output)
                async with open_connection(Path(ready.control)) as connection:
                    node = Node(connection, ready)
                    tasks.start_soon(child.report_end, node._mark_ended)
                    yield node
            finally:
                await child.stop()
    except Exception as failure:
        if child.log_failure is not None:
            raise child.log_failure from failure
        raise
    if child.log_failure is not None:
        raise child.log_failure


def node_command(config: NodeConfig) -> list[str]:
    """Return the command that runs a node with this configuration, for as long as its input is open."""
    package = __name__.partition(".")[0]
    return [sys.executable, "-P", "-m", package, "up", *config.to_argv(), "--json", "--lifeline"]


def _spawn(config: NodeConfig, passphrase: bytes | None, log: int) -> ChildProcess:
    if passphrase is None:
        return ChildProcess(node_command(config), inherited=(), stderr=log)
    fd = _pipe_holding(passphrase)
    try:
        command = [*node_command(config), "--passphrase-fd", str(fd)]
        return ChildProcess(command, inherited=(fd,), stderr=log)
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


class _NodeProcess:
    """The node's process: what it writes, and its end."""

    def __init__(self, process: ChildProcess, on_log: Callable[[str], None] | None) -> None:
        self._process = process
        self._on_log = on_log
        self.log_failure: Exception | None = None
        """What `on_log` has raised."""
        self._stopping = False
        self._errors: deque[str] = deque(maxlen=_MAX_ERROR_LINES)
        self._errors_read = anyio.Event()

    async def ready(self) -> ReadyLine:
        """Wait for the line that reports the node ready. Raises NodeStartError."""
        with anyio.move_on_after(START_TIMEOUT_S):
            while (line := await self._process.stdout.next()) is not None:
                try:
                    ready = msgspec.json.decode(line, type=ReadyLine)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    continue
                if ready.event == "ready":
                    return ready
            code = await self._process.wait()
            await self._errors_read.wait()
            reason = "\n".join(self._errors) or f"it ended with exit code {code}"
            raise NodeStartError(f"the node did not start: {reason}")
        raise NodeStartError(
            "\n".join([f"the node was not ready within {START_TIMEOUT_S:.0f} s", *self._errors])
        )

    async def read_errors(self, block: anyio.CancelScope) -> None:
        """Read standard error to its end, hand each line on, and keep the last ones.

        An exception of `on_log` cancels `block`; the node's log is read on all the same.
        """
        # Shielded: the pipes are read until the process has ended, also while the caller is being cancelled.
        # A node that cannot write its last lines would not stop. `stop` closes them.
        with anyio.CancelScope(shield=True):
            while (
                self._process.stderr is not None and (line := await self._process.stderr.next()) is not None
            ):
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
        await self._read_last_words()
        if not self._stopping:
            report(NodeEndedError(code, tuple(self._errors)))

    async def discard_output(self) -> None:
        """Read standard output to its end, so that the node never waits to write."""
        with anyio.CancelScope(shield=True):
            while await self._process.stdout.next() is not None:
                pass

    async def stop(self) -> None:
        """End the process, by SIGTERM and then by SIGKILL; also while this task is being cancelled.

        The shield does not hold against a second cancellation by asyncio itself; then SIGKILL follows.
        """
        self._stopping = True
        try:
            with anyio.CancelScope(shield=True):
                if self._process.exit_code is None:
                    self._process.terminate()
                    with anyio.move_on_after(STOP_TIMEOUT_S):
                        await self._process.wait()
                if self._process.exit_code is None:
                    self._process.kill()
                    with anyio.move_on_after(_KILL_TIMEOUT_S):
                        await self._process.wait()
                await self._read_last_words()
        finally:
            self._process.close()

    async def _read_last_words(self) -> None:
        with anyio.move_on_after(_LAST_WORDS_TIMEOUT_S):
            await self._errors_read.wait()
