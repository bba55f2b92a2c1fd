"""A network that carries no UDP: whole nodes find out, dial TCP first, and try again on another network."""

import subprocess
import sys
from pathlib import Path

import pytest
import trio

from spacedrive_node.actors.swarm.dial.history import SILENT_PEERS
from spacedrive_node.tests.harness.faults.cable_network import Host, open_network
from spacedrive_node.tests.harness.node_commands import UpCommand, sdnode_up
from spacedrive_node.tests.harness.silent_udp import counts, silent_udp_peers

WORDS = "-".join(["abandon"] * 11 + ["about"])
NOT_FOUND = 3
WAIT_FOR_LINE = """
import sys, time, urllib.request
url, line = sys.argv[1:]
ends = time.monotonic() + 20
while line not in urllib.request.urlopen(url).read().decode().splitlines():
    assert time.monotonic() < ends, line
    time.sleep(0.1)
"""
pytestmark = pytest.mark.timeout(180)


def calls(node: UpCommand, hint: str) -> None:
    """Enter a code with a hint: the peer is reached, and shows no code."""
    node.run("join", f"spacedrive:pair?v=2&w={WORDS}&{hint}", "--timeout", "2", code=NOT_FOUND)


def wait_until_reported(here: Host, node: UpCommand, is_blocked: bool) -> None:
    """Wait until /metrics, which answers only in the namespace of the node, says it."""
    line = f"spacedrive_node_udp_blocked {float(is_blocked)}"
    url = f"http://{node.ready['metrics']}/metrics"
    subprocess.run([*here.command, sys.executable, "-c", WAIT_FOR_LINE, url, line], check=True)


async def test_udp_is_dialled_last_on_this_network_and_first_on_the_next(short_path: Path) -> None:
    """By a real swarm in its sandbox, which is told of no change: it looks when it dials."""
    async with open_network() as network:
        if not network.enter:
            pytest.skip("needs the right to make network namespaces")
        here, there = await network.host(), await network.host()
        ip = there.announce.split("/")[2]

        async def move() -> None:
            await trio.run_process([*here.command, "ip", "address", "add", "10.78.0.1/24", "dev", "eth0"])

        def run(here: Host) -> None:
            with (
                silent_udp_peers(ip, SILENT_PEERS + 2, there.command) as (hints, peers),
                sdnode_up(
                    short_path,
                    "anna",
                    "--no-same-host",
                    "--metrics-listen",
                    "127.0.0.1:0",
                    command=here.command,
                    listen=None,
                ) as node,
            ):
                seen = []
                wait_until_reported(here, node, False)
                for number, hint in enumerate(hints):
                    if number == SILENT_PEERS:
                        wait_until_reported(here, node, True)
                    if number == SILENT_PEERS + 1:
                        trio.from_thread.run(move)
                        wait_until_reported(here, node, False)
                    calls(node, hint)
                    datagrams, connections = counts(peers)[number]
                    assert connections == 1
                    seen.append(datagrams > 0)
                assert seen == [*[True] * SILENT_PEERS, False, True]

        await trio.to_thread.run_sync(run, here)
