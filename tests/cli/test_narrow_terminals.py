"""On 60 and on 40 columns nothing is torn: no line is wider than the terminal, and no value is cut in two."""

import pytest
from msgspec.structs import replace
from rich.cells import cell_len

from spacedrive_node.cli import demo_view, run
from spacedrive_node.cli.text_layout import cell_width, field_lines, record_lines, table_lines, wrapped
from spacedrive_node.messages.to_gateway import ActorInfo
from spacedrive_node.protocol.peer_ids import peer_id_text
from spacedrive_node.tests.harness.fake_node import PEER, code_state, confirm_state, device, paired_state

LONG_NAME = "Anna's rather long laptop name, the one in the living room"
WIDE_NAME = "客厅的一台很长名字的电脑🙂 Wohnzimmer-Rechner"
NARROW = pytest.mark.parametrize("columns", [60, 40])


@pytest.fixture
def many(node):
    """A node with names that are long, wide or both, and a session, whose name is the longest of an actor."""
    node.devices = [device(1, "phone"), device(2, LONG_NAME), device(3, WIDE_NAME)]
    kinds = ("supervisor", "zygote", "vault", "session-0123456789abcdef")
    node.actors = tuple(
        ActorInfo(kind, 1234567, "running", 12, 5000.0, 3, 25 * 2**20, 2**27) for kind in kinds
    )
    return node


def lines_of(shell):
    code, shown = shell.end()
    assert code == 0, shown
    return [line.rstrip() for line in shown.replace("\r", "").splitlines()]


def check(lines, columns, *values):
    """Nothing is wider than the terminal but a single word that is, and every value stands in one line."""
    for line in lines:
        assert cell_len(line) <= columns or len(line.split()) == 1, line
    for value in values:
        assert any(value in line for line in lines), (value, lines)


@NARROW
def test_devices(many, terminal, columns):
    lines = lines_of(terminal("devices", "--control", str(many.path), columns=columns))
    check(lines, columns, "0123456789abcdef", "010000000000", "phone", "paired", "Wohnzimmer-Rechner")
    assert " ".join(" ".join(lines).split()).count("linux") == 3
    assert LONG_NAME in " ".join(" ".join(lines).split())


@NARROW
def test_the_prompt_for_words(node, terminal, columns):
    """What it says, and what it says of a word that is none."""
    shell = terminal("join", "--control", str(node.path), columns=columns)
    lines = shell.expect("words: ").splitlines()
    shell.type("abandon abandon abandn\n")
    shell.expect("abandn\r\n")
    lines += shell.expect("words 3 to 12: ").splitlines()
    check([line.rstrip() for line in lines], columns)
    assert "go on after them" in " ".join(" ".join(lines).split())


def test_devices_in_a_usual_terminal_are_a_table(many, terminal):
    """A name that is too long takes two lines in its column."""
    many.devices = many.devices[:2]
    lines = lines_of(terminal("devices", "--control", str(many.path), columns=90))
    check(lines, 90, "living room")
    assert lines[0].split() == ["id", "name", "system", "state", "paired", "fingerprint"]
    assert len({line.index("0123456789abcdef") for line in lines if "0123456789abcdef" in line}) == 1


@NARROW
def test_actors(many, terminal, columns):
    lines = lines_of(terminal("actors", "--control", str(many.path), columns=columns))
    check(lines, columns, "session-0123456789abcdef", "1234567", "running", "128.0 MiB", "restarts 12")
    assert len({line.index("private") for line in lines if "private" in line}) == 1  # one below the other


@NARROW
def test_status(many, terminal, columns):
    """A peer id is wider than 40 columns: it stays one word, so that it is copied as one."""
    lines = lines_of(terminal("status", "--control", str(many.path), columns=columns))
    check(lines, columns, peer_id_text(PEER), "/ip4/127.0.0.1/tcp/7520", "/ip6/::/tcp/7520")
    assert "since it is not known that this one is." in " ".join(lines)


def test_pipes_get_every_line_whole(many, capfd):
    """Where nobody looks at a terminal there is a table, however wide."""
    assert run(["devices", "--control", str(many.path)]) == 0
    out = capfd.readouterr().out.splitlines()
    assert len(out) == 4
    assert LONG_NAME in out[2]
    assert "\x1b" not in "".join(out)


@NARROW
def test_a_pairing(node, terminal, columns):
    """The device, the question and the result, with a name that is long."""
    shown = replace(paired_state(), device=replace(paired_state().device, name=LONG_NAME))
    node.after_decision = [shown]
    node.push_states(replace(confirm_state(), device=shown.device))
    shell = terminal("pair", "--control", str(node.path), columns=columns)
    before = shell.expect("[y/N] ")
    shell.type("y\n")
    lines = [line for line in before.replace("\r", "\n").splitlines() if line.strip()]
    check(lines, columns, "living room?")
    check([line for line in lines_of(shell) if line.strip()], columns, "0123456789abcdef")


@NARROW
def test_a_pairing_on_a_dumb_terminal(node, terminal, columns):
    """It has no line that is drawn anew: what that would say is said once."""
    node.push_states(code_state())
    shell = terminal("pair", "--control", str(node.path), columns=columns, shell='TERM=dumb exec "$@"')
    lines = shell.expect("waiting for the other device").splitlines()
    check(lines, columns, "abandon")
    assert "they work once, within 5 min" in lines
    node.push_states(paired_state())
    check(lines_of(shell), columns, "0123456789abcdef")


@NARROW
def test_an_error_is_broken_between_words(terminal, columns, folder):
    shell = terminal("status", "--control", str(folder / "none"), columns=columns)
    code, shown = shell.end()
    assert code == 7
    check(shown.replace("\r", "").splitlines(), columns, "/none", "--control")


@NARROW
def test_the_line_of_a_node_that_is_ready(columns):
    from spacedrive_node.cli.up import ready_text
    from spacedrive_node.node_status import Ready

    ready = Ready(WIDE_NAME, PEER, ("/ip4/127.0.0.1/tcp/7520", "/ip6/::1/udp/7520/quic-v1"), "c", None)
    lines = ready_text(ready, "/srv/anna/data", columns, public=True).splitlines()
    check(lines, columns, peer_id_text(PEER), "/ip6/::1/udp/7520/quic-v1", "/srv/anna/data")


@NARROW
@pytest.mark.parametrize("command", ["", "up"])
def test_help(terminal, columns, command):
    lines = lines_of(terminal(*command.split(), "--help", columns=columns))
    check(lines, columns, "Usage: sdnode", "--help")


@NARROW
def test_the_tree_of_the_demo(many, monkeypatch, capsys, columns):
    """With as many of its columns as fit, and no line that is blank in the middle."""
    monkeypatch.setattr(demo_view, "terminal_columns", lambda: columns)
    view = demo_view.TextDemoView()
    view.process_tree("desktop", many.actors)
    view.stored_devices("desktop", many.devices)
    lines = capsys.readouterr().out.splitlines()
    check(lines, columns, "session-0123456789abcdef", "128.0 MiB", "in the middle of the")
    assert [number for number, line in enumerate(lines) if not line] == [0]
    assert len([line for line in lines if "session" in line or "vault" in line]) == 2


def test_widths_agree_with_those_of_rich():
    """An independent implementation says the same of what names are made of."""
    for text in ("plain", "电脑", "🙂", "ｆｕｌｌ", "Jürgens", "e\u0301", "한국어", "עברית"):
        assert cell_width(text) == cell_len(text), text


def test_text_that_fits_is_left_as_it_is():
    assert wrapped("  a   b", 7) == ["  a   b"]
    assert wrapped("  a   b", None) == ["  a   b"]
    assert wrapped("  aa bb cc", 7) == ["  aa bb", "    cc"]
    assert wrapped("a" * 9 + " bb", 4) == ["a" * 9, "  bb"]
    assert wrapped("电脑电脑", 5) == ["电脑", "  电", "  脑"]
    assert wrapped("", 4) == [""]


def test_a_table_or_records_hold_every_cell():
    """Whatever the width, every word of every cell is shown, and nothing else than these and the header."""
    header, rows = ("a", "bb"), [("one two three four", "x"), ("", "yy zz")]
    words = sorted(["a", "bb", "one", "two", "three", "four", "x", "yy", "zz"])
    for columns in (None, *range(1, 30)):
        lines = table_lines(header, rows, ("bb",), columns) or record_lines(header, rows, columns or 0)
        shown = " ".join(lines).split()
        assert sorted({*shown} - {"a", "bb"}) == [word for word in words if word not in ("a", "bb")]
        fits = [line for line in lines if len(line) > (columns or 99)]
        assert all(len(line.split()) == 1 for line in fits), lines
    assert field_lines([("l", ["v w"])], 3) == ["l", "  v", "    w"]
