"""Signals, terminals and pipes that end in the middle: no traceback, and no pairing that nobody sees."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from spacedrive_node.tests.harness.command_runner import (
    DEADLINE,
    SDNODE,
    UNUSED_WORDS,
    FinishedCommand,
    RunningCommand,
    environment,
    run,
)
from spacedrive_node.tests.harness.node_commands import UpCommand, sdnode_up
from spacedrive_node.tests.harness.terminal import Terminal


async def _no_session(node: UpCommand) -> None:
    """Wait until no pairing is under way."""
    with trio.fail_after(DEADLINE):
        while True:
            (status,) = await trio.to_thread.run_sync(node.run, "status")
            if status["sessions"]["active"] == 0:
                return


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_cancels_the_pairing(folder: Path, number: int) -> None:
    """Of both commands, while they wait: exit code 130, told once, and the node has no session left."""
    with sdnode_up(folder, "anna") as a:
        control = str(a.ready["control"])
        showing = RunningCommand(folder, "pair", "--json", "--control", control)
        await showing.event("code")
        joining = RunningCommand(folder, "join", UNUSED_WORDS, "--json", "--control", control)
        await joining.event("stage")
        for command in (showing, joining):
            command.signal(number)
            (await command.end()).expect_failure(130, "cancelled")
        await _no_session(a)


@contextmanager
def signal_action(number: signal.Signals, action: signal.Handlers) -> Iterator[None]:
    """Let what is started meanwhile inherit this action, whatever these tests were started with."""
    before = signal.signal(number, action)
    try:
        yield
    finally:
        signal.signal(number, before)


def test_a_terminal_that_closes_stops_the_node_in_order(folder: Path) -> None:
    """SIGHUP from the kernel: exit code 0, and no runtime files."""
    control = folder / "control"
    flags = [
        "--data-dir",
        str(folder / "anna"),
        "--control",
        str(control),
        "--offline",
        "--metrics-listen",
        "off",
    ]
    terminal = Terminal(["up", *flags, "--listen", "/ip4/127.0.0.1/tcp/0"], environment(folder))
    terminal.expect("is ready")
    assert control.exists()
    assert terminal.hang_up() == 0
    assert not control.exists()


def test_a_node_that_was_started_with_nohup_outlives_its_terminal(folder: Path) -> None:
    """SIGHUP is ignored when whoever started it wanted that."""
    with signal_action(signal.SIGHUP, signal.SIG_IGN), sdnode_up(folder, "anna") as a:
        a.process.send_signal(signal.SIGHUP)
        assert a.run("status")[0]["peer_id"] == a.ready["peer_id"]
        assert a.stop() == 0


@pytest.mark.parametrize("where", ["full", "closed"])
@pytest.mark.parametrize("command", [["status"], ["devices", "--json"], ["pair", "--json"], ["pair"]])
async def test_an_output_that_takes_nothing(folder: Path, where: str, command: list[str]) -> None:
    """A full disk has its message, a pipe whose reader has gone has none; a pairing is cancelled with one."""
    with sdnode_up(folder, "anna") as a:
        if command[0] == "devices":
            command = ["actors", "--json"]  # a list of no devices writes nothing
        reader, writer = os.pipe()
        os.close(reader)
        output = os.open("/dev/full", os.O_WRONLY) if where == "full" else os.dup(writer)
        os.close(writer)
        done = await trio.to_thread.run_sync(
            lambda: subprocess.run(
                [*SDNODE, *command, "--control", str(a.ready["control"])],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.PIPE,
                text=True,
                timeout=DEADLINE,
                env=environment(folder),
            )
        )
        os.close(output)
        assert done.returncode == 1, done.stderr
        said = done.stderr.splitlines()
        if command[0] == "pair":
            reason = "No space left on device" if where == "full" else "Broken pipe"
            assert said == [
                f"sdnode: the words cannot be shown ({reason}), so nobody can enter them: cancelled"
            ]
        elif where == "full":
            assert said == ["sdnode: the output, or a file, cannot be written: No space left on device"]
        else:
            assert said == []
        await _no_session(a)


async def test_names_that_the_locale_cannot_print(folder: Path) -> None:
    """Two devices named in other scripts, one with an emoji of several, pair on terminals that know ASCII."""
    names = ("Büro \U0001f468\u200d\U0001f469\u200d\U0001f467", "電話")
    ascii_only = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    with (
        sdnode_up(folder, "a", "--name", names[0]) as a,
        sdnode_up(folder, "b", "--name", names[1]) as b,
    ):
        showing = RunningCommand(
            folder, "pair", "--json", "--yes", "--control", str(a.ready["control"]), more=ascii_only
        )
        words = (await showing.event("code"))["words"]
        join = ("join", "-", "--yes", "--control", str(b.ready["control"]))
        joining = await trio.to_thread.run_sync(lambda: run(folder, *join, stdin=words, more=ascii_only))
        assert joining.code == 0, joining.err
        assert "paired with B\\xfcro" in joining.out
        done = await showing.end()
        assert done.code == 0
        assert done.events[-1]["device"]["name"] == names[1]


def test_an_input_that_is_closed(folder: Path) -> None:
    """`join -` without an input: no words, exit code 2; a question that nobody can answer: declined."""
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *SDNODE, "join", "-"],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env=environment(folder),
    )
    FinishedCommand(done.returncode, done.stdout, done.stderr).expect_refusal(2)
    run(folder, "join", "-").expect_refusal(2, "No words")


async def test_words_given_as_arguments_are_hidden_from_other_users(folder: Path) -> None:
    """While the command runs, none of them is in what `ps` shows."""
    with sdnode_up(folder, "anna") as a:
        command = RunningCommand(
            folder, "join", *UNUSED_WORDS.split(), "--json", "--control", str(a.ready["control"])
        )
        await command.event("stage")
        shown = await trio.Path(f"/proc/{command.pid}/cmdline").read_bytes()
        assert b"join\0*******\0" in shown
        assert b"abandon" not in shown
        assert b"--control" in shown
        command.signal(signal.SIGINT)
        await command.end()
