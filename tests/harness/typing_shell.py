"""A real shell on a pseudo-terminal, at which a test types; for what a shell completes."""

import contextlib
import os
import pty
import re
import select
import subprocess
import time

from spacedrive_node.tests.harness.fake_node import DEADLINE

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\x1b\]0;[^\x07]*\x07")


class TypingShell:
    """Runs `command`, a shell, and keeps what it shows without escape sequences."""

    def __init__(self, command, env):
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True
        )
        os.close(slave)
        self.shown = ""

    def type(self, text):
        """Send key presses."""
        os.write(self._master, text.encode())

    def expect(self, text):
        """Read until `text` is shown, and return what was before it; drop both."""
        deadline = time.monotonic() + DEADLINE
        while text not in self.shown:
            ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{text!r} was not shown, but: {self.shown!r}"
            data = os.read(self._master, 65536).decode(errors="replace")
            self.shown = _ESCAPES.sub("", self.shown + data)
        before, _, self.shown = self.shown.partition(text)
        return before

    def close(self):
        """Kill the shell."""
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(OSError):
            os.close(self._master)
