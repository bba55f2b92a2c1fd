"""What a node makes of a system that has less to offer, and of what it may not make again by itself."""

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from spacedrive_node.tests.harness import node_commands
from spacedrive_node.tests.harness.node_commands import DEADLINE, SDNODE, UpCommand, sdnode_pair, sdnode_up

WITHOUT = """
import ctypes, errno, os, struct, sys

def op(code, value, if_true=0, if_false=0):
    return struct.pack("HBBI", code, if_true, if_false, value)

refused = {444: errno.ENOSYS, 445: errno.ENOSYS, 446: errno.ENOSYS}  # Landlock
refused[272 if os.uname().machine == "x86_64" else 97] = errno.EPERM  # unshare
code = op(0x20, 0)
for number, error in refused.items():
    code += op(0x15, number, 0, 1) + op(0x06, 0x00050000 | error)
code += op(0x06, 0x7FFF0000)
buffer = ctypes.create_string_buffer(code, len(code))

class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))

libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
program = Program(len(code) // 8, ctypes.addressof(buffer))
assert libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Runs a program on what looks to it like a kernel without Landlock that allows no namespaces."""


def test_what_the_kernel_lacks_is_told_and_the_node_works(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warning for each actor that could open files because of it, a remark for the others.

    The log says so once; status and doctor, as long as they run, and what to do.
    """
    monkeypatch.setattr(node_commands, "SDNODE", [sys.executable, "-c", WITHOUT, *SDNODE])
    with (
        sdnode_up(short_path, "anna", "--log-format", "json", "--web", "127.0.0.1:0") as a,
        sdnode_up(short_path, "bruno") as b,
    ):
        monkeypatch.undo()
        with sdnode_pair(a) as (words, _initiator):
            (status,) = a.run("status")
            findings = {str(found["check"]): found for found in a.run("doctor", code=9)}
            done = b.run("join", "--yes", *words if isinstance(words, list) else words.split())
            assert done[-1]["event"] == "paired"
        gaps = {(gap["step"], gap["is_made_good"]): gap for gap in status["sandbox_gaps"]}
        with_files, others = {"vault", "swarm", "discovery"}, {"gateway", "metrics", "session", "web"}
        assert {key: set(gap["actors"]) for key, gap in gaps.items()} == {
            ("landlock", False): with_files,
            ("landlock", True): others,
            ("namespaces", True): {"vault", "discovery"} | others,
        }
        assert gaps["landlock", False]["why"] == "Function not implemented"
        assert findings["running_landlock"]["level"] == "problem"
        assert all(actor in str(findings["running_landlock"]["text"]) for actor in with_files)
        assert "docs/operations.md" in str(findings["running_landlock"]["advice"])
        assert findings["running_landlock_made_good"]["level"] == "note"
        assert a.stop() == 0
    lines = [json.loads(line) for line in (short_path / "anna.log").read_text().splitlines()]
    told = {line["actor"].partition("-")[0]: line for line in lines if line["event"] == "sandbox"}
    assert {kind: line["level"] for kind, line in told.items()} == {
        "vault": "warning", "swarm": "warning", "discovery": "warning",
        "gateway": "info", "metrics": "info", "session": "info", "web": "info",
    }  # fmt: skip
    for kind, line in told.items():
        assert line["landlock"].endswith("Function not implemented")
        assert line.get("namespaces") == (None if kind == "swarm" else "not permitted here")
        assert {line[step] for step in ("seccomp", "rlimits", "no_new_privs", "dumpable")} == {"ok"}


def test_a_register_that_is_removed_is_made_again(short_path: Path) -> None:
    """Whoever cleans up temporary directories takes it away; discovery itself may make no directory there."""
    register = short_path / "spacedrive-node" / "nodes"
    with sdnode_up(short_path, "anna") as a, sdnode_pair(a):  # while a pairing runs it looks every second
        until(a, lambda: bool(list(register.glob("*.node"))))
        shutil.rmtree(register)
        until(a, lambda: bool(list(register.glob("*.node"))))
        assert register.stat().st_mode & 0o777 == 0o700
        (row,) = [row for row in a.run("actors") if row["actor"] == "discovery"]
        assert row["restarts"] in (0, 1)  # 0 where there is no Landlock


def until(node: UpCommand, condition: Callable[[], bool]) -> None:
    """Ask the node something again and again until the condition holds."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        node.run("actors")  # not status, which fails while discovery is away
