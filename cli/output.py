"""How text leaves a command: whatever it holds, and whatever the locale can show, writing it is no error.

Owns the error handling of the standard streams, and the escapes of what cannot or must not be shown. Never
decides what is written; that an output is closed or full is steady_view.py's matter, or ends the command.
"""

import io
import os
import sys
import unicodedata
from contextlib import suppress
from typing import Any, TextIO

_ESCAPED_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
_DIRECTION_MARKS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_USUAL_COLUMNS = 80
"""Of a terminal that does not say how wide it is."""

_closed_streams: set[int] = set()
"""Of the standard descriptors, those that were closed when the command began, by whoever started it."""


def open_standard_streams() -> None:
    """Put /dev/null where a standard stream is closed: the next file opened would take its number."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            _closed_streams.add(number)
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - for the whole process
    _prepare_streams()


def stdout_is_closed() -> bool:
    """Return whether whoever started this command has closed its standard output: nobody reads it."""
    return 1 in _closed_streams


def _prepare_streams() -> None:
    """Write what an encoding lacks as escapes, and read bytes that are no text as replacement characters."""
    for stream, errors in (
        (sys.stdin, "replace"),
        (sys.stdout, "backslashreplace"),
        (sys.stderr, "backslashreplace"),
    ):
        if isinstance(stream, io.TextIOWrapper):
            with suppress(OSError, ValueError):  # it is closed, or cannot be written to: then nobody reads it
                stream.reconfigure(errors=errors)


def is_unicode(stream: TextIO) -> bool:
    """Return whether a stream can show every character."""
    return (getattr(stream, "encoding", None) or "ascii").lower().replace("-", "").startswith("utf")


def commands_terminal(char: str) -> bool:
    """Return whether a character controls a terminal, or changes the direction or the lines of a text."""
    return char in _DIRECTION_MARKS or unicodedata.category(char) in _ESCAPED_CATEGORIES


def printable(text: str) -> str:
    """Return text that may be another's, so that it cannot command a terminal or end the line."""
    return "".join(
        char.encode("unicode_escape").decode() if commands_terminal(char) else char for char in text
    )


def shown(text: str, stream: TextIO | None = None) -> str:
    """Return printable text as standard output (or `stream`) shows it: with escapes for what it lacks."""
    stream = sys.stdout if stream is None else stream
    if is_unicode(stream):
        return printable(text)
    encoding = getattr(stream, "encoding", None) or "ascii"
    return printable(text).encode(encoding, "backslashreplace").decode(encoding)


def terminal_columns(stream: TextIO | None = None) -> int | None:
    """Return how wide the terminal is on which standard output (or `stream`) is shown; None: it is none."""
    stream = sys.stdout if stream is None else stream
    if not stream.isatty():
        return None
    with suppress(ValueError):
        if (wanted := int(os.environ.get("COLUMNS", ""))) > 0:
            return wanted
    try:
        return os.get_terminal_size(stream.fileno()).columns or _USUAL_COLUMNS
    except OSError:
        return _USUAL_COLUMNS


def write_line(text: str) -> None:
    """Write one line to stdout, and flush it: scripts read each line as it comes. Raises OSError."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def discard_stdout() -> None:
    """Replace stdout by /dev/null, so that the interpreter does not complain when it flushes at exit."""
    with suppress(OSError, ValueError):  # stdout is no real file: then nothing is flushed into it either
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


class TolerantStream:
    """A stream whose errors pass by unnoticed: for a terminal, which may go away in the middle of a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write if it can be written."""
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush if it can be flushed."""
        with suppress(OSError, ValueError):
            self._stream.flush()
