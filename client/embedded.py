"""A whole node inside a program: start it as a child process, use it, stop it.

Owns the child process and nothing of what the node does: that is NodeClient's. The node is a process of
its own so that the host's threads, signals and descriptors stay out of it; it ends with the host, however
the host ends, because its standard input is a pipe that the host holds. See docs/interfaces.md, "sdnode up".
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
from .control_connection import ControlLink
from .node_client import NodeClient, open_link

__all__ = ["Node", "NodeConfig", "NodeStartError", "open_node"]

START = 30.0
"""Seconds until the node must say that it is ready: a slow machine imports for some of them."""
STOP = 5.0
"""Seconds that the node has to drain and stop before it is killed."""
_DYING = 2.0
_LINE_LIMIT = 64 * 1024
_KEPT_LINES = 20
_LINE_SHOWN = 500


class NodeStartError(SpacedriveNodeError):
    """The node did not start; the text is what it said, or that it said nothing in time."""


class ReadyLine(msgspec.Struct, frozen=True):
    """The line of `sdnode up --json` that says that the node is ready."""

    event: str
    name: str
    peer_id: str
    addresses: tuple[str, ...]
    control: str
    metrics: str | None = None


class Node(NodeClient):
    """A running node of one's own: what it is called, where it can be reached, and all of NodeClient."""

    def __init__(self, link: ControlLink, ready: ReadyLine) -> None:
        super().__init__(link)
        self.name = ready.name
        self.peer_id = ready.peer_id
        self.addresses = ready.addresses
        self.control = Path(ready.control)
        self.metrics = ready.metrics
        """`HOST:PORT` of the metrics, None when there are none."""


@asynccontextmanager
async def open_node(config: NodeConfig, *, passphrase: bytes | None = None) -> AsyncIterator[Node]:
    """Run a node while the block runs. Raises NodeStartError with what the node said.

    With a passphrase, one line of 1 to 1024 bytes, the identity in the data directory is sealed with it.
    """
    failure: BaseException | None = None
    process = await _spawn(config, passphrase)
    async with trio.open_nursery() as nursery:
        child = _Child(process)
        nursery.start_soon(child.read_errors)
        try:
            ready = await child.ready()
            nursery.start_soon(child.discard_output)
            async with open_link(Path(ready.control)) as link:
                yield Node(link, ready)
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            # Whatever the caller's block raises leaves as it is, not wrapped in the nursery's group.
            failure = error
        finally:
            await child.stop()
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


def command(config: NodeConfig) -> list[str]:
    """Return the command that runs a node with this configuration, for as long as its input is open."""
    package = __name__.partition(".")[0]
    return [sys.executable, "-m", package, "up", *config.to_argv(), "--json", "--lifeline"]


async def _spawn(config: NodeConfig, passphrase: bytes | None) -> trio.Process:
    if passphrase is None:
        return await _open_process(command(config), ())
    fd = _piped(passphrase)
    try:
        return await _open_process([*command(config), "--passphrase-fd", str(fd)], (fd,))
    finally:
        os.close(fd)


def _piped(passphrase: bytes) -> int:
    """Return the readable end of a pipe that holds it."""
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
        # A group of its own: the terminal's Ctrl-C is for the host, which then stops the node.
        start_new_session=True,
    )


class _Child:
    """The node's process and what it writes."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self._stdin = process.stdin
        self._stdout = _Lines(process.stdout)
        self._stderr = _Lines(process.stderr)
        self._errors: deque[str] = deque(maxlen=_KEPT_LINES)
        self._errors_read = trio.Event()
        # The pipes are read until the process has ended, also when cancelled: it must not block on them.
        self._reading = [trio.CancelScope(shield=True), trio.CancelScope(shield=True)]

    async def ready(self) -> ReadyLine:
        """Wait for the ready line; raise NodeStartError."""
        with trio.move_on_after(START):
            while (line := await self._stdout.next()) is not None:
                try:
                    ready = msgspec.json.decode(line, type=ReadyLine)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    continue
                if ready.event == "ready":
                    return ready
            await self._process.wait()
            await self._errors_read.wait()
            said = "\n".join(self._errors) or f"it ended with exit code {self._process.returncode}"
            raise NodeStartError(f"the node did not start: {said}")
        raise NodeStartError("\n".join([f"the node was not ready within {START:.0f} s", *self._errors]))

    async def read_errors(self) -> None:
        """Keep the last lines of standard error, and never let the node wait for us to read."""
        with self._reading[0]:
            while (line := await self._stderr.next()) is not None:
                self._errors.append(line.decode("utf-8", "replace")[:_LINE_SHOWN])
        self._errors_read.set()

    async def discard_output(self) -> None:
        """Read on, so that the node never waits."""
        with self._reading[1]:
            while await self._stdout.next() is not None:
                pass

    async def stop(self) -> None:
        """End the process, politely at first; also when the caller has been cancelled."""
        with trio.CancelScope(shield=True):
            if self._process.poll() is None:
                self._process.terminate()
                await self._stdin.aclose()
                with trio.move_on_after(STOP):
                    await self._process.wait()
            if self._process.poll() is None:
                self._process.kill()
                with trio.move_on_after(_DYING):
                    await self._process.wait()
            for scope in self._reading:
                scope.cancel()
            await self._stdin.aclose()
            await self._stdout.aclose()
            await self._stderr.aclose()


class _Lines:
    """Lines of a pipe; of one that is too long only the beginning is kept."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def next(self) -> bytes | None:
        """Return the next line without its end; None at the end of the pipe."""
        while (end := self._buffer.find(b"\n")) < 0:
            try:
                data = await self._stream.receive_some(_LINE_LIMIT)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return None
            if not data:
                return None
            self._buffer += data
            if len(self._buffer) > _LINE_LIMIT and b"\n" not in data:
                del self._buffer[_LINE_LIMIT:]
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    async def aclose(self) -> None:
        """Close the pipe."""
        await self._stream.aclose()
