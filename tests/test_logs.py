"""The log: one line each, in both forms, whatever the fields hold."""

import io
import json
import math
import os
import select
import threading

import pytest

from spacedrive_node.config import journal
from spacedrive_node.logs import MAX_QUEUED_BYTES, MAX_QUEUED_LINES, make_log

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


@pytest.mark.parametrize("form", ["console", "json"])
@pytest.mark.parametrize(
    ("actor", "fields", "found"),
    [
        ("session-" + "a" * 16, {}, "a" * 16),
        ("session-" + "a" * 16, {"session": "b" * 16}, "a" * 16),
        ("vault", {"from": "session-" + "a" * 16}, "a" * 16),
        ("gateway", {"to": "session-" + "a" * 16}, "a" * 16),
        ("swarm", {"session": "a" * 16}, "a" * 16),
        ("swarm", {"from": "session-x", "to": 7}, None),
    ],
)
def test_a_line_about_a_session_has_its_id(form, actor, fields, found) -> None:
    """From the name of its actor, wherever the line has it; what a session says is about itself."""
    out = io.StringIO()
    make_log(form, "info", out)(actor, "info", "said", fields)
    if form == "json":
        assert json.loads(out.getvalue()).get("session") == found
    else:
        assert (f" session={found}" in out.getvalue()) is (found is not None)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_does_not_have_is_a_text_there(value: float) -> None:
    """A line that a log shipper cannot parse is a line that it drops."""
    out = io.StringIO()
    make_log("json", "info", out)("swarm", "info", "said", {"value": value})

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert json.loads(out.getvalue(), parse_constant=refuse)["value"] == str(value)


def test_lines_below_the_level_are_left_out_and_a_closed_stream_is_survived() -> None:
    out = io.StringIO()
    write = make_log("json", "warning", out)
    write("swarm", "info", "quiet", {})
    assert out.getvalue() == ""
    out.close()
    write("swarm", "error", "nobody reads this", {})


@pytest.mark.parametrize("form", ["console", "json"])
def test_no_name_of_a_field_and_no_value_ends_the_caller(form) -> None:
    out = io.StringIO()
    write = make_log(form, "debug", out)
    names = ["self", "level", "event", "method_name", "logger", "", "a b", "x" * 99, "\x1b[2J"]
    write("session-x", "info", "named", dict.fromkeys(names, "value"))
    write("session-x", "no such level", "odd", {"field": object()})
    assert out.getvalue().splitlines()[0].isprintable()
    assert "value" in out.getvalue()


class _Pipe:
    """A log that goes into a pipe, which is read only when the test wants."""

    def __init__(self) -> None:
        self.reader, writer = os.pipe()
        self.stream = os.fdopen(writer, "w")

    def __enter__(self) -> "_Pipe":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.reader)
        self.stream.close()

    def read_until(self, done) -> list[dict[str, object]]:
        """Read whole lines until `done` says of the last one that it is enough."""
        data = b""
        while True:
            ready, _, _ = select.select([self.reader], [], [], 30)
            assert ready, "the log does not flow"
            data += os.read(self.reader, 65536)
            if data.endswith(b"\n"):
                lines = [json.loads(line) for line in data.splitlines()]
                if done(lines):
                    return lines


@pytest.mark.parametrize("form", ["console", "json"])
def test_in_the_journal_each_line_has_its_priority(form, monkeypatch) -> None:
    """Where standard error is the very stream that systemd has named, and only there."""
    levels = {"debug": "<7>", "info": "<6>", "warning": "<4>", "error": "<3>"}
    for named in (True, False):
        with _Pipe() as pipe:
            status = os.fstat(pipe.stream.fileno())
            inode = status.st_ino if named else status.st_ino + 1
            monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{inode}")
            with make_log(form, "debug", pipe.stream) as log:
                for level in levels:
                    log("swarm", level, HOSTILE, {"name": HOSTILE})
            lines = os.read(pipe.reader, 65536).decode().splitlines()
            assert len(lines) == len(levels)
            assert [line[:3] in levels.values() for line in lines] == [named] * 4
            if named:
                assert [line[:3] for line in lines] == list(levels.values())


@pytest.mark.parametrize("value", [None, "", "x", ":", "1:2:3", "8:-1"])
def test_no_journal_that_is_named_wrongly_gets_priorities(value, monkeypatch) -> None:
    with _Pipe() as pipe:
        monkeypatch.delenv("JOURNAL_STREAM", raising=False)
        if value is not None:
            monkeypatch.setenv("JOURNAL_STREAM", value)
        assert not journal.is_journal(pipe.stream.fileno())
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    assert not journal.is_journal(-1)  # standard error is closed


@pytest.mark.parametrize("field", ["", "x" * 10_000], ids=["many lines", "many bytes"])
def test_a_pipe_that_nobody_reads_holds_nobody_up_and_loses_are_counted(field) -> None:
    """The first lines are kept in order, the count stands where the others would have been."""
    with _Pipe() as pipe:
        log = make_log("json", "debug", pipe.stream)
        for number in range(3 * MAX_QUEUED_LINES):
            log("swarm", "info", "line", {"number": number, "field": field})
        lines = pipe.read_until(lambda lines: lines[-1]["actor"] == "supervisor")
        kept = [line["number"] for line in lines[:-1]]
        assert kept == list(range(len(kept)))
        assert len(kept) + lines[-1]["lines"] == 3 * MAX_QUEUED_LINES
        assert len(kept) <= MAX_QUEUED_LINES + 2000  # what the pipe itself holds
        assert sum(len(json.dumps(line)) for line in lines) <= MAX_QUEUED_BYTES + 256 * 1024
        log("swarm", "info", "line", {"number": "next"})
        assert pipe.read_until(lambda lines: True)[0]["number"] == "next"
        log.close()


def test_the_end_does_not_wait_for_a_reader_and_nothing_after_it_does() -> None:
    with _Pipe() as pipe:
        log = make_log("json", "debug", pipe.stream)
        for _ in range(MAX_QUEUED_LINES):
            log("swarm", "info", "line", {"field": "x" * 100})
        log.close()
        pipe.stream.write("x" * 100_000)  # as the interpreter would at its end
        pipe.stream.flush()


def test_what_is_queued_is_written_at_the_end() -> None:
    with _Pipe() as pipe:
        with make_log("json", "debug", pipe.stream) as log:
            for number in range(100):
                log("swarm", "info", "line", {"number": number})
        lines = pipe.read_until(lambda lines: len(lines) == 100)
        assert [line["number"] for line in lines] == list(range(100))


@pytest.fixture
def refused_threads(monkeypatch) -> list[RuntimeError]:
    """Return a list of the errors with which the next threads do not start."""
    start, refusals = threading.Thread.start, []

    def refuse(thread: threading.Thread) -> None:
        if refusals:
            raise refusals.pop()
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    return refusals


def test_without_a_thread_what_is_taken_at_once_is_written(refused_threads) -> None:
    """As where the system makes no more processes: nobody waits for a line for ever, nor for a reader."""
    with _Pipe() as pipe:
        log = make_log("json", "debug", pipe.stream)
        refused_threads += [RuntimeError("can't start new thread")] * 10_000
        log("swarm", "info", "line", {"number": 0})
        assert pipe.read_until(lambda lines: True)[0]["number"] == 0
        for number in range(1, 300):
            log("swarm", "info", "line", {"number": number, "field": "x" * 1000})
        del refused_threads[:]
        log("swarm", "info", "line", {"number": "last"})
        lines = pipe.read_until(lambda lines: lines[-1]["number"] == "last")
        assert [line["number"] for line in lines[:-1]] == list(range(1, len(lines)))
        log.close()


def test_the_end_without_a_thread_keeps_standard_error(refused_threads) -> None:
    """Nobody hangs in a write; the last words are heard."""
    refused_threads += [RuntimeError("can't start new thread")] * 2
    with _Pipe() as pipe:
        log = make_log("json", "debug", pipe.stream)
        log("swarm", "info", "line", {"number": 1, "field": "x" * select.PIPE_BUF})
        log.close()
        pipe.stream.write('{"number": "last"}\n')
        pipe.stream.flush()
        assert [line["number"] for line in pipe.read_until(lambda lines: True)] == ["last"]
