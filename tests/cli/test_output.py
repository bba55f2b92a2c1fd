"""Whatever the output takes: names that the locale cannot print, full disks, terminals that are stopped."""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys

import pytest
from msgspec.structs import replace

from spacedrive_node.messages.control_protocol import CancelPairing, Decide
from spacedrive_node.tests.harness.fake_node import (
    DEADLINE,
    WORDS,
    code_state,
    confirm_state,
    device,
    ended_state,
    paired_state,
)

NAME = "Jürgens 電話 🖥"
ENCODINGS = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "ascii:strict": {"PYTHONIOENCODING": "ascii:strict"},
    "latin 1": {"PYTHONIOENCODING": "latin-1"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "POSIX": {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""},
}


def named(state):
    """Return a state whose device has a name of many scripts."""
    return replace(state, device=replace(state.device, name=NAME))


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_name_that_the_locale_cannot_print(node, sdnode, encoding, form):
    """It is escaped, as JSON does it for scripts, and the pairing goes on."""
    node.after_decision = [named(paired_state())]
    node.push_states(code_state())
    command = sdnode("pair", "--yes", *form, "--control", str(node.path), env=ENCODINGS[encoding])
    command.line()
    node.push_states(named(confirm_state()))
    code, out, err = command.end()
    assert (code, err) == (0, "")
    if form:
        events = [json.loads(line) for line in out.splitlines()]
        assert [event["device"]["name"] for event in events if event["event"] in ("confirm", "paired")] == [
            NAME,
            NAME,
        ]
    else:
        assert "\\U0001f5a5" in out


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_on_a_terminal_that_the_locale_cannot_print(node, terminal, encoding):
    """The words stand in ASCII, there is no QR code, and the question has an escaped name."""
    node.after_decision = [named(paired_state())]
    node.push_states(code_state())
    env = {"PYTHONUTF8": "0", **ENCODINGS[encoding]}
    shell = terminal("pair", "--control", str(node.path), env=env)
    shell.expect("waiting for the other device")
    assert "█" not in shell.raw
    assert "\\u25" not in shell.raw
    node.push_states(named(confirm_state()))
    assert "\\U0001f5a5" in shell.expect("[y/N] ")
    shell.type("y\n")
    assert node.wait_for(Decide).accept is True
    code, shown = shell.end()
    assert code == 0
    assert "0123456789abcdef" in shown


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_lists_that_the_locale_cannot_print(node, sdnode, terminal, encoding):
    """`devices` lists them all, as a table, as JSON and on a terminal; what is typed in may be any bytes."""
    node.devices = [device(1, NAME)]
    env = {"PYTHONUTF8": "0", **ENCODINGS[encoding]}
    control = ("--control", str(node.path))
    code, out, _ = sdnode("devices", *control, env=env).end()
    assert code == 0
    assert "\\U0001f5a5" in out
    code, out, _ = sdnode("devices", "--json", *control, env=env).end()
    assert json.loads(out)["name"] == NAME
    shell = terminal("devices", *control, env=env)
    code, shown = shell.end()
    assert code == 0
    assert "\\U0001f5a5" in shown.replace("\r\n", "").replace(" ", "")
    command = sdnode("join", "-", *control, env=env)
    command.process.stdin.buffer.write("ähnlich\n".encode())
    command.close_input()
    assert command.end()[0] == 2


@contextlib.contextmanager
def bad_output(kind):
    """Give a descriptor that takes nothing: a full disk, a pipe without a reader."""
    reader, writer = os.pipe()
    os.close(reader)
    descriptor = os.open("/dev/full", os.O_WRONLY) if kind == "full" else os.dup(writer)
    os.close(writer)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("kind", ["full", "no reader", "closed"])
@pytest.mark.parametrize("form", [[], ["--json"]])
@pytest.mark.parametrize("errors", ["to a pipe", "there too"])
def test_an_output_that_takes_nothing_does_not_end_a_pairing(node, environment, kind, form, errors):
    """It goes on to its end and its exit code; the question can still be answered. Said once, if possible."""
    node.after_decision = [paired_state("joiner")]
    node.push_states(confirm_state("joiner"))
    arguments = [
        sys.executable,
        "-m",
        "spacedrive_node",
        "join",
        *form,
        "--control",
        str(node.path),
        *WORDS.split(),
    ]
    if kind == "closed":
        arguments = [
            "sh",
            "-c",
            'exec "$@" >&-' + (" 2>&-" if errors == "there too" else ""),
            "sh",
            *arguments,
        ]
    with bad_output(kind) as output:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output if errors == "there too" else subprocess.PIPE,
            env=environment,
            start_new_session=True,
            text=True,
        )
        _, err = process.communicate("y\n", timeout=DEADLINE)
    assert process.returncode == 0, err
    assert node.wait_for(Decide).accept is True
    if errors == "to a pipe":
        assert "Traceback" not in err
        assert "Exception" not in err
        assert err.count("the output cannot be written") == (1 if kind == "full" else 0)
        assert ("Trust" in err) is not form  # asked where somebody may see it


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_reader_that_has_seen_the_code_may_go_away(node, environment, form):
    """`pair --json | head -1`: somebody has the words, so the pairing goes on."""
    node.after_decision = [paired_state()]
    node.push_states(code_state())
    process = subprocess.Popen(
        [sys.executable, "-m", "spacedrive_node", "pair", "--yes", *form, "--control", str(node.path)],
        stdout=subprocess.PIPE,
        env=environment,
    )
    seen = b""
    while b"buyer" not in seen:
        seen += process.stdout.readline()
    process.stdout.close()
    node.push_states(confirm_state())
    assert node.wait_for(Decide).accept is True
    assert process.wait(DEADLINE) == 0
    assert "CancelPairing" not in node.unread_requests()


def run_by_shell(environment, redirections, *arguments, stdout=subprocess.PIPE):
    """Run a command to its end with what a shell does to its standard streams."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirections}', "sh", sys.executable, "-m", "spacedrive_node", *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=DEADLINE,
        env=environment,
        start_new_session=True,
        text=True,
    )


@pytest.mark.parametrize("output", [">/dev/full", "1</dev/null", ""])
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_code_that_cannot_be_shown_is_cancelled(node, environment, output, form):
    """Nobody can enter it, which is said."""
    node.push_states(code_state())
    with bad_output("no reader") as pipe:
        done = run_by_shell(environment, output, "pair", *form, "--control", str(node.path), stdout=pipe)
    assert done.returncode == 1
    assert done.stderr.count("the words cannot be shown") == done.stderr.count("\n") == 1, done.stderr
    node.wait_for(CancelPairing)


@pytest.mark.parametrize("form", [[], ["--json"]])
@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_no_code_is_made_where_nobody_can_see_it(node, environment, form, closed):
    """With standard output closed `pair` ends at once, and says why if it can."""
    done = run_by_shell(environment, closed, "pair", *form, "--control", str(node.path))
    assert done.returncode == 1
    assert ("standard output is closed" in done.stderr) is ("2>&-" not in closed)
    assert "StartPairing" not in node.unread_requests()


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["status"], 0), (["devices", "--json"], 0), (["join"], 2), (["join", "-"], 2), (["nope"], 2),
     (["up", "--check-config"], 0)],
)  # fmt: skip
def test_a_standard_stream_that_is_closed(node, environment, closed, arguments, code):
    """It is as good as /dev/null: the same exit code, no traceback."""
    where = ["--control", str(node.path)] if arguments != ["nope"] else []
    done = run_by_shell(environment, f"</dev/null {closed}", *arguments, *where)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "internal" not in done.stderr


@pytest.mark.parametrize("wrong", ["1</dev/null", ">/dev/full"])
@pytest.mark.parametrize("arguments", [["status"], ["devices", "--json"], ["version"], []])
def test_an_output_that_takes_nothing_is_no_internal_error(node, environment, wrong, arguments):
    """Said in one sentence."""
    where = ["--control", str(node.path)] if arguments and arguments != ["version"] else []
    node.devices = [device(1, "Anna")]
    done = run_by_shell(environment, wrong, *arguments, *where)
    assert done.returncode == 1
    assert done.stderr.count("cannot be written") == done.stderr.count("\n") == 1, done.stderr


@pytest.mark.parametrize("wrong", ["0>/dev/null", "<&-"])
def test_an_input_that_gives_nothing(node, environment, wrong):
    """It is no answer, so the device is declined; and no words."""
    node.after_decision = [ended_state("rejected", "joiner", "deciding")]
    where = ("--control", str(node.path))
    done = run_by_shell(environment, wrong, "join", "-", *where)
    assert done.returncode == 2, done.stderr
    node.push_states(confirm_state("joiner"))
    done = run_by_shell(environment, wrong, "join", *where, *WORDS.split())
    assert node.wait_for(Decide).accept is False
    assert done.returncode == 5
    assert "nobody is there to answer" in done.stderr


def test_what_others_say_does_not_command_the_terminal(node, sdnode, terminal):
    """Names, systems and messages with control characters or changes of direction are shown escaped."""
    evil = "\x1b[2J\x9b1m\nsdnode: paired\u202e"
    shown = confirm_state("joiner")
    states = (
        replace(shown, device=replace(shown.device, name="x" + evil, os=evil)),
        ended_state("rejected", "joiner", "deciding", message=evil),
    )
    node.push_states(*states)
    code, out, err = sdnode("join", "--yes", "--control", str(node.path), *WORDS.split()).end()
    assert code == 5
    assert not set("\x1b\x9b\u202e") & set(out + err)
    assert "\nsdnode: paired" not in out + err
    shell = terminal("join", "--yes", "--control", str(node.path), *WORDS.split())
    shell.end()
    assert "\x1b[2J" not in shell.raw
    assert not set("\x9b\u202e") & set(shell.raw)


@pytest.mark.parametrize("at", ["code", "question"])
def test_ctrl_z_leaves_the_terminal_in_order(node, terminal, at):
    """The cursor is shown before it stops; in the foreground again what was shown is drawn anew."""
    node.after_decision = [paired_state()]
    node.push_states(code_state())
    shell = terminal(
        "pair", "--control", str(node.path),
        shell='set -m; "$@"; echo "the shell has it"; read line; fg >/dev/null; echo "ended $?"',
    )  # fmt: skip
    shell.expect("left")
    if at == "question":
        node.push_states(confirm_state())
        shell.expect("[y/N] ")
    shell.type("\x1a")
    shell.expect("the shell has it")
    assert shell.raw.rindex("\x1b[?25h") > shell.raw.rindex("\x1b[?25l")
    shell.type("\n")
    if at == "code":
        shell.expect("left")
        assert "\x1b[?25l" in shell.raw.partition("the shell has it")[2]
        node.push_states(confirm_state())
    shell.expect("[y/N] ")
    shell.type("y\n")
    assert node.wait_for(Decide).accept is True
    shell.expect("ended 0")


def test_quit_is_an_interrupt_and_not_a_core_dump(node, terminal):
    """Ctrl-\\ cancels as Ctrl-C does, and leaves the cursor."""
    node.push_states(code_state())
    shell = terminal("pair", "--control", str(node.path))
    shell.expect("left")
    shell.type("\x1c")
    node.wait_for(CancelPairing)
    assert shell.end()[0] == 130
    assert shell.raw.rindex("\x1b[?25h") > shell.raw.rindex("\x1b[?25l")


@pytest.mark.parametrize("command", ["pair", "join"])
def test_a_command_that_holds_words_dumps_no_core(node, sdnode, command):
    """Its limit is 0, and the kernel would not let it: it is not dumpable."""
    node.push_states(code_state())
    words = WORDS.split() if command == "join" else []
    running = sdnode(command, "--json", "--control", str(node.path), *words)
    running.line()
    with open(f"/proc/{running.process.pid}/limits") as file:
        (core,) = [line.split() for line in file if line.startswith("Max core file size")]
    assert core[4:6] == ["0", "0"]
    running.process.send_signal(signal.SIGTERM)
    running.end()
    pid = os.fork()
    if pid == 0:
        from spacedrive_node.cli.core_dumps import forbid_core_dumps

        forbid_core_dumps()
        os._exit(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))  # PR_GET_DUMPABLE
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
