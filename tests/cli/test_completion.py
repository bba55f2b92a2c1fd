"""Completions in real shells: commands, values, directories, and the devices of a running node."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from spacedrive_node.cli import run
from spacedrive_node.tests.harness.fake_node import device
from spacedrive_node.tests.harness.typing_shell import TypingShell

START = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
}
LOAD = {
    "bash": "PS1='ready> '; bind 'set enable-bracketed-paste off'; source {script}\n",
    "zsh": "PS1='ready> '; autoload -Uz compinit; compinit -u -D; source {script}\n",
}


def needs(shell):
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


@pytest.fixture
def known(node, environment):
    """A node with two devices, and the environment of a shell in which `sdnode` is on the path."""
    node.devices = [device(0x1A, "phone"), device(0x2B, "tablet, the large one")]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return environment | {"PATH": path, "SDNODE_CONTROL": str(node.path), "PYTHONUTF8": "1"}


def script_of(shell, folder):
    done = subprocess.run(
        [sys.executable, "-m", "spacedrive_node", "completion", shell], capture_output=True, check=True
    )
    script = folder / f"completion.{shell}"
    script.write_bytes(done.stdout)
    return script


@pytest.fixture
def typing(known, folder):
    """Start a shell that has loaded its script."""
    started = []

    def start(shell):
        started.append(TypingShell(START[shell], known | {"HOME": str(folder), "ZDOTDIR": str(folder)}))
        started[-1].type(LOAD[shell].format(script=script_of(shell, folder)))
        started[-1].expect("source")
        started[-1].expect("ready> ")
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.mark.parametrize("shell", [pytest.param(name, marks=needs(name)) for name in START])
def test_a_device_is_completed_by_its_id_or_its_name(typing, shell):
    """With the id alone in the line: what the command takes."""
    line = typing(shell)
    line.type("sdnode devices rename 1a\t")
    line.expect("1a0000000000")
    line.type("\x15sdnode devices forget tab\t")
    line.expect("2b0000000000")
    line.type("\x15sdnode up --dht-mode ser\t")
    line.expect("server")


@needs("bash")
def test_bash_shows_the_name_of_each_device(typing):
    """Of several, with two Tabs; nothing of a name comes into the line."""
    line = typing("bash")
    line.type("sdnode devices rename \t\t")
    listed = line.expect("(tablet, the large one)")
    assert "1a0000000000  (phone)" in listed
    line.type("2\t")
    line.expect("2b0000000000")
    assert "(" not in line.shown


@needs("bash")
def test_directories_and_files(typing, folder):
    """Of directories only, where one is wanted."""
    (folder / "some-directory").mkdir()
    (folder / "some-file").touch()
    line = typing("bash")
    line.type(f"cd {folder}\n")
    line.expect("ready> ")
    line.type("sdnode status --data-dir som\t")
    line.expect("e-directory")
    line.type("\x15sdnode doctor --log some-f\t")
    line.expect("ile")


@needs("fish")
def test_fish(known, folder):
    """It asks for completions without a terminal."""
    script = script_of("fish", folder)

    def offered(line):
        done = subprocess.run(
            ["fish", "--no-config", "-c", f"source {script}; complete -C '{line}'"],
            capture_output=True, text=True, env=known | {"HOME": str(folder)}, timeout=60, check=True,
        )  # fmt: skip
        assert done.stderr == ""
        return done.stdout.splitlines()

    assert "1a0000000000\tphone" in offered("sdnode devices rename ")
    assert "devices" in [one.split("\t")[0] for one in offered("sdnode d")]


def offered(env, *words, shell="bash"):
    """Return what is offered for the last of these words, as the scripts ask for it."""
    asked = {
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
        "_SDNODE_COMPLETE": f"{shell}_complete",
    }
    done = subprocess.run(
        [sys.executable, "-m", "spacedrive_node"], capture_output=True, text=True, env=env | asked, timeout=60
    )
    assert done.stderr == ""
    return [line.split("\t")[1] for line in done.stdout.splitlines() if line.startswith("plain")]


def test_without_an_answer_nothing_is_offered_and_nothing_is_said(known, node):
    """No node, one that does not answer, or a line that is wrong: the shell's line stays as it is."""
    assert offered(known, "sdnode", "devices", "rename", "") == ["1a0000000000", "2b0000000000"]
    assert offered(known, "sdnode", "devices", "--control", "/none", "rename", "") == []
    node.silent = {"ListDevices"}
    assert offered(known, "sdnode", "devices", "rename", "") == []


def test_every_command_is_offered(known):
    assert offered(known, "sdnode", "help", "dev") == ["devices"]
    assert offered(known, "sdnode", "help", "devices", "re") == ["rename"]
    assert offered(known, "sdnode", "completion", "f") == ["fish"]
    assert "--passphrase-file" in offered(known, "sdnode", "up", "--pass")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_words_that_are_typed_are_no_arguments(capfd, shell):
    """They are handed over in the environment; the arguments of env(1) could be read by all users."""
    assert run(["completion", shell]) == 0
    script = capfd.readouterr().out
    assert "COMP_WORDS=" in script
    assert "env " not in script


def test_another_shell(capfd):
    assert run(["completion", "tcsh"]) == 2
    assert "one of bash, zsh, fish is needed" in capfd.readouterr().err
