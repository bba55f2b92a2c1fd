"""How a code stands on a terminal: the words in a frame, and a QR code where it fits with what is around it.

Pure: an event and a size in, lines out. Rows of words are read across, so that a copy of the frame can be
pasted into `sdnode join`. A QR code brings colours of its own, black on white, because a camera does not find
it in the colours of a light terminal. Never writes.
"""

from itertools import chain
from typing import NamedTuple

from .pairing_events import Event
from .views import columns_that_fit, word_rows

_BLACK_ON_WHITE = "\x1b[38;5;16;48;5;231m"
"""Of the 256 fixed colours: those below 16 are the terminal's own, and may be anything."""
_BOLD = "\x1b[1m"
_RESET = "\x1b[0m"
_BLOCKS = " ▀▄█"
"""By the two modules that a character shows: 1 for a dark one above, 2 for a dark one below."""
_BORDERS = (2, 1)
_FRAME_COLUMNS = 6
_LIVE_COLUMNS = 44
"""Of the line with the stage and the time, which is drawn below all this; on fewer it takes two rows."""
_GAP = "  "


class _Qr(NamedTuple):
    lines: list[str]
    columns: int


def code_lines(event: Event, width: int, height: int, *, plain: bool) -> list[str]:
    """Return the lines that show a code on a terminal of so many columns and rows.

    `plain`: it shows ASCII only, or no colours; then there is no QR code. Otherwise there is one if a size
    and an arrangement fits: above the words, beside them, or below them with the words scrolled away.
    """
    framed = _framed(word_rows(event["words"], columns_that_fit(width - _FRAME_COLUMNS)), width, plain)
    if not plain:
        column = word_rows(event["words"], 1)
        room = height - (1 if width >= _LIVE_COLUMNS else 2)
        choices = [_qr_choices(payload) for payload in _payloads(event)]
        for choice in choices:
            for qr in choice:
                head = "Scan this with the other device, or enter the words below."
                lines = [head, *qr.lines, *framed]
                if qr.columns <= width and len(lines) + _wrapped_rows(head, width) <= room:
                    return lines
            for qr in choice:
                head = "Scan this with the other device, or enter the words beside it."
                beside = qr.columns + len(_GAP) + max(map(len, column)) <= width
                if beside and len(qr.lines) + 1 + _wrapped_rows(head, width) <= room:
                    return [head, *_side_by_side(qr.lines, column)]
        for qr in chain(*choices):
            head = "Scan this with the other device, or enter the words above."
            if qr.columns <= width and len(qr.lines) + 1 + _wrapped_rows(head, width) <= room:
                return [*framed, head, *qr.lines]
    return ["Enter these words on the other device:", *framed]


def _payloads(event: Event) -> list[str]:
    """Return what a QR code may hold: all that helps to find this device, or the words, which suffice."""
    words_only = "spacedrive:pair?v=2&w=" + "-".join(event["words"].split())
    return [payload for payload in (event["qr"], words_only) if payload]


def _qr_choices(payload: str) -> list[_Qr]:
    """Return a QR code in half blocks, with a wider and with a narrower margin."""
    import segno

    code = segno.make(payload, error="l", micro=False)
    made = []
    for border in _BORDERS:
        rows = [[bool(dark) for dark in row] for row in code.matrix_iter(border=border)]
        if len(rows) % 2:
            rows.append([False] * len(rows[0]))
        lines = [
            _BLACK_ON_WHITE
            + "".join(_BLOCKS[above + 2 * below] for above, below in zip(*pair, strict=True))
            + _RESET
            for pair in zip(rows[::2], rows[1::2], strict=True)
        ]
        made.append(_Qr(lines, len(rows[0])))
    return made


def _side_by_side(left: list[str], right: list[str]) -> list[str]:
    padded = right + [""] * (len(left) - len(right))
    return [f"{one}{_GAP}{_BOLD}{two}{_RESET}" if two else one for one, two in zip(left, padded, strict=True)]


def _framed(rows: list[str], width: int, plain: bool) -> list[str]:
    inner = max(map(len, rows))
    if inner + _FRAME_COLUMNS > width:
        return rows  # a frame would be torn apart
    if plain:
        edge = "+" + "-" * (inner + 4) + "+"
        return [edge, *(f"|  {row:<{inner}}  |" for row in rows), edge]
    line = "─" * (inner + 4)
    return [f"╭{line}╮", *(f"│  {_BOLD}{row:<{inner}}{_RESET}  │" for row in rows), f"╰{line}╯"]


def _wrapped_rows(text: str, width: int) -> int:
    """Return how many rows more than one a text takes."""
    return (len(text) - 1) // max(1, width)
