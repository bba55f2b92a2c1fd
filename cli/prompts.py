"""Questions on the terminal that do not stop the rest: a line is read while the pairing goes on.

Owns where an answer comes from: standard input, or the controlling terminal when that is something else (the
words of the code may have come through it). Never decides what a question is about.
"""

import os
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import trio

from ..messages.errors import SpacedriveNodeError

_MAX_ANSWER_BYTES = 1024
_FRAME = frozenset("╭╮╰╯─│+-| ")


class NobodyToAskError(SpacedriveNodeError):
    """The input has ended, so no answer can come."""


async def read_line(descriptor: int) -> str:
    """Return one line, without its end. Cancellable. Raises NobodyToAskError."""
    line = bytearray()
    while True:
        with suppress(PermissionError):  # a plain file cannot be waited for, and is always readable
            await trio.lowlevel.wait_readable(descriptor)
        try:
            byte = os.read(descriptor, 1)  # no more than the line: what follows belongs to the next question
        except OSError:  # it is open for writing only, or a terminal that is gone
            raise NobodyToAskError from None
        if byte == b"\n":
            return line.decode(errors="replace")
        if not byte or len(line) > _MAX_ANSWER_BYTES:
            raise NobodyToAskError
        line += byte


async def read_yes(descriptor: int) -> bool:
    """Read an answer and return whether it is yes: only `y` and `yes` are, and an empty line is no.

    A line that is nothing but a frame is no answer: it is the last of the panel that was pasted as the words.
    """
    while len(answer := (await read_line(descriptor)).strip()) > 2 and not set(answer) - _FRAME:
        pass
    return answer.lower() in ("y", "yes")


def discard_typeahead(descriptor: int) -> None:
    """Discard what was typed on a terminal before a question is shown: it cannot be the answer."""
    if os.isatty(descriptor):
        with suppress(termios.error):  # it is gone, or another shell's; reading it says the same
            termios.tcflush(descriptor, termios.TCIFLUSH)


@contextmanager
def answer_source(*, script: bool) -> Iterator[int]:
    """Give the descriptor that answers are read from; for a `script` always standard input."""
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


def write_question(text: str) -> None:
    """Write a question without a line's end, so that the answer is typed behind it."""
    sys.stdout.write(text)
    sys.stdout.flush()
