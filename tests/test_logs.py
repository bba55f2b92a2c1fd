"""The log: one line each, in both forms, whatever the fields hold."""

import io
import json

import pytest

from spacedrive_node.logs import make_log

HOSTILE = "x\n2026 [error] forged\x1b[2J\u202e\x07"


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_field_can_neither_forge_a_line_nor_command_the_terminal(form) -> None:
    out = io.StringIO()
    write = make_log(form, "debug", out)
    write("session-x", "warning", HOSTILE, {"name": HOSTILE, "exception": HOSTILE, "level": "forged"})
    text = out.getvalue()
    assert text.count("\n") == 1
    assert text.rstrip("\n").isprintable()


def test_json_lines_carry_actor_level_event_and_fields() -> None:
    out = io.StringIO()
    make_log("json", "info", out)("swarm", "warning", "port taken", {"port": 7520})
    line = json.loads(out.getvalue())
    assert (line["actor"], line["level"], line["event"], line["port"]) == (
        "swarm",
        "warning",
        "port taken",
        7520,
    )


def test_lines_below_the_level_are_left_out_and_a_closed_stream_is_survived() -> None:
    out = io.StringIO()
    write = make_log("json", "warning", out)
    write("swarm", "info", "quiet", {})
    assert out.getvalue() == ""
    out.close()
    write("swarm", "error", "nobody reads this", {})
