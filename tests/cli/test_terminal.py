"""The prompts and the live view on a real pseudo-terminal."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest
from fake_node import PATIENCE, WORDS, code_state, confirm_state, ended_state, paired_state, state

from spacedrive_node.messages.control import CancelPairing, Decide, JoinPairing

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]")


class Terminal:
    """A command on a pseudo-terminal of 60 rows; what it shows is kept without escape sequences."""

    def __init__(self, arguments, env):
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 60, 100, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "spacedrive_node", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=env | {"PYTHONUTF8": "1", "TERM": "xterm"},
            preexec_fn=self._take_terminal,
        )
        os.close(slave)
        self.shown = ""

    @staticmethod
    def _take_terminal():
        os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # whatever the tests were started with
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def expect(self, text):
        """Read until `text` is shown; everything up to it is then left behind."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.shown:
            if not self._read(deadline):
                raise AssertionError(f"{text!r} was not shown, but:\n{self.shown}")
        before, _, self.shown = self.shown.partition(text)
        return before

    def end(self):
        """Exit code and the rest of what was shown."""
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline):
            pass
        return self.process.wait(PATIENCE), self.shown

    def type(self, text):
        """Press keys."""
        os.write(self._master, text.encode())

    def interrupt_prompt(self):
        """Press Ctrl-C, and again as a person would: in the instant at which its line editor starts to wait,
        Python misses a signal until the next key.
        """
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self.type("\x03")
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.process.wait(0.2)
        raise AssertionError("Ctrl-C did not end the prompt")

    def close(self):
        """End it if need be."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)

    def _read(self, deadline):
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the other end is closed
            return False
        self.shown += _ESCAPES.sub("", data.decode(errors="replace"))
        return bool(data)


@pytest.fixture
def terminal(environment):
    """Start a command on a terminal."""
    started = []

    def start(*arguments):
        started.append(Terminal(arguments, environment))
        return started[-1]

    yield start
    for one in started:
        one.close()


def test_pair_from_words_to_fingerprint(node, terminal):
    """A person sees QR code and words, is asked about the device by name, and sees the fingerprint."""
    node.after_decision = [paired_state()]
    node.push(code_state())
    shell = terminal("pair", "--control", str(node.path))
    assert "█" in shell.expect("1 abandon")
    shell.expect("waiting for the other device")
    shell.expect("left")
    node.push(state("proving"), confirm_state())
    assert "phone" in shell.expect("Trust phone? [y/N] ")
    shell.type("y\n")
    assert node.wait_for(Decide).accept is True
    code, shown = shell.end()
    assert code == 0
    assert "0123456789abcdef" in shown


def test_what_was_typed_before_the_question_is_no_answer(node, terminal):
    """Keys pressed before the device was shown cannot have meant it."""
    node.after_decision = [ended_state("rejected", stage="deciding")]
    node.push(code_state())
    shell = terminal("pair", "--control", str(node.path))
    shell.expect("left")
    shell.type("y\n")
    shell.expect("left")
    node.push(confirm_state())
    shell.expect("[y/N] ")
    shell.type("n\n")
    assert node.wait_for(Decide).accept is False
    assert shell.end()[0] == 5


def test_a_question_that_is_moot_is_taken_back(node, terminal):
    """When the other device goes away while the question stands, the command ends without an answer."""
    node.push(confirm_state())
    shell = terminal("pair", "--control", str(node.path))
    shell.expect("[y/N] ")
    node.push(ended_state("lost_contact", stage="deciding", message="it went away"))
    code, shown = shell.end()
    assert code == 6
    assert "it went away" in shown


def test_join_prompts_and_corrects_before_anything_is_sent(node, terminal):
    """Typos get a suggestion, good words are kept, Tab completes, and only then the node is asked."""
    words = WORDS.split()
    node.push(paired_state("joiner"))
    shell = terminal("join", "--yes", "--control", str(node.path))
    shell.expect("words: ")
    shell.type(" ".join([*words[:2], "liarr", *words[3:]]) + "\n")
    shell.expect("liar")
    shell.expect("words 3 to 12: ")
    assert node.asked() == []
    shell.type("lia\t" + " ".join(words[3:6]) + "\n")
    shell.expect("words 7 to 12: ")
    shell.type(" ".join(words[6:]) + "\n")
    assert node.wait_for(JoinPairing).code.split() == words
    assert shell.end()[0] == 0


def test_all_twelve_words_may_be_typed_again_after_a_mistake(node, terminal):
    """The prompt asks for the rest; somebody who begins again from the first word is understood too."""
    words = WORDS.split()
    node.push(paired_state("joiner"))
    shell = terminal("join", "--yes", "--control", str(node.path))
    shell.expect("words: ")
    shell.type(" ".join([words[0], "xyzzy", *words[2:]]) + "\n")
    shell.expect("words 2 to 12: ")
    shell.type(WORDS + "\n")
    assert node.wait_for(JoinPairing).code.split() == words
    assert shell.end()[0] == 0


def test_three_mistakes_end_the_prompt(node, terminal):
    """After the third wrong input it ends with exit 2, and nothing was sent."""
    shell = terminal("join", "--control", str(node.path))
    for _ in range(3):
        shell.expect("words: ")
        shell.type("xyzzy\n")
    code, _ = shell.end()
    assert code == 2
    assert node.asked() == []


def test_ctrl_c_at_the_prompt_and_during_the_pairing(node, terminal):
    """Ctrl-C ends the prompt at once; during the pairing it cancels on the node. Both exit 130."""
    shell = terminal("join", "--control", str(node.path))
    shell.expect("words: ")
    assert shell.interrupt_prompt() == 130
    assert node.asked() == []
    node.push(code_state())
    shell = terminal("pair", "--control", str(node.path))
    shell.expect("left")
    shell.type("\x03")
    node.wait_for(CancelPairing)
    assert shell.end()[0] == 130


def test_names_of_others_are_not_markup(node, terminal):
    """What a stranger's device calls itself is shown as it is, never read as style."""
    from msgspec.structs import replace

    shown = replace(confirm_state(), device=replace(confirm_state().device, name="[red]x[/red]"))
    node.push(shown)
    shell = terminal("pair", "--control", str(node.path))
    shell.expect("[red]x[/red]")
    shell.expect("[y/N] ")
