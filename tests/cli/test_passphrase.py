"""Where `sdnode up` gets the passphrase: a real pseudo-terminal, a descriptor, a file; what it refuses."""

import fcntl
import os
import signal
import subprocess
import sys

import pytest

from spacedrive_node.cli.errors import CommandError
from spacedrive_node.cli.passphrase import (
    PassphraseSource,
    choose_source,
    open_passphrase,
)
from spacedrive_node.config.paths import readable_by_others
from spacedrive_node.tests.harness.fake_node import DEADLINE

PHRASE = "correct horse"
UP = ("up", "--metrics-listen", "off", "--listen", "/ip4/127.0.0.1/tcp/0", "--no-same-host", "--no-mdns")


@pytest.fixture
def up(folder):
    """The command line of a node in a folder of its own."""
    return (*UP, "--data-dir", str(folder / "data"), "--control", str(folder / "n.sock"))


@pytest.fixture
def sealed(folder):
    """Say whether the identity is sealed."""
    return lambda: b"\xa7version\x02" in (folder / "data" / "identity.key").read_bytes()[:60]


def stop(shell):
    """Ctrl-C, and see that it ends well."""
    shell.type("\x03")
    assert shell.end()[0] == 0


def test_a_new_identity_is_asked_for_twice_and_a_sealed_one_once(up, terminal, sealed):
    """Nothing that is typed is shown; what it means is said before a new passphrase is chosen."""
    shell = terminal(*up, "--ask-passphrase")
    assert "whoever forgets it" in shell.expect("New passphrase: ")
    shell.type(f"{PHRASE}\n")
    seen = shell.expect("The same again: ")
    shell.type(f"{PHRASE}\n")
    seen += shell.expect("is ready")
    assert "horse" not in seen
    assert sealed()
    stop(shell)
    shell = terminal(*up, "--ask-passphrase")
    assert "New" not in shell.expect("Passphrase: ")
    shell.type(f"{PHRASE}\n")
    assert "again" not in shell.expect("is ready")
    stop(shell)


def test_an_open_identity_is_asked_for_twice(up, terminal, sealed):
    """It exists and needs no passphrase yet: this is where a slip of the finger would lose it."""
    shell = terminal(*up)
    shell.expect("is ready")
    stop(shell)
    assert not sealed()
    shell = terminal(*up, "--ask-passphrase")
    for question, answer in (("New passphrase: ", PHRASE), ("The same again: ", "correct house")):
        shell.expect(question)
        shell.type(f"{answer}\n")
    code, shown = shell.end()
    assert code == 2
    assert "two different passphrases; nothing was changed" in shown
    assert not sealed()
    shell = terminal(*up, "--ask-passphrase")
    for question in ("New passphrase: ", "The same again: "):
        shell.expect(question)
        shell.type(f"{PHRASE}\n")
    shell.expect("is ready")
    stop(shell)
    assert sealed()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("\n", "the passphrase is empty"),
        ("\x04", "the passphrase is empty"),
        ("x" * 1100 + "\n", "longer than 1024 bytes"),
        ("a\tb\n", "control characters"),
    ],
)
def test_what_is_no_passphrase_at_the_prompt(up, terminal, folder, typed, said):
    """Empty, the end of the input, too long, control characters: exit 2, and nothing is made."""
    shell = terminal(*up, "--ask-passphrase")
    shell.expect("New passphrase: ")
    shell.type(typed)
    code, shown = shell.end()
    assert code == 2
    assert said in shown
    assert not (folder / "data").exists()


def test_ctrl_c_at_the_prompt(up, terminal, folder):
    """Exit 130, nothing is made."""
    shell = terminal(*up, "--ask-passphrase")
    shell.expect("New passphrase: ")
    shell.type("\x03")
    assert shell.end()[0] == 130
    assert not (folder / "data").exists()


@pytest.mark.parametrize("end", ["\x03", "\x1c", signal.SIGTERM, signal.SIGHUP])
def test_what_ends_the_prompt_leaves_the_echo_on(up, terminal, folder, end):
    """Ctrl-C, Ctrl-\\, SIGTERM and SIGHUP: exit 130, nothing is made, and the shell shows what is typed."""
    shell = terminal(
        *up,
        "--ask-passphrase",
        shell='set -m; sh -c \'echo "pid $$."; exec "$@"\' sh "$@"; echo "code $?"; stty -a',
    )
    shell.expect("pid ")
    pid = int(shell.expect("."))
    shell.expect("New passphrase: ")
    if isinstance(end, str):
        shell.type(end)
    else:
        shell.wait_until_asleep(pid)
        os.kill(pid, end)
    shell.expect("code 130")
    _, shown = shell.end()
    assert " echo " in shown
    assert not (folder / "data").exists()


def test_ctrl_z_at_the_prompt(up, terminal):
    """The shell shows what is typed; in the foreground again the passphrase is asked for, and not shown."""
    shell = terminal(
        *up,
        "--ask-passphrase",
        shell='set -m; "$@"; stty -a; echo "the shell has it"; read line; fg >/dev/null; echo "ended $?"',
    )
    for number, question in enumerate(("New passphrase: ", "The same again: ")):
        shell.expect(question)
        if number == 0:
            shell.type("not this one\x1a")
            assert " echo " in shell.expect("the shell has it")
            shell.type("\n")
            shell.expect(question)
        shell.type(f"{PHRASE}\n")
    assert "horse" not in shell.expect("is ready")
    shell.type("\x03")
    shell.expect("ended 0")
    assert "horse" not in shell.raw
    assert "not this" not in shell.raw


def test_a_terminal_is_no_descriptor_for_a_passphrase(up, terminal):
    """It would show what is typed."""
    code, shown = terminal(*up, "--passphrase-fd", "0").end()
    assert code == 2
    assert "--ask-passphrase" in shown


def refused(up, environment, *flags, **options):
    """Run to the end; return the one line that was said."""
    done = subprocess.run(
        [sys.executable, "-m", "spacedrive_node", *up, *flags],
        env=environment,
        capture_output=True,
        timeout=DEADLINE,
        start_new_session=True,
        **options,
    )
    assert done.returncode == 2
    assert done.stdout == b""
    return done.stderr.decode()


def test_sources_that_give_nothing(up, environment, folder):
    """No terminal, no such descriptor, a missing or empty file: each says so, and nothing is made."""
    (folder / "empty").touch(0o600)
    for flags, said in (
        (["--ask-passphrase"], "needs a terminal"),
        (["--passphrase-fd", "77"], "--passphrase-fd 77 cannot be read: Bad file descriptor"),
        (["--passphrase-fd", "99999999999"], "no such descriptor"),
        (["--passphrase-fd", "1"], "give 0, or a descriptor from 3 on"),
        (["--passphrase-fd", "0"], "the passphrase is empty"),
        (["--passphrase-fd", "0", "--lifeline"], "--lifeline needs standard input"),
        (["--passphrase-file", str(folder / "none")], "cannot be read: No such file"),
        (["--passphrase-file", str(folder)], "cannot be read: Is a directory"),
        (["--passphrase-file", str(folder / "empty")], "the passphrase is empty"),
        (["--ask-passphrase", "--passphrase-fd", "0"], "give one of"),
    ):
        message = refused(up, environment, *flags, stdin=subprocess.DEVNULL)
        assert said in message
        assert len(message.splitlines()) == 1
    assert not (folder / "data").exists()


def test_a_flag_counts_before_a_configured_file():
    """--ask-passphrase and --passphrase-fd take the place of what a variable or the file names."""
    assert choose_source(None, "configured", None, ask=False) == PassphraseSource(file="configured")
    assert choose_source("flag", "flag", None, ask=False) == PassphraseSource(file="flag")
    assert choose_source(None, "configured", 5, ask=False) == PassphraseSource(descriptor=5)
    assert choose_source(None, "configured", None, ask=True) == PassphraseSource(ask=True)
    assert choose_source(None, None, None, ask=False) == PassphraseSource()
    for flag, descriptor, ask in (("f", 5, False), ("f", None, True), (None, 5, True)):
        with pytest.raises(CommandError):
            choose_source(flag, flag, descriptor, ask=ask)


def given(content):
    """What arrives of a passphrase that comes through a pipe."""
    low, writable = os.pipe()
    os.write(writable, content)
    os.close(writable)
    readable = fcntl.fcntl(low, fcntl.F_DUPFD, 500)  # a number that nothing else takes meanwhile
    os.close(low)
    with open_passphrase(PassphraseSource(descriptor=readable), lambda: False) as fd:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(readable)
        with pytest.raises(OSError, match="not permitted"):
            os.pwrite(fd, b"x", 0)
        assert not os.get_inheritable(fd)
        first = os.pread(fd, 2000, 0)
        assert first == os.pread(fd, 2000, 0)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    return first


def test_a_descriptor_is_read_to_its_end_and_closed():
    """One line's end is not part of it; what is kept can be read again, and nobody can change it."""
    assert given(b"correct horse\n") == b"correct horse"
    assert given(b"correct horse\r\n") == b"correct horse"
    assert given(b" correct horse ") == b" correct horse "
    assert given(b"x" * 1024 + b"\r\n") == b"x" * 1024
    for wrong in (b"a\nb\n", b"a\n\n", b"a\0", b"", b"\n", b"x" * 1025, b"x" * 1024 + b"\r\nmore"):
        with pytest.raises(CommandError):
            given(wrong)


def test_a_file_that_everyone_can_read_is_told_from_a_private_one(folder):
    """The node warns of it; a pipe, and a file that is not there, are nobody's to read."""
    path = folder / "phrase"
    assert not readable_by_others(str(path))
    path.touch()
    for mode, told in ((0o600, False), (0o440, False), (0o604, True), (0o644, True)):
        path.chmod(mode)
        assert readable_by_others(str(path)) == told
    os.mkfifo(folder / "pipe", 0o644)
    assert not readable_by_others(str(folder / "pipe"))
