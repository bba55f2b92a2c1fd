"""What people read in columns, on standard output: tables and fields, as wide as the terminal; sizes, spans.

How they stand there is text_layout.py's.
"""

import os
from collections.abc import Sequence

from .output import shown, terminal_columns, write_line
from .text_layout import Field, Row, field_lines, record_lines, table_lines, wrapped

_BOLD, _RESET = "\x1b[1m", "\x1b[0m"


def print_table(header: Row, rows: Sequence[Row], *, right: Sequence[str] = ()) -> None:
    """Print rows under a header, or as records where they are wider than the terminal.

    Columns named in `right` are aligned to the right.
    """
    rows = [[shown(cell) for cell in row] for row in rows]
    columns = terminal_columns()
    lines = table_lines(header, rows, right, columns)
    if lines and columns is not None and os.environ.get("TERM", "dumb") != "dumb":
        lines[0] = f"{_BOLD}{lines[0]}{_RESET}"
    for line in lines or record_lines(header, rows, columns or 0):
        write_line(line)


def print_fields(fields: Sequence[Field]) -> None:
    """Print labels and their values."""
    safe = [(label, [shown(value) for value in values]) for label, values in fields]
    for line in field_lines(safe, terminal_columns()):
        write_line(line)


def print_text(text: str, hanging: str = "") -> None:
    """Print a paragraph; all of its lines but the first begin with `hanging`."""
    for line in wrapped(shown(text), terminal_columns(), hanging):
        write_line(line)


def size_text(count: int) -> str:
    """Return a number of bytes for people."""
    return f"{count / 2**20:.1f} MiB"


def span_text(seconds: float) -> str:
    """Return a time span for people."""
    rounded = int(seconds)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if rounded >= length:
            return f"{rounded / length:.1f} {unit}"
    return f"{rounded} s"
