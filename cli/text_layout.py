"""How text stands on a terminal of so many columns: lines broken between words, fields, tables.

Pure: text and a width in, lines out; without a width (None: a pipe, a file) every line is as long as it is.
A word is never broken, so that a peer id or an address is copied in one piece: one that is longer than a line
is left to the terminal. Only wide characters, which are written without spaces, may be parted anywhere.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import pairwise, zip_longest

Row = Sequence[str]
Field = tuple[str, Sequence[str]]
"""A label and what stands beside it, a line for each."""

_GAP = "  "
_HANGING = "  "
_MIN_COLUMNS = 12
"""Of a cell that is broken into several lines."""


def cell_width(text: str) -> int:
    """Return how many columns a text takes: two for a wide character, none for one that joins another."""
    return sum(map(_char_width, text))


def _char_width(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def wrapped(text: str, columns: int | None, hanging: str | None = None) -> list[str]:
    """Return the lines of a text; all but the first begin with `hanging`, by default two more than the first.

    What fits is left as it is, with all of its spaces.
    """
    if columns is None or cell_width(text) <= columns:
        return [text]
    indent = text[: len(text) - len(text.lstrip())]
    hanging = indent + _HANGING if hanging is None else hanging
    lines, line, gap = [], indent, ""
    for piece in _pieces(text, columns - cell_width(hanging)):
        if piece.isspace():
            gap = piece
        elif line.strip() and cell_width(line + gap + piece) > columns:
            lines.append(line)
            line, gap = hanging + piece, ""
        else:
            line, gap = line + gap + piece, ""
    return [*lines, line]


def _pieces(text: str, room: int) -> Iterable[str]:
    """Split a text into words and what is between them; a word that is too long, at its wide characters."""
    for piece in re.findall(r"\s+|\S+", text.strip()):
        if cell_width(piece) > room:
            yield from _parted(piece)
        else:
            yield piece


def _parted(word: str) -> list[str]:
    """Part a word before and after each of its wide characters."""
    places = [0]
    for place in range(1, len(word)):
        before, after = _char_width(word[place - 1]), _char_width(word[place])
        joined = after == 0 or word[place - 1] == "\u200d"
        if 2 in (before, after) and not joined:
            places.append(place)
    return [word[begin:end] for begin, end in pairwise([*places, len(word)])]


def field_lines(fields: Sequence[Field], columns: int | None) -> list[str]:
    """Return labels and their values in two columns; below its label what does not fit beside it."""
    indent = max(len(label) for label, _ in fields) + len(_GAP)
    lines: list[str] = []
    for label, values in fields:
        if columns is None or all(_longest_word(value) + indent <= columns for value in values):
            for place, value in enumerate(values):
                beside = f"{label if place == 0 else '':<{indent}}{value}"
                lines += wrapped(beside, columns, " " * indent)
        else:
            lines.append(label)
            for value in values:
                lines += wrapped(_HANGING + value, columns)
    return lines


def _longest_word(text: str) -> int:
    return max((cell_width(part) for word in text.split() for part in _parted(word)), default=0)


def table_lines(header: Row, rows: Sequence[Row], right: Sequence[str], columns: int | None) -> list[str]:
    """Return a header and rows under it, with the columns named in `right` aligned to the right.

    Where that is too wide, the cells of the widest column take several lines. An empty list if that does not
    do either: then `record_lines` shows the same.
    """
    widths = [max(cell_width(row[place]) for row in (header, *rows)) for place in range(len(header))]
    too_wide = sum(widths) + len(_GAP) * (len(widths) - 1) - (columns or 0)
    if columns is not None and too_wide > 0:
        widest = widths.index(max(widths))
        widths[widest] -= too_wide
        needed = max(_longest_word(row[widest]) for row in (header, *rows))
        if widths[widest] < max(needed, _MIN_COLUMNS):
            return []
    lines: list[str] = []
    for row in (header, *rows):
        cells = [wrapped(cell, width, "") for cell, width in zip(row, widths, strict=True)]
        for parts in zip_longest(*cells, fillvalue=""):
            aligned = [
                _padded(part, width, name in right)
                for name, part, width in zip(header, parts, widths, strict=True)
            ]
            lines.append(_GAP.join(aligned).rstrip())
    return lines


def record_lines(header: Row, rows: Sequence[Row], columns: int) -> list[str]:
    """Return each row as a record: its first cell, and below it the others, each behind its name.

    Every record has its fields in the same places, as many in a line as fit in each of them.
    """
    indent = max(len(row[0]) - len(row[0].lstrip()) for row in rows) + len(_HANGING)
    widths = [
        max(cell_width(f"{header[place]} {row[place]}") for row in rows) for place in range(1, len(header))
    ]
    groups = _groups(widths, columns - indent)
    lines: list[str] = []
    for row in rows:
        lines += wrapped(row[0], columns)
        for group in groups:
            cells = [_padded(f"{header[at + 1]} {row[at + 1]}", widths[at], False) for at in group]
            lines += wrapped(" " * indent + _GAP.join(cells).rstrip(), columns)
    return lines


def _groups(widths: Sequence[int], columns: int) -> list[list[int]]:
    """Divide fields of these widths into lines, in their order: as many in each as fit, one at least."""
    groups: list[list[int]] = [[]]
    left = columns
    for place, width in enumerate(widths):
        if groups[-1] and width > left:
            groups.append([])
            left = columns
        groups[-1].append(place)
        left -= width + len(_GAP)
    return groups


def _padded(cell: str, width: int, right: bool) -> str:
    padding = " " * (width - cell_width(cell))
    return padding + cell if right else cell + padding
