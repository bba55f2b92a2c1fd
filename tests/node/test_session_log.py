"""One search of the log for the id of a session tells its story, from its start to its end, by all actors."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

from spacedrive_node.tests.harness.log_lines import wait_for_line
from spacedrive_node.tests.harness.node_commands import DEADLINE, sdnode_pair, sdnode_up

STORY = {
    "initiator": [
        ("gateway", "StartPairing"),
        ("swarm", "PeerRequest"),
        ("vault", "Signed"),
        ("gateway", "Accept"),
        ("vault", "Stored"),
    ],
    "joiner": [
        ("gateway", "JoinPairing"),
        ("discovery", "CandidateFound"),
        ("swarm", "PeerAnswer"),
        ("vault", "Signed"),
        ("swarm", "PeerEvidence"),
        ("gateway", "Accept"),
        ("vault", "Stored"),
    ],
}
"""What the other actors say of it, among much else, in this order."""


PRIORITIES = {"debug": "<7>", "info": "<6>", "warning": "<4>", "error": "<3>"}
LINE = re.compile(r"\S+ \[(?P<level>\w+) *\] (?P<event>.*?) +(?P<fields>actor=.*)")


def read(line: str) -> dict[str, Any]:
    """Return the fields of a line in either form."""
    if line.startswith("{"):
        read: dict[str, Any] = json.loads(line)
        return read
    found = LINE.fullmatch(line)
    assert found is not None, line
    fields = dict(field.partition("=")[::2] for field in shlex.split(found["fields"]))
    return {"level": found["level"], "event": found["event"], **fields}


def test_every_line_about_a_session_has_its_id(short_path: Path) -> None:
    """At level debug, in both forms: each actor that has to do with it speaks of it by the same id.

    The one's log is a stream to systemd's journal besides, which each of its lines tells its level.
    """
    (short_path / "anna.log").touch()
    status = (short_path / "anna.log").stat()
    journal = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
    with (
        sdnode_up(short_path, "anna", "--log-level", "debug", "--log-format", "json", variables=journal) as a,
        sdnode_up(short_path, "bruno", "--log-level", "debug", "--log-format", "console") as b,
    ):
        with sdnode_pair(a) as (words, shown):
            assert b.run("join", "-", stdin=f"{words}\ny\n")[-1]["event"] == "paired"
            assert shown.wait(DEADLINE) == 0
        wait_for_line(short_path / "anna.log", "session ended")
        assert a.stop() == b.stop() == 0
    for node, role in ((a, "initiator"), (b, "joiner")):
        text = node.log().splitlines()
        if node is a:
            lines = [read(line[3:]) for line in text]
            assert [line[:3] for line in text] == [PRIORITIES[line["level"]] for line in lines]
        else:
            lines = [read(line) for line in text]
        (started,) = [line for line in lines if line["event"] == "session started"]
        session, actor = started["session"], f"session-{started['session']}"
        story = [line for line, written in zip(lines, text, strict=True) if session in written]
        assert [line for line in lines if "session" in line] == story
        assert {line["session"] for line in story} == {session}
        assert {line["actor"] for line in story} >= {"supervisor", actor, "swarm", "vault", "gateway"}
        assert "discovery" in {line["actor"] for line in story} or role == "initiator"

        assert story[1] == started
        # The joiner waits for a while, and may have been stopped with its node. What others had under way to
        # the session may come after its end.
        (end,) = [n for n, line in enumerate(story) if line["event"] in ("session ended", "session stopped")]
        assert actor not in {line["actor"] for line in story[end:]}
        said = iter((line["actor"], line.get("kind")) for line in story)
        assert all(step in said for step in STORY[role])
        stages = [line["stage"] for line in story if line.get("kind") == "SessionView"]
        assert stages[0] == {"initiator": "waiting", "joiner": "searching"}[role]
        assert stages[-1] == "storing"
