"""How people hand over twelve words: pasted lists at the prompt, files and pipes, texts of QR codes."""

import os
import signal

import pytest

from spacedrive_node.cli.views import plain_lines, word_rows
from spacedrive_node.messages.control_protocol import JoinPairing
from spacedrive_node.protocol.code import parse_code
from spacedrive_node.tests.harness.fake_node import QR, WORDS, confirm_state, paired_state

LIST = WORDS.split()
NUMBERED = list(enumerate(LIST, 1))
PASTED = {
    "numbered lines": "\n".join(f"{n}. {word}" for n, word in NUMBERED),
    "numbered with brackets": "\n".join(f"{n}) {word}" for n, word in NUMBERED),
    "numbered with colons": "\n".join(f"{n}: {word}" for n, word in NUMBERED),
    "numbered with tabs": "\n".join(f"{n}.\t{word}" for n, word in NUMBERED),
    "number and tab": "\n".join(f"{n}\t{word}" for n, word in NUMBERED),
    "numbered in one line": " ".join(f"{n}. {word}" for n, word in NUMBERED),
    "two lines of six": " ".join(LIST[:6]) + "\n" + " ".join(LIST[6:]),
    "two numbered lines of six": "\n".join(
        " ".join(f"{n}. {word}" for n, word in part) for part in (NUMBERED[:6], NUMBERED[6:])
    ),
    "dashes": "\n".join(f"- {word}" for word in LIST),
    "bullets": "\n".join(f"  • {word}" for word in LIST),
    "one word a line": "\n".join(LIST),
    "empty lines between": "\n\n".join(f"{n}. {word}" for n, word in NUMBERED),
    "columns read down": "\n".join(
        "   ".join(f"{n:>2} {word}" for n, word in NUMBERED[row::4]) for row in range(4)
    ),
    "tabs between": "\t".join(LIST),
    "panel": "\n".join(["╭──╮", *(f"│  {row}  │" for row in word_rows(WORDS)), "╰──╯"]),
    "Turkish capitals": WORDS.replace("i", "İ").upper(),
    "QR text in several lines": "\n".join(QR[at : at + 40] for at in range(0, len(QR), 40)),
    "markdown": "\n".join(f"1. {word}" for word in LIST),
}


@pytest.mark.parametrize("form", PASTED)
@pytest.mark.parametrize("paste", ["raw", "bracketed"])
def test_pasted_at_the_prompt(node, terminal, form, paste):
    """Counted by words: whatever a list looks like, it is one code, with either manner of pasting."""
    node.push_states(paired_state("joiner"))
    shell = terminal("join", "--yes", "--control", str(node.path))
    shell.expect("words: ")
    text = PASTED[form]
    shell.type((f"\x1b[200~{text}\x1b[201~" if paste == "bracketed" else text) + "\n")
    assert parse_code(node.wait_for(JoinPairing).code)[0] == parse_code(WORDS)[0]
    assert shell.end()[0] == 0


def test_all_that_pair_has_written_is_an_input(node, sdnode):
    """`sdnode pair > file` on one device, `sdnode join - < file` on the other."""
    node.push_states(paired_state("joiner"))
    command = sdnode("join", "-", "--yes", "--json", "--control", str(node.path))
    command.type("\n".join(plain_lines({"event": "code", "words": WORDS, "expires_in": 300.0})) + "\n")
    assert parse_code(node.wait_for(JoinPairing).code)[0] == parse_code(WORDS)[0]
    assert command.end()[0] == 0


@pytest.mark.parametrize("form", PASTED)
def test_from_standard_input(node, sdnode, form):
    """`join -` too, and it does not wait for the end of the input."""
    node.push_states(paired_state("joiner"))
    command = sdnode("join", "-", "--yes", "--json", "--control", str(node.path))
    command.type(PASTED[form] + "\n")
    assert parse_code(node.wait_for(JoinPairing).code)[0] == parse_code(WORDS)[0]
    assert command.end()[0] == 0


def test_twelve_words_that_are_no_code_are_refused_at_once(sdnode, node):
    """Nothing that follows makes them one, so the end of the input is not waited for."""
    command = sdnode("join", "-", "--control", str(node.path))
    command.type("abandon " * 12 + "\n")
    code, _, err = command.end()
    assert code == 2
    assert "do not fit together" in err


def test_after_a_mistake_in_a_list_the_rest_of_it_is_not_taken_for_the_words_that_follow(node, terminal):
    """The words before it are kept; the whole list may be pasted again, or the rest of it typed."""
    wrong = [f"{n}. {'xyzzy' if n == 3 else word}" for n, word in NUMBERED]
    for rest in (PASTED["numbered lines"], " ".join(LIST[2:]), "3. " + PASTED["numbered lines"][13:]):
        node.push_states(paired_state("joiner"))
        shell = terminal("join", "--yes", "--control", str(node.path))
        shell.expect("words: ")
        shell.type("\n".join(wrong) + "\n")
        shell.expect("xyzzy")
        shell.expect("words 3 to 12: ")
        if rest.startswith("3."):
            rest = "\n".join(f"{n}. {word}" for n, word in NUMBERED[2:])
        shell.type(rest + "\n")
        assert parse_code(node.wait_for(JoinPairing).code)[0] == parse_code(WORDS)[0]
        assert shell.end()[0] == 0


@pytest.mark.parametrize(
    "form",
    ["\ufeff{}", "“{}”", '"{}"', "'{}'", "<{}>", "({})", "`{}`", "\u200b{}\u200b", " \ufeff<{}>, ", "„{}“;"],
)
def test_a_qr_text_with_what_stood_around_it(node, capfd, form):
    """A byte-order mark, quotes, brackets: the same words and the same hints."""
    from spacedrive_node.cli import run

    node.push_states(paired_state("joiner"))
    assert run(["join", "--yes", "--control", str(node.path), form.format(QR)]) == 0
    assert parse_code(node.wait_for(JoinPairing).code) == parse_code(QR)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("text", [QR, WORDS])
def test_a_file_of_another_editor(node, folder, environment, encoding, text):
    """With a byte-order mark, also in UTF-16."""
    import subprocess
    import sys

    node.push_states(paired_state("joiner"))
    (folder / "code.txt").write_text(text + "\n", encoding=encoding)
    with (folder / "code.txt").open("rb") as file:
        done = subprocess.run(
            [sys.executable, "-m", "spacedrive_node", "join", "-", "--yes", "--control", str(node.path)],
            stdin=file,
            capture_output=True,
            timeout=60,
            env=environment,
        )
    assert done.returncode == 0, done.stderr
    assert parse_code(node.wait_for(JoinPairing).code) == parse_code(text)


@pytest.mark.parametrize("text", [QR.partition("&")[0], "spacedrive:pair?", "spacedrive:pair", "spacedrive:"])
def test_a_qr_text_that_the_shell_has_cut_at_the_ampersand(node, capfd, text):
    """It says what has happened and what helps."""
    from spacedrive_node.cli import run

    assert run(["join", "--control", str(node.path), text]) == 2
    err = capfd.readouterr().err
    assert "&" in err
    assert "quotes" in err
    assert node.unread_requests() == []


@pytest.mark.parametrize("arguments", [[], ["-"], ["--timeout", "5"]])
def test_that_no_node_runs_is_noticed_before_the_words_are_asked_for(folder, terminal, arguments):
    """Nobody types twelve words for nothing."""
    for more in ([], ["--control", str(folder / "none")], ["--data-dir", str(folder / "none")]):
        shell = terminal("join", *arguments, *more)
        code, shown = shell.end()
        assert code == 7
        assert "words" not in shown
        assert "sdnode up" in shown


def test_a_contradiction_is_noticed_before_the_words_are_asked_for(node, terminal):
    """--yes and --check."""
    shell = terminal("join", "--yes", "--check", "--control", str(node.path))
    code, shown = shell.end()
    assert code == 2
    assert "words:" not in shown


@pytest.mark.parametrize("value", ["nan", "NaN", "-nan", "inf", "-inf", "1e999", "0", "3601"])
def test_a_timeout_is_a_finite_number(node, capfd, value):
    """Exit 2, and nothing is sent."""
    from spacedrive_node.cli import run

    assert run(["join", "--control", str(node.path), f"--timeout={value}", *LIST]) == 2
    assert "a number from 1 to 3600" in capfd.readouterr().err
    assert node.unread_requests() == []


def test_ctrl_z_at_the_words(node, terminal):
    """The shell has its echo and its lines; in the foreground again what was typed stands there."""
    node.after_decision = [paired_state("joiner")]
    node.push_states(confirm_state("joiner"))
    shell = terminal(
        "join", "--control", str(node.path),
        shell='set -m; "$@"; stty -a; echo "the shell has it"; read line; fg >/dev/null; echo "ended $?"',
    )  # fmt: skip
    first, rest = WORDS[:20], WORDS[20:]
    shell.expect("words: ")
    shell.type(first)
    shell.expect(first)
    shell.type("\x1a")
    modes = shell.expect("the shell has it")
    assert " echo " in modes
    assert " icanon " in modes
    shell.type("\n")
    shell.expect(f"words: {first}")
    shell.type(f"{rest}\n")
    shell.expect("[y/N] ")
    shell.type("y\n")
    shell.expect("ended 0")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_what_ends_the_prompt_leaves_the_terminal_in_order(node, terminal, number):
    """Exit code 130, as with Ctrl-C."""
    shell = terminal(
        "join", "--control", str(node.path),
        shell='set -m; sh -c \'echo "pid $$."; exec "$@"\' sh "$@"; echo "code $?"; stty -a',
    )  # fmt: skip
    shell.expect("pid ")
    pid = int(shell.expect("."))
    shell.expect("words: ")
    shell.type("aban")
    shell.expect("aban")
    shell.wait_until_asleep(pid)
    os.kill(pid, number)
    shell.expect("code 130")
    modes = shell.end()[1]
    assert " echo " in modes
    assert " icanon " in modes
