"""What a whole node says of its reachability when its swarm was killed, and when its network was away."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from spacedrive_node.tests.harness.nat_lab import NatLab
from spacedrive_node.tests.harness.nat_nodes import knowing, lab_node, three_servers, until
from spacedrive_node.tests.harness.node_commands import DEADLINE, UpCommand


def test_a_killed_swarm_knows_how_it_was_reached_and_after_an_interruption_it_does_not(
    short_path: Path, lab: NatLab
) -> None:
    """The one server that is left cannot prove it alone."""
    with three_servers(short_path, lab) as servers:
        host = lab.public()
        with lab_node(short_path, "new", host, "--no-port-mapping", *knowing(servers)) as up:
            found = until(up, reachability="public", dht_mode="server")
            for server in servers[1:]:
                server.process.kill()
                server.process.wait(DEADLINE)
            former = pid_of(up, "swarm")
            os.kill(former, signal.SIGKILL)
            while pid_of(up, "swarm") in (former, 0):
                pass
            again = until_ready(up)
            for name in ("reachability", "addresses"):
                assert again[name] == found[name]
            assert again["dht"]["mode"] == "server"
            host.unplug()
            host.plug_in()
            until(up, reachability="unknown", dht_mode="client")


def until_ready(up: UpCommand) -> dict[str, Any]:
    """Return the status once the command says that the node is ready; it fails before."""
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            (found,) = up.run("status")
        except AssertionError:
            assert time.monotonic() < deadline, up.log()
        else:
            return found


def pid_of(up: UpCommand, actor: str) -> int:
    (row,) = [row for row in up.run("actors") if row["actor"] == actor]
    return int(str(row["pid"] or 0))
