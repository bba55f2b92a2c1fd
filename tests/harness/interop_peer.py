"""Runs the peers of other implementations (tests/interop/README.md), which `make interop` has built."""

import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from libp2p.network.stream.exceptions import StreamEOF, StreamError

from spacedrive_node.actors.swarm.library import streams

BUILT = Path(__file__).resolve().parents[2] / ".interop"
COMMANDS = {
    "go": (str(BUILT / "go-peer"),),
    "rust": (str(BUILT / "rust-peer"),),
    "rust-0.53": (str(BUILT / "rust-0.53-peer"),),
    "js-2": ("node", "--experimental-websocket", str(BUILT / "js-2" / "peer.mjs")),
    "js-3": ("node", "--experimental-websocket", str(BUILT / "js-3" / "peer.mjs")),
}
DEADLINE = 40.0
CHUNK_BYTES = 1 << 16


class CommandFailedError(Exception):
    """The peer could not do what it was told. The text is the peer's own."""


class InteropPeer:
    """A running peer."""

    def __init__(self, process: trio.Process, nursery: trio.Nursery) -> None:
        self._process = process
        self._answers: dict[int, dict[str, Any]] = {}
        self._news = trio.Event()
        self._ended = False
        self._number = 0
        self.id = ""
        """The peer id as text."""
        self.addresses: list[str] = []
        """With /p2p."""
        nursery.start_soon(self._read)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        rest = b""
        async for data in self._process.stdout:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                said = json.loads(line)
                self._answers[said.get("id", 0)] = said
            self._wake()
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def answer(self, number: int) -> dict[str, Any]:
        with trio.fail_after(DEADLINE):
            while number not in self._answers:
                if self._ended:
                    raise CommandFailedError("the peer has ended")
                await self._news.wait()
        return self._answers.pop(number)

    async def command(self, op: str, **fields: Any) -> dict[str, Any]:
        """Have the peer do something. Raises CommandFailedError."""
        assert self._process.stdin is not None
        self._number += 1
        line = json.dumps({"id": self._number, "op": op, **fields}) + "\n"
        await self._process.stdin.send_all(line.encode())
        answer = await self.answer(self._number)
        if "error" in answer:
            raise CommandFailedError(f"{op}: {answer['error']}")
        return answer

    async def kill(self) -> None:
        """Kill the peer, and wait until it is dead."""
        self._process.kill()
        await self._process.wait()

    def address(self, part: str) -> str:
        """Return the address of the peer that has `part` in it."""
        return next(one for one in self.addresses if part in one)


def skip_if_not_built(implementation: str) -> None:
    """Skip the test, and say so, if this peer is not there."""
    command = COMMANDS[implementation]
    if not Path(command[-1]).exists() or shutil.which(command[0]) is None:
        pytest.skip(f"the {implementation} peer is not built: make interop")


@asynccontextmanager
async def open_peer(
    implementation: str,
    *listen: str,
    program: str | None = None,
    enter: Sequence[str] = (),
    security: str = "noise",
    variables: Mapping[str, str] | None = None,
) -> AsyncIterator[InteropPeer]:
    """Run a peer that listens on `listen`; it is killed at the end.

    `program` replaces the file of a peer that has several; `enter` is a command that runs another one in a
    network namespace. With `security` "tls" the peers of go and js offer nothing else. `variables` are for
    tests/interop/README.md, "A peer program".
    """
    skip_if_not_built(implementation)
    *tool, file = COMMANDS[implementation]
    command = [*enter, *tool, file if program is None else str(Path(file).with_name(program))]
    async with trio.open_nursery() as nursery:
        process = await trio.lowlevel.open_process(
            [*command, *listen],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={
                "PATH": os.environ["PATH"],
                "HOME": os.environ.get("HOME", "/"),
                "INTEROP_SECURITY": security,
                **(variables or {}),
            },
        )
        peer = InteropPeer(process, nursery)
        try:
            ready = await peer.answer(0)
            peer.id, peer.addresses = ready["peer"], ready["addresses"]
            yield peer
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
            nursery.cancel_scope.cancel()


async def echo(stream: Any) -> None:
    """Send back what comes until its end."""
    with suppress(streams.StreamError, StreamError):
        data = await read_all(stream)
        for at in range(0, len(data), CHUNK_BYTES):
            await streams.write(stream, data[at : at + CHUNK_BYTES])
        await streams.close(stream)


async def read_all(stream: Any) -> bytes:
    """Read until the other side has closed its half."""
    data = bytearray()
    while True:
        try:
            piece = await stream.read(CHUNK_BYTES)
        except StreamEOF:
            return bytes(data)
        data += piece
