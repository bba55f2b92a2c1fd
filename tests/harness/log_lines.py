"""Waits for a line in the log file of a running command."""

import subprocess
import threading
from pathlib import Path

from spacedrive_node.tests.harness.command_runner import DEADLINE


def wait_for_line(log: Path, *texts: str) -> str:
    """Return the first line of the log that has all these texts, as soon as it is there."""
    with subprocess.Popen(["tail", "-n", "+1", "-f", str(log)], stdout=subprocess.PIPE, text=True) as tail:
        assert tail.stdout is not None
        deadline = threading.Timer(DEADLINE, tail.kill)
        deadline.start()
        try:
            for line in tail.stdout:
                if all(text in line for text in texts):
                    return line
        finally:
            deadline.cancel()
            tail.kill()
    raise AssertionError(f"no line with {texts} in:\n{log.read_text()}")
