"""A node that cannot start says why in the journal as an error (test_session_log.py: its other lines)."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from spacedrive_node.tests.harness.node_commands import DEADLINE, SDNODE


@pytest.mark.parametrize("is_journal", [True, False])
def test_a_node_that_is_not_started_says_why_as_an_error(short_path: Path, is_journal: bool) -> None:
    """In each of its lines, and not in the line of another program's stream."""
    ours, journal = socket.socketpair()
    with ours, journal:
        status = os.fstat((journal if is_journal else ours).fileno())
        done = subprocess.run(
            [*SDNODE, "up", "--data-dir", str(short_path / "anna"), "--listen", "x"],
            stdout=subprocess.DEVNULL,
            stderr=journal,
            env={**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"},
            timeout=DEADLINE,
        )
        lines = ours.recv(1 << 16).decode().splitlines()
    assert done.returncode == 2
    assert len(lines) > 1
    assert [line.startswith("<3>") for line in lines] == [is_journal] * len(lines)
    assert "sdnode: " in lines[0]
