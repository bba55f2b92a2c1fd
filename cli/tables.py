"""What people read in columns: tables (with rich on a terminal, plain elsewhere), sizes and time spans."""

import sys
from collections.abc import Sequence

from .output import printable, write_line

Row = Sequence[str]


def print_table(header: Row, rows: Sequence[Row], *, right: Sequence[str] = ()) -> None:
    """Print rows under a header; columns named in `right` are aligned to the right."""
    rows = [[printable(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_rich(header, rows, right)
        return
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    for row in (header, *rows):
        cells = [
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(header, row, widths, strict=True)
        ]
        write_line("  ".join(cells).rstrip())


def _print_rich(header: Row, rows: Sequence[Row], right: Sequence[str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in header:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        # As Text: what another device calls itself must not be read as markup.
        table.add_row(*(Text(cell) for cell in row))
    Console(highlight=False).print(table)


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
