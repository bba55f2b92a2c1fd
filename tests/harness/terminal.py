"""Runs a command on a real pseudo-terminal."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

from spacedrive_node.tests.harness.fake_node import DEADLINE

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]")


class Terminal:
    """A command on a pseudo-terminal. Its output is kept without escape sequences, in `raw` with them.

    `env`: what it has beyond the usual; `shell`: a script of sh that runs the command as its "$@".
    """

    def __init__(self, arguments, env, *, rows=60, columns=100, shell=None):
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        sized = {name: value for name, value in env.items() if name not in ("COLUMNS", "LINES")}
        through = ["sh", "-c", shell, "sh"] if shell else []
        self.process = subprocess.Popen(
            [*through, sys.executable, "-m", "spacedrive_node", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={"PYTHONUTF8": "1", **sized, "TERM": "xterm"},
            preexec_fn=self._take_terminal,
        )
        os.close(slave)
        self.shown = ""
        self.raw = ""

    @staticmethod
    def _take_terminal():
        os.setsid()
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)  # some may be ignored where the tests run
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def expect(self, text):
        """Read until `text` is shown, and drop the output up to it. Return what was before it."""
        deadline = time.monotonic() + DEADLINE
        while text not in self.shown:
            if not self._read(deadline):
                raise AssertionError(f"{text!r} was not shown, but:\n{self.shown}")
        before, _, self.shown = self.shown.partition(text)
        return before

    def end(self):
        """Wait for its end. Return its exit code and the rest of its output."""
        deadline = time.monotonic() + DEADLINE
        while self._read(deadline):
            pass
        return self.process.wait(DEADLINE), self.shown

    def type(self, text):
        """Send key presses."""
        os.write(self._master, text.encode())

    def wait_until_asleep(self, pid):
        """Wait until a process has been found waiting five times in a row.

        Python handles a signal that arrives just as the prompt starts to wait only at the next key.
        """
        found, deadline = 0, time.monotonic() + DEADLINE
        while found < 5:
            assert time.monotonic() < deadline
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            found = found + 1 if state == "S" else 0
            time.sleep(0.02)

    def interrupt_prompt(self):
        """Press Ctrl-C until the command ends.

        Python handles a signal that arrives just as the line editor starts to wait only at the next key.
        """
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            self.type("\x03")
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.process.wait(0.2)
        raise AssertionError("Ctrl-C did not end the prompt")

    def hang_up(self):
        """Close the terminal, as when its window is closed; return the exit code of the command."""
        os.close(self._master)
        return self.process.wait(DEADLINE)

    def close(self):
        """Kill it if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)

    def _read(self, deadline):
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the other end is closed
            return False
        text = data.decode(errors="replace")
        self.raw += text
        self.shown += _ESCAPES.sub("", text)
        return bool(data)
