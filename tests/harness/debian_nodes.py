"""Nodes on a Debian machine, run as its users run them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from spacedrive_node.tests.harness.debian_machine import DebianMachine
from spacedrive_node.tests.harness.secret_sweep import collector


@contextmanager
def sdnode_up(machine: DebianMachine, user: str, data_dir: str, *flags: str) -> Iterator[dict[str, object]]:
    """Run a node while the block runs. Yields what it says when it is ready."""
    argv = ["sdnode", "up", "--json", "--lifeline", "--name", user, "--data-dir", data_dir, *flags]
    with machine.started(*argv, "--metrics-listen", "off", user=user) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline() or "{}")
        finally:
            process.stdin.close()
            code = process.wait(60)
        assert code == 0


def pair(machine: DebianMachine, first: tuple[str, str], second: tuple[str, str]) -> dict[str, object]:
    """Pair two nodes, each given as user and data directory; return the joiner's last event."""
    user, data_dir = first
    with machine.started("sdnode", "pair", "--json", "--yes", "--data-dir", data_dir, user=user) as showing:
        assert showing.stdout is not None
        words = json.loads(showing.stdout.readline())["words"]
        collector.add_code(words)
        user, data_dir = second
        argv = ["sdnode", "join", "-", "--json", "--yes", "--data-dir", data_dir]
        done = machine.run(*argv, user=user, stdin=f"{words}\n")
        assert showing.wait(60) == 0
    return json.loads(done.splitlines()[-1])


def devices(machine: DebianMachine, user: str, data_dir: str) -> dict[str, str]:
    """Return the state of each device by its name."""
    lines = machine.run("sdnode", "devices", "--json", "--data-dir", data_dir, user=user).splitlines()
    return {one["name"]: one["state"] for one in map(json.loads, lines)}
