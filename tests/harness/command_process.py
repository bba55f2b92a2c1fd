"""Runs a command as a real process, with pipes, and reads its output while it runs."""

import contextlib
import queue
import signal
import subprocess
import sys
import threading

from spacedrive_node.tests.harness.fake_node import DEADLINE, WORDS
from spacedrive_node.tests.harness.secret_sweep import collector


class Command:
    """One running command. Threads collect its output, so that a test can wait for a line."""

    def __init__(self, arguments, env, stdin=subprocess.PIPE):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "spacedrive_node", *arguments],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            text=True,
            errors="backslashreplace",
            start_new_session=True,  # without a controlling terminal
        )
        self.out, self.err = [], []
        self._lines = queue.Queue()
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.out), daemon=True),
            threading.Thread(target=self._read, args=(self.process.stderr, self.err), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream, kept):
        for line in stream:
            kept.append(line)
            if kept is self.out:
                self._lines.put(line)
        stream.close()

    def line(self):
        """Return the next line of stdout."""
        return self._lines.get(timeout=DEADLINE)

    def type(self, text):
        """Write to stdin."""
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def close_input(self):
        """Close stdin."""
        self.process.stdin.close()

    def interrupt(self):
        """Send SIGINT, as Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def end(self):
        """Wait for its end. Return its exit code, stdout and stderr. Its stdin stays open until then."""
        code = self.process.wait(DEADLINE)
        for reader in self._readers:
            reader.join(DEADLINE)
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        collector.add_code(WORDS)
        collector.add_text("standard error of a command", "".join(self.err))
        return code, "".join(self.out), "".join(self.err)
