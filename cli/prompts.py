"""Questions on the terminal that do not stop the rest: a line is read while the pairing goes on.

Reads standard input; when that is no terminal (the words came through it, say), the controlling terminal.
"""

import os
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import trio

from ..messages.errors import SpacedriveNodeError

_LONGEST_ANSWER = 1024


class NobodyToAskError(SpacedriveNodeError):
    """The input has ended, so there is nobody to answer."""


async def read_line(descriptor: int) -> str:
    """Return one line, without its end. Cancellable. Raises NobodyToAskError."""
    line = bytearray()
    while True:
        with suppress(PermissionError):  # a plain file cannot be waited for, and never lets one wait
            await trio.lowlevel.wait_readable(descriptor)
        byte = os.read(descriptor, 1)  # no more than the line: what follows belongs to the next question
        if byte == b"\n":
            return line.decode(errors="replace")
        if not byte or len(line) > _LONGEST_ANSWER:
            raise NobodyToAskError
        line += byte


async def yes(descriptor: int) -> bool:
    """Read an answer: only y or yes is yes, and an empty line is no."""
    return (await read_line(descriptor)).strip().lower() in ("y", "yes")


def discard_typed(descriptor: int) -> None:
    """Throw away what was typed on a terminal before a question is shown: it cannot be the answer."""
    if os.isatty(descriptor):
        termios.tcflush(descriptor, termios.TCIFLUSH)


@contextmanager
def answers(*, script: bool) -> Iterator[int]:
    """Give the descriptor that answers come from. `script`: standard input, whatever it is."""
    if script or os.isatty(0):
        yield 0
        return
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield 0
        return
    try:
        yield terminal
    finally:
        os.close(terminal)


def show_question(text: str) -> None:
    """Write a question, and leave the cursor behind it."""
    sys.stdout.write(text)
    sys.stdout.flush()
