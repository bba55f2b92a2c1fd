"""A node whose standard error is systemd's journal: each line has its priority, the last word too."""

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from spacedrive_node.tests.harness.node_commands import DEADLINE, SDNODE, sdnode_up

PRIORITIES = {"debug": "<7>", "info": "<6>", "warning": "<4>", "error": "<3>"}


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


def test_the_lines_of_a_node_have_the_priorities_of_their_levels(short_path: Path) -> None:
    """Those of all its processes: the supervisor writes them."""
    status = os.fstat((log := (short_path / "anna.log").open("xb")).fileno())
    log.close()
    variables = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
    flags = ("--log-level", "debug", "--log-format", "json")
    with sdnode_up(short_path, "anna", *flags, variables=variables) as node:
        assert node.stop() == 0
    lines = node.log().splitlines()
    assert {json.loads(line[3:])["actor"] for line in lines} >= {"supervisor", "vault", "swarm"}
    assert [line[:3] for line in lines] == [PRIORITIES[json.loads(line[3:])["level"]] for line in lines]
