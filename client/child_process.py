"""A child process and the lines that it writes, on trio and on asyncio alike.

Owns the process and its pipes; knows nothing of nodes. It is not anyio's, because asyncio's wait for the end
of a process also waits for the end of its pipes, which a grandchild may hold open, and because its way of
noticing the end depends on the thread and on the version of Python. Here the end is a file descriptor that
becomes readable. Linux only, as the node is.
"""

import os
import subprocess
from contextlib import suppress
from typing import IO

import anyio

_MAX_LINE_BYTES = 64 * 1024


class ChildProcess:
    """A process with pipes for standard input and output, and for standard error unless a file is given."""

    def __init__(self, command: list[str], *, inherited: tuple[int, ...], stderr: int) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - the command is our own
            command,
            pass_fds=inherited,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            # In a session of its own: the terminal's Ctrl-C is for the host, which then stops the node.
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self.stdout = LineReader(self._process.stdout)
        self.stderr = None if self._process.stderr is None else LineReader(self._process.stderr)

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs."""
        return self._process.poll()

    async def wait(self) -> int:
        """Wait for the end of the process and return its exit code. Several tasks may wait."""
        while (code := self._process.poll()) is None:
            try:
                fd = os.pidfd_open(self._process.pid)
            except ProcessLookupError:
                continue  # the host ignores SIGCHLD, so that nothing stays of a process; `poll` knows
            try:
                await anyio.wait_readable(fd)
            finally:
                os.close(fd)
        return code

    def terminate(self) -> None:
        """Ask the process to end: by SIGTERM, and by the end of its standard input."""
        self._process.terminate()
        self._close_input()

    def kill(self) -> None:
        """End the process by SIGKILL."""
        self._process.kill()

    def close(self) -> None:
        """Kill the process if it still runs, and close the pipes. Whoever reads them finds their end."""
        if self._process.poll() is None:
            self._process.kill()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1)
        self._close_input()
        self.stdout.close()
        if self.stderr is not None:
            self.stderr.close()

    def _close_input(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()


class LineReader:
    """Reads the lines of a pipe; of a line that is too long only the beginning is kept."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        os.set_blocking(pipe.fileno(), False)
        self._buffer = bytearray()

    async def next(self) -> bytes | None:
        """Return the next line without its end; None at the end of the pipe. For one task."""
        while (end := self._buffer.find(b"\n")) < 0:
            data = await self._read()
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

    def close(self) -> None:
        """Close the pipe; a task that waits for it goes on."""
        if not self._pipe.closed:
            anyio.notify_closing(self._pipe.fileno())
            self._pipe.close()

    async def _read(self) -> bytes:
        """Wait for some bytes and return them; none at the end of the pipe."""
        while not self._pipe.closed:
            with suppress(anyio.ClosedResourceError):
                await anyio.wait_readable(self._pipe.fileno())
            if not self._pipe.closed:
                with suppress(BlockingIOError):
                    return os.read(self._pipe.fileno(), _MAX_LINE_BYTES)
        return b""
