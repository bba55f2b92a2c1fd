"""The node's log: one writer for the lines of all its processes, on standard error.

Actors send their lines to the supervisor as typed frames (messages/child_protocol.py); only here do they
get a time, a form and, for systemd's journal, a priority. Owns the escaping: a line may quote a peer. A line
never holds a secret, because its fields are short scalars that the sender has chosen one by one.

Never makes its caller wait: a terminal that was stopped with Ctrl-S, or a pipe that nobody reads, would stand
the whole supervisor still. LineWriter queues a line and writes it on a thread of its own; what finds the
queue full is dropped and counted, and the count is logged when lines flow again.
"""

import logging
import math
import os
import re
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Literal, Self, TextIO

from .config import journal
from .import_stubs import stub_unused_modules
from .messages.session_names import is_session_actor, session_of_actor
from .messages.types import LogField

# 4.7 MiB: rich prints tracebacks, of which a log has none; with asyncio structlog would log from coroutines,
# and with pickle its loggers could go to other processes.
with stub_unused_modules(("asyncio", "pickle", "rich")):
    import structlog

LogFormat = Literal["console", "json"]
WriteLog = Callable[[str, str, str, Mapping[str, LogField]], None]
"""Writes one line; called with (actor, level, event, fields)."""

MAX_QUEUED_LINES = 4096
MAX_QUEUED_BYTES = 1024 * 1024
"""Of lines that wait to be written."""
CLOSE_TIMEOUT_S = 0.5
"""In which the queue must be written when the node ends, from the last line that was."""

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class LineWriter:
    """Writes lines to a descriptor on a thread of its own; no call but `close` ever waits.

    `notice` makes the line that says how many were dropped (None: that is not said).
    """

    def __init__(
        self, descriptor: int, encoding: str = "utf-8", notice: Callable[[int], str] | None = None
    ) -> None:
        self._descriptor = descriptor
        self._encoding = encoding
        self._notice = notice
        self._changed = threading.Condition()
        self._queue: deque[tuple[bytes, int]] = deque()
        """Each with the number of lines that are lost with it: 1, of a notice as many as it reports."""
        self._queued_bytes = 0
        self._dropped = 0
        self._flows = True
        self._written_at = time.monotonic()
        self._closed = False
        self._abandoned = False
        self._thread: threading.Thread | None = None

    def write(self, line: str) -> None:
        """Queue one line, which has its end; or drop it, if too much waits already."""
        data = line.encode(self._encoding, "backslashreplace")
        with self._changed:
            if self._closed:
                return
            if not self._has_room(len(data)):
                self._dropped += 1
                return
            self._queue_notice()
            self._push(data, 1)
            self._start()
            self._changed.notify_all()

    def _start(self) -> None:
        """Start the thread, unless it runs. Where none can be made now, write what is taken at once."""
        if self._thread is not None:
            return
        # A daemon: it may hang in a write for ever, and must not keep the process from ending.
        thread = threading.Thread(target=self._run, name="log", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the next line tries again
            while self._queue and len(self._queue[0][0]) <= select.PIPE_BUF:
                if not _takes_output(self._descriptor):
                    break
                data, lines = self._queue.popleft()
                self._queued_bytes -= len(data)
                self._dropped += 0 if self._write_all(data) else lines
        else:
            self._thread = thread

    def close(self) -> None:
        """Wait for the queue to be written, while it flows. Where it does not, use /dev/null from now on.

        Otherwise the next one to print something, the interpreter at its end for example, would wait instead.
        """
        with self._changed:
            self._closed = True
            self._written_at = time.monotonic()
            if self._queue:
                self._start()
            self._changed.notify_all()
            while self._queue and self._thread is not None:
                left = self._written_at + CLOSE_TIMEOUT_S - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            self._abandoned = stuck = bool(self._queue) and self._thread is not None
        with suppress(OSError, ValueError):
            if stuck or not _takes_output(self._descriptor):
                null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
                os.dup2(null, self._descriptor)
                os.close(null)

    def _has_room(self, size: int) -> bool:
        # Once something was dropped, half of the queue must be free: a notice for each single line is no use.
        share = 2 if self._dropped and self._flows else 1
        return (
            len(self._queue) < MAX_QUEUED_LINES // share
            and self._queued_bytes + size <= MAX_QUEUED_BYTES // share
        )

    def _push(self, data: bytes, lines: int) -> None:
        self._queue.append((data, lines))
        self._queued_bytes += len(data)

    def _queue_notice(self) -> None:
        """Queue the line that says how many were dropped at this place, if any were."""
        if self._dropped and self._notice is not None:
            self._push(self._notice(self._dropped).encode(self._encoding, "backslashreplace"), self._dropped)
        self._dropped = 0

    def _run(self) -> None:
        while (item := self._next()) is not None:
            data, lines = item
            written = self._write_all(data)
            with self._changed:
                if self._abandoned:
                    return
                self._queue.popleft()
                self._queued_bytes -= len(data)
                self._flows = written
                self._written_at = time.monotonic()
                if not written:
                    self._dropped += lines  # the reader is gone, or the disk is full; perhaps not for ever
                self._changed.notify_all()

    def _next(self) -> tuple[bytes, int] | None:
        """Wait for the front of the queue, which stays there until it is written; None: all is written."""
        with self._changed:
            while not self._queue:
                if self._dropped and self._flows:
                    self._queue_notice()
                elif self._closed:
                    return None
                else:
                    self._changed.wait()
            return self._queue[0]

    def _write_all(self, data: bytes) -> bool:
        view = memoryview(data)
        while view and not self._abandoned:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:  # somebody who shares the descriptor made it so
                _wait_writable(self._descriptor)
            except OSError:
                return False
        return True


def _takes_output(descriptor: int) -> bool:
    """Return whether a line could be written at once."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(0))


def _wait_writable(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    poll.poll()


class NodeLog:
    """The log: called with (actor, level, event, fields), it writes one line. Close it at the end.

    Where `stream` has a descriptor it is written by a LineWriter, otherwise at once (memory, in tests).
    """

    def __init__(self, form: LogFormat, level: str, stream: TextIO | None = None) -> None:
        out = sys.stderr if stream is None else stream
        self._has_colors = out.isatty()
        self._add_time = structlog.processors.TimeStamper(fmt="iso", utc=True)
        self.change(form, level)
        self._is_journal = _is_journal(out)
        self._writer = _line_writer(out, self._dropped_notice)
        self._write = out.write if self._writer is None else self._writer.write

    def change(self, form: LogFormat, level: str) -> None:
        """Write the lines from now on in this form, those of at least this level."""
        self._form: structlog.typing.Processor = (
            structlog.processors.JSONRenderer()
            if form == "json"
            else structlog.dev.ConsoleRenderer(colors=self._has_colors, pad_event_to=30)
        )
        self._level = _LEVELS[level]

    def __call__(self, actor: str, level: str, event: str, fields: Mapping[str, LogField]) -> None:
        """Write one line, if its level is high enough. Raises nothing: what reports cannot be reported."""
        if _LEVELS.get(level, logging.ERROR) < self._level:
            return
        try:
            self._write(self._line(actor, level, event, fields))
        except Exception:  # a closed stream, or a field that no form fits
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write what is queued, in half a second if nobody reads."""
        if self._writer is not None:
            self._writer.close()

    def _line(self, actor: str, level: str, event: str, fields: Mapping[str, LogField]) -> str:
        safe: dict[str, LogField] = {_safe_key(key): _escape(value) for key, value in fields.items()}
        entry = {"actor": actor, **safe, **_session(actor, safe), "event": _escape(event), "level": level}
        text = self._form(None, level, self._add_time(None, level, entry))
        priority = journal.priority(level) if self._is_journal else ""
        return f"{priority}{text}\n"  # type: ignore[str-bytes-safe]

    def _dropped_notice(self, lines: int) -> str:
        return self._line("supervisor", "warning", "log lines dropped, nobody read them", {"lines": lines})


def make_log(form: LogFormat, level: str, stream: TextIO | None = None) -> NodeLog:
    """Return the function that writes log lines of at least `level` as `console` or `json`."""
    return NodeLog(form, level, stream)


def _line_writer(out: TextIO, notice: Callable[[int], str]) -> LineWriter | None:
    descriptor = _descriptor(out)
    return None if descriptor is None else LineWriter(descriptor, out.encoding or "utf-8", notice)


def _is_journal(out: TextIO) -> bool:
    descriptor = _descriptor(out)
    return descriptor is not None and journal.is_journal(descriptor)


def _descriptor(out: TextIO) -> int | None:
    try:
        return out.fileno()
    except (OSError, AttributeError):  # io.UnsupportedOperation is an OSError
        return None


def _session(actor: str, fields: Mapping[str, LogField]) -> dict[str, LogField]:
    """Return the field with the id of the session that a line is about, by whose actor it names.

    What a session says is about itself, whatever it says.
    """
    for name in (actor, fields.get("from"), fields.get("to")):
        if isinstance(name, str) and is_session_actor(name):
            return {"session": session_of_actor(name)}
    return {}


_RESERVED_KEYS = {"event", "level", "timestamp", "actor", "exception", "exc_info", "stack", "stack_info"}


def _safe_key(key: str) -> str:
    """Return a key of plain letters that is none of the line's own."""
    key = re.sub(r"[^a-z0-9_]", "_", key[:32])
    return f"{key}_" if key in _RESERVED_KEYS or not key else key


def _escape(value: LogField) -> LogField:
    """Escape what could forge a line or control a terminal: fields may quote a peer."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no such number
    if not isinstance(value, str) or value.isprintable():
        return value
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)
