"""Processes of a benchmark that exchange JSON lines with it on their standard input and output.

They end with the block that started them: at the end of their input, or else by a signal. They neither read
the terminal nor get its Ctrl-C.
"""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import trio

_END = 5.0
_LINE = 4 << 20
MODULE = __name__.rpartition(".")[0]


class ProcessFailedError(Exception):
    """A process of a benchmark has ended or reported an error."""


class JsonProcess:
    """One process that speaks JSON lines."""

    def __init__(self, process: trio.Process, name: str) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self._name = name
        self._stdin, self._stdout = process.stdin, process.stdout
        self._buffer = bytearray()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    async def send(self, **line: object) -> None:
        """Write one line."""
        await self._stdin.send_all(json.dumps(line).encode() + b"\n")

    async def receive(self, seconds: float = 60.0) -> dict[str, Any]:
        """Return the next line. Raises ProcessFailedError, trio.TooSlowError."""
        with trio.fail_after(seconds):
            while (end := self._buffer.find(b"\n")) < 0:
                data = await self._stdout.receive_some(1 << 16)
                if not data or len(self._buffer) > _LINE:
                    raise ProcessFailedError(f"{self._name} has ended")
                self._buffer += data
        line: dict[str, Any] = json.loads(self._buffer[:end])
        del self._buffer[: end + 1]
        if "error" in line:
            raise ProcessFailedError(line["error"])
        return line

    async def request(self, seconds: float = 60.0, **line: object) -> dict[str, Any]:
        """Write one line and return the next line of the process."""
        await self.send(**line)
        return await self.receive(seconds)


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command for a module of the benchmarks."""
    return [sys.executable, "-m", f"{MODULE}.{module}", *arguments]


@asynccontextmanager
async def open_json_process(command: Sequence[str]) -> AsyncIterator[JsonProcess]:
    """Run a process while the block runs. Its standard error is shown."""
    process = await trio.lowlevel.open_process(
        list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        yield JsonProcess(process, " ".join(command[1:]))
    finally:
        await end(process)


async def end(process: trio.Process) -> None:
    """End a process: close its input, wait, then kill it. Also when cancelled."""
    with trio.CancelScope(shield=True):
        if process.stdin is not None:
            await process.stdin.aclose()
        with trio.move_on_after(_END):
            await process.wait()
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if process.stdout is not None:
            await process.stdout.aclose()
