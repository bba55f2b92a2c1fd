"""One line from the terminal, without echo or with the line editor; the terminal is left as it was.

Ctrl-Z, SIGTERM or a terminal that hangs up would else leave the shell without echo: whoever types there sees
nothing, for neither Python's line editor nor the kernel restores it. Owns the terminal's modes and the
process's signals while a line is typed. Never keeps the line.
"""

import errno
import os
import signal
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, ModuleType
from typing import Any

_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""End the prompt as SIGINT does, of which Python makes KeyboardInterrupt."""
_NUDGE = signal.SIGURG
_NUDGES_AFTER_S = (0.02, 0.1, 0.3)


def read_silently(fd: int, prompt: str, line: memoryview) -> int:
    """Write `prompt` to a terminal and read a line into `line`, without echo; return how many bytes that are.

    What was typed before the question is discarded. Raises OSError, termios.error, KeyboardInterrupt.
    """
    terminal = _Terminal(fd, lambda: prompt, termios.TCSAFLUSH)
    terminal.modes[3] &= ~termios.ECHO
    try:
        with terminal.kept():
            terminal.ask()
            return os.readv(fd, [line])  # a terminal gives one line at a time
    finally:
        os.write(fd, b"\n")


def read_edited(prompt: str) -> str:
    """Read a line from standard input, by the line editor if there is one.

    Raises EOFError, KeyboardInterrupt.
    """
    editor = _line_editor()
    fd = sys.stdin.fileno()
    if editor is None or not os.isatty(fd):
        return input(prompt)
    terminal = _Terminal(fd, lambda: prompt + editor.get_line_buffer(), termios.TCSADRAIN)
    editor.set_pre_input_hook(terminal.note_modes)
    try:
        with terminal.kept():
            return input(prompt)
    finally:
        editor.set_pre_input_hook(None)


def _line_editor() -> ModuleType | None:
    with suppress(ImportError):
        import readline

        return readline
    return None


class _Terminal:
    """A terminal while a line is typed into it. `shown` returns what stands in that line.

    `when` is that of tcsetattr(3): with TCSAFLUSH what was typed before is discarded, and with TCSADRAIN not,
    for it may be the next lines of what is pasted. `modes` are those in which the line is typed; they differ
    from what was there before by the echo at least.
    """

    def __init__(self, fd: int, shown: Callable[[], str], when: int) -> None:
        self._fd, self._shown, self._when = fd, shown, when
        self._before = termios.tcgetattr(fd)
        self.modes = list(self._before)

    def note_modes(self) -> None:
        """The line editor has set the terminal: remember how."""
        self.modes = termios.tcgetattr(self._fd)

    def ask(self) -> None:
        """Set the terminal, and show the line."""
        self._set(self.modes)
        os.write(self._fd, self._shown().encode(errors="replace"))

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Handle the signals that stop or end the process; at the end leave everything as it was."""
        handlers: dict[int, Any] = {}
        try:
            for number, handler in self._handlers():
                if signal.getsignal(number) is signal.SIG_DFL:  # else whoever started this wants it so
                    handlers[number] = signal.signal(number, handler)
            with _noticed_signals():
                yield
        finally:
            self._set(self._before)
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _handlers(self) -> Iterator[tuple[int, Callable[[int, FrameType | None], None]]]:
        yield signal.SIGTSTP, self._stop
        yield signal.SIGCONT, self._go_on
        for number in _ENDING:
            yield number, signal.default_int_handler

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self._set(self._before)
        handler = signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, handler)
        self._go_on(number, None)

    def _go_on(self, _number: int, _frame: FrameType | None) -> None:
        """Ask again if the echo is on, as the shell has left it."""
        if termios.tcgetattr(self._fd)[3] & termios.ECHO:
            self.ask()

    def _set(self, modes: list[Any]) -> None:
        while True:
            try:
                termios.tcsetattr(self._fd, self._when, modes)
                return
            except termios.error as error:
                if error.args[0] != errno.EINTR:  # it was stopped just here, in the background
                    raise


@contextmanager
def _noticed_signals() -> Iterator[None]:
    """Have every signal handled at once, also one that comes just before the wait for a key begins.

    Python only notes a signal when it comes, and handles it when it interrupts that wait: one that comes
    between would be handled after the next key. So a thread interrupts the wait a few times after each.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    waiting = threading.get_ident()

    over = threading.Event()

    def interrupt() -> None:
        while numbers := os.read(reading, 64):
            for pause in _NUDGES_AFTER_S if set(numbers) - {_NUDGE} else ():
                if not over.wait(pause):
                    signal.pthread_kill(waiting, _NUDGE)

    before = signal.signal(_NUDGE, lambda _number, _frame: None)
    former = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        signal.set_wakeup_fd(former)
        signal.signal(_NUDGE, before)
        os.close(writing)
        thread.join()
        os.close(reading)
