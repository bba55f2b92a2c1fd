"""The node's log: one writer for the lines of all its processes, on standard error.

Actors send their lines to the supervisor as typed frames (messages/child_protocol.py); only here do they
get a time and a form. Owns the escaping: a line may quote a peer. A line never holds a secret, because its
fields are short scalars that the sender has chosen one by one.
"""

import importlib
import logging
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Literal, TextIO

from .messages.types import LogField


def _import_structlog_without_rich() -> ModuleType:
    """Import structlog without rich, which takes 3 MiB and would only print tracebacks: a log has none."""
    was_imported = "rich" in sys.modules
    if not was_imported:
        sys.modules["rich"] = None  # type: ignore[assignment] # its import fails
    try:
        return importlib.import_module("structlog")
    finally:
        if not was_imported:
            del sys.modules["rich"]


if TYPE_CHECKING:
    import structlog
else:
    structlog = _import_structlog_without_rich()

LogFormat = Literal["console", "json"]
WriteLog = Callable[[str, str, str, Mapping[str, LogField]], None]
"""Writes one line; called with (actor, level, event, fields)."""

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def make_log(form: LogFormat, level: str, stream: TextIO | None = None) -> WriteLog:
    """Return the function that writes log lines of at least `level` as `console` or `json`."""
    out = sys.stderr if stream is None else stream
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=out.isatty(), pad_event_to=30)
    )
    logger = structlog.wrap_logger(
        structlog.PrintLogger(out),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
    )
    reserved = {"event", "level", "timestamp", "actor", "exception", "exc_info", "stack", "stack_info"}

    def escape(value: LogField) -> LogField:
        """Escape what could forge a line or control a terminal: fields may quote a peer."""
        if not isinstance(value, str) or value.isprintable():
            return value
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)

    def write(actor: str, level: str, event: str, fields: Mapping[str, LogField]) -> None:
        safe = {
            f"{key}_" if key in reserved else str(escape(key)): escape(value) for key, value in fields.items()
        }
        try:
            logger.log(_LEVELS[level], escape(event), actor=actor, **safe)
        except (OSError, ValueError):
            # The reader of standard error is gone, or the disk is full: the node goes on without its log.
            return

    return write
