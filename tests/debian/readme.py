"""README.md followed to the letter, in a Debian that has what it says to install: `make test-readme`.

Its commands are taken out of its blocks of sh; here is only who types them where, and what has to be seen.
"""

import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from spacedrive_node.tests.harness.debian_machine import ROOT, DebianMachine, debian_machine
from spacedrive_node.tests.harness.secret_sweep import collector
from spacedrive_node.tests.harness.typing_shell import TypingShell

USER, HOME, CLONE = "carol", "/var/tmp/carol", "spacedrive-node"
OF_PIP = ("PIP_", "SSL_CERT_FILE")
"""What the environment says about reaching the registry goes along, and the files that it names."""


def blocks_of(heading: str) -> list[str]:
    """Return the blocks of sh of a section of README.md."""
    _before, _heading, rest = (ROOT / "README.md").read_text().partition(f"\n## {heading}\n")
    section = rest.partition("\n## ")[0]
    return [block.strip() for block in re.findall(r"^```sh\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)]


def given_for_pip() -> tuple[dict[str, str], str]:
    """Return the variables for pip as the machine has them, and the script that shows it their files."""
    variables = {name: value for name, value in os.environ.items() if name.startswith(OF_PIP)}
    script = ""
    for name, value in variables.items():
        if value.startswith("/") and Path(value).exists():
            variables[name] = there = f"/run/given/{name}"
            make = "mkdir -p" if Path(value).is_dir() else "touch"
            script += f"mkdir -p run/given; {make} .{there}; mount --bind -o ro '{value}' .{there}\n"
    return variables, script


def clone_of_this_tree(bundle: Path) -> None:
    """Write what is committed here where the machine can clone it."""
    bundle.parent.mkdir(parents=True)
    bundle.parent.chmod(0o1777)
    subprocess.run(["git", "-C", ROOT, "bundle", "create", "--quiet", bundle, "HEAD"], check=True)


@contextmanager
def terminal(machine: DebianMachine, each: str) -> Iterator[TypingShell]:
    """A terminal of the user in the clone, in which `each` has been typed."""
    begin = f"stty rows 50 cols 100; cd {HOME}/{CLONE}; exec bash --norc"
    shell = TypingShell(
        machine.argv(["env", "TERM=xterm", "script", "-qc", begin, "/dev/null"], USER), os.environ
    )
    try:
        shell.type(f"{each}\r")
        yield shell
    finally:
        shell.close()


def set_up(machine: DebianMachine, variables: Mapping[str, str]) -> None:
    """Do what the section Install says, and see that its demo pairs two nodes."""
    packages, demo = blocks_of("Install")
    machine.run("apt-get", "update")
    machine.run("sh", "-ec", packages.replace("sudo ", ""), stdin="y\n")
    machine.add_user(USER)
    machine.run("sh", "-ec", f"cd; git clone --quiet /var/tmp/source.bundle {CLONE}", user=USER)
    # On standard input, because an address of a registry may have a password in it.
    settings = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
    shown = machine.run("sh", "-ec", f'eval "$(cat)"; cd ~/{CLONE}; {demo}', user=USER, stdin=settings)
    assert len(re.findall(r"paired, direct over \w+, fingerprint [0-9a-f]{16}", shown)) == 2
    machine.run("sh", "-c", "! command -v gcc && ! command -v cc")


def node_up(shell: TypingShell, command: str) -> None:
    shell.type(f"{command}\r")
    shell.expect(" is ready")


def listed(shell: TypingShell, command: str) -> str:
    """Type a command that ends by itself, and return what it has shown."""
    shell.type(f"{command}\r")
    shell.expect(command)
    return shell.expect("$ ")


def words_on(shell: TypingShell) -> str:
    """Read the twelve words off a terminal, as a person would."""
    shown = shell.expect("waiting for the other device")
    words = dict(re.findall(r"\b(\d+) ([a-z]+)\b", shown.partition("or enter the words below")[2]))
    code = " ".join(words[str(number)] for number in range(1, 13))
    collector.add_code(code)
    return code


def pair_by_hand(pair: str, join: str, shows: TypingShell, enters: TypingShell) -> None:
    """Carry the words from one terminal into the other, and answer both questions."""
    shows.type(f"{pair}\r")
    enters.type(f"{join}\r")
    enters.expect("words: ")
    enters.type(f"{words_on(shows)}\r")
    shows.expect("Trust Bruno? [y/N] ")
    enters.expect("Trust Anna? [y/N] ")
    shows.type("y\r")
    enters.type("y\r")
    ends = [re.findall(r"fingerprint\s+([0-9a-f]{16})", one.expect("$ ")) for one in (shows, enters)]
    assert len(ends[0]) == 1
    assert ends[0] == ends[1]


def test_the_first_five_minutes(debian: Path, folder: str) -> None:
    """From nothing to two devices that know each other, also after both nodes have been started again."""
    upper = Path(folder, "upper")
    clone_of_this_tree(upper / "var/tmp/source.bundle")
    variables, more = given_for_pip()
    with debian_machine([debian], upper, network=True, more=more) as machine:
        set_up(machine, variables)
    each, up_anna, up_bruno, pair, join, devices = blocks_of("Five minutes to the first pairing")
    with (
        debian_machine([debian, upper], Path(folder, "pairing")) as machine,
        terminal(machine, each) as anna,
        terminal(machine, each) as bruno,
        terminal(machine, each) as third,
        terminal(machine, each) as fourth,
    ):
        node_up(anna, up_anna)
        node_up(bruno, up_bruno)
        pair_by_hand(pair, join, third, fourth)
        assert "Bruno" in listed(third, devices)
        for device, command in ((anna, up_anna), (bruno, up_bruno)):
            device.type("\x03")
            device.expect("$ ")
            node_up(device, command)
        assert "Bruno" in listed(third, devices)
        assert "Anna" in listed(fourth, devices.replace("anna", "bruno"))
