"""What stands on the terminal with a code: it fits, it can be scanned, and it can be pasted into `join`."""

import random
import re

import pytest
import segno

from spacedrive_node.cli.code_layout import code_lines
from spacedrive_node.cli.views import columns_that_fit, plain_lines, word_rows
from spacedrive_node.messages.control_protocol import JoinPairing
from spacedrive_node.protocol.code import parse_code, words_of
from spacedrive_node.protocol.words import WORDS as WORD_LIST
from spacedrive_node.tests.harness.fake_node import QR, WORDS, code_state, paired_state

EVENT = {"event": "code", "words": WORDS, "qr": QR, "expires_in": 300.0}
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
COLOURED = re.compile(r"\x1b\[38;5;16;48;5;231m([ ▀▄█]+)\x1b\[0m")
SIZES = [(60, 100), (50, 80), (40, 80), (24, 80), (25, 80), (24, 100), (30, 47), (24, 45), (12, 80), (5, 20)]


def matrix(lines: list[str]) -> list[list[bool]]:
    """Return the modules that are drawn, without the margin."""
    rows = []
    for drawn in (found[1] for line in lines if (found := COLOURED.search(line))):
        rows.append([char in "▀█" for char in drawn])
        rows.append([char in "▄█" for char in drawn])
    dark = [(y, x) for y, row in enumerate(rows) for x, is_dark in enumerate(row) if is_dark]
    top, left = min(y for y, _ in dark), min(x for _, x in dark)
    bottom, right = max(y for y, _ in dark), max(x for _, x in dark)
    assert top >= 1
    assert left >= 1
    return [row[left : right + 1] for row in rows[top : bottom + 1]]


def expected_matrices() -> list[list[list[bool]]]:
    payloads = (QR, "spacedrive:pair?v=2&w=" + WORDS.replace(" ", "-"))
    codes = [segno.make(payload, error="l", micro=False) for payload in payloads]
    return [[[bool(module) for module in row] for row in code.matrix] for code in codes]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_qr_code_is_whole_or_not_there(height, width):
    """On a terminal of any size no row of it scrolls away, and what is drawn is the code, black on white."""
    lines = code_lines(EVENT, width, height, plain=False)
    bare = [ESCAPE.sub("", line) for line in lines]
    assert all(len(line) <= width for line, raw in zip(bare, lines, strict=True) if COLOURED.search(raw))
    drawn = [index for index, line in enumerate(lines) if COLOURED.search(line)]
    if not drawn:
        assert height < 24 or width < 45
        return
    rows = sum(-(-max(1, len(line)) // width) for line in bare[drawn[0] - 1 :])
    assert rows + 1 <= height  # the line with the stage stands below
    assert matrix(lines) in expected_matrices()


def test_the_common_sizes_show_a_qr_code():
    """Also the smallest of terminals, 80 × 24, has room for one and for the words at the same time."""
    for words in (WORDS, " ".join(["abstract"] * 12)):
        lines = code_lines({**EVENT, "words": words}, 80, 24, plain=False)
        assert len(lines) <= 23
        assert sum(bool(COLOURED.search(line)) for line in lines) >= 20
        assert re.findall(r"\d+ ([a-z]+)", "\n".join(lines[1:])) == words.split()


@pytest.mark.parametrize("width", range(17, 60))
def test_numbers_and_words_stay_together(width):
    """Down to 17 columns every word stands behind its number, in a line that is not wrapped."""
    longest = " ".join(["abstract"] * 12)
    lines = code_lines({**EVENT, "words": longest, "qr": None}, width, 60, plain=True)
    assert all(len(line) <= width for line in lines[1:])
    found = re.findall(r"(\d+) ([a-z]+)", "\n".join(lines[1:]))
    assert found == [(str(number), "abstract") for number in range(1, 13)]


@pytest.mark.parametrize("width", [100, 47, 40, 33, 32, 20, 12])
@pytest.mark.parametrize("plain", [True, False])
def test_what_is_shown_can_be_pasted(width, plain):
    """Of any width, with frame and colours: the lines behind the heading are the same code."""
    rng = random.Random(1)
    for _ in range(200):
        entropy = rng.randbytes(16)
        event = {**EVENT, "words": " ".join(words_of(entropy)), "qr": None}
        lines = code_lines(event, width, 10, plain=plain)[1:]
        assert parse_code(ESCAPE.sub("", "\n".join(lines)))[0] == entropy
        rows = [line for line in plain_lines(event) if re.match(r" +\d", line)]
        assert parse_code("\n".join(rows))[0] == entropy


def test_rows_are_read_across():
    """1, 2, 3 in the first row."""
    assert re.findall(r"\d+", word_rows(WORDS)[0]) == ["1", "2", "3"]
    assert [columns_that_fit(width) for width in (100, 39, 38, 25, 24, 1)] == [3, 3, 2, 2, 1, 1]
    assert max(map(len, WORD_LIST)) == 8


@pytest.mark.parametrize(("rows", "columns"), [(24, 80), (60, 100), (30, 40)])
def test_pair_on_a_terminal_of_that_size_and_its_panel_pasted_into_join(node, terminal, rows, columns):
    """What `pair` shows on a real terminal is copied into the prompt of `join` as it stands."""
    node.push_states(code_state())
    shell = terminal("pair", "--control", str(node.path), rows=rows, columns=columns)
    panel = shell.expect("waiting for the other device")
    if rows == 60:
        panel = panel[panel.index("╭") :]
    shell.type("\x03")
    shell.end()
    if rows != 60:  # words beside a QR code, or in two columns
        panel = re.sub("[▀▄█]", "", panel.partition("\n")[2] if rows == 24 else panel[panel.index("╭") :])
    node.push_states(paired_state("joiner"))
    joining = terminal("join", "--yes", "--control", str(node.path))
    joining.expect("words: ")
    joining.type(panel.replace("\r\n", "\n") + "\n")
    assert parse_code(node.wait_for(JoinPairing).code)[0] == parse_code(WORDS)[0]
    assert joining.end()[0] == 0
