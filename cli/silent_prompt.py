"""One line from the terminal without echo, and the terminal as it was whatever comes in between.

Ctrl-Z, SIGTERM or a terminal that hangs up would else leave the shell without echo: whoever types there sees
nothing. Owns the terminal's echo and the process's signals while the line is typed. Never keeps the line.
"""

import errno
import os
import signal
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""End the prompt as SIGINT does, of which Python makes KeyboardInterrupt."""


def read_silently(fd: int, prompt: str, line: memoryview) -> int:
    """Write `prompt` to a terminal and read a line into `line`; return how many bytes that are.

    What was typed before the question is discarded. Raises OSError, termios.error, KeyboardInterrupt.
    """
    echo = _Echo(fd, prompt)
    with echo.off():
        return os.readv(fd, [line])  # a terminal gives one line at a time


class _Echo:
    """The terminal while a line is typed into it."""

    def __init__(self, fd: int, prompt: str) -> None:
        self._fd, self._prompt = fd, prompt
        self._before = termios.tcgetattr(fd)
        self._silent = list(self._before)
        self._silent[3] &= ~termios.ECHO

    @contextmanager
    def off(self) -> Iterator[None]:
        """Switch the echo off and ask; at the end leave everything as it was."""
        handlers: dict[int, Any] = {}
        try:
            for number, handler in self._handlers():
                if signal.getsignal(number) is signal.SIG_DFL:  # else whoever started this wants it so
                    handlers[number] = signal.signal(number, handler)
            self._ask()
            yield
        finally:
            self._set(self._before)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            os.write(self._fd, b"\n")

    def _handlers(self) -> Iterator[tuple[int, Callable[[int, FrameType | None], None]]]:
        yield signal.SIGTSTP, self._stop
        yield signal.SIGCONT, self._go_on
        for number in _ENDING:
            yield number, signal.default_int_handler

    def _ask(self) -> None:
        self._set(self._silent)
        os.write(self._fd, self._prompt.encode())

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self._set(self._before)
        handler = signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, handler)
        self._go_on(number, None)

    def _go_on(self, _number: int, _frame: FrameType | None) -> None:
        """Ask again if the echo is on, as the shell has left it; what was typed of the line is gone."""
        if termios.tcgetattr(self._fd)[3] & termios.ECHO:
            self._ask()

    def _set(self, attributes: list[Any]) -> None:
        while True:
            try:
                termios.tcsetattr(self._fd, termios.TCSAFLUSH, attributes)
                return
            except termios.error as error:
                if error.args[0] != errno.EINTR:  # it was stopped just here, in the background
                    raise
