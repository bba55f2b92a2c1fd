"""A program that changes the network of its namespace, and says what the swarm's watch noticed of it.

Reads a list of steps from its input, each a list of lines for `ip -batch`. Writes a line after each step: how
often the watch has called so far, the ranks of the interfaces by netlink, and by the files of the kernel.
"""

import json
import subprocess
import sys
from pathlib import Path

import trio
import trio.testing

from spacedrive_node.actors import netlink
from spacedrive_node.actors.swarm.dial import interfaces, links
from spacedrive_node.actors.swarm.network_watch import SETTLE_S, NetworkWatch

QUIET_S = 4 * SETTLE_S
"""Nothing has changed for so long: all is noticed that is going to be."""


async def main() -> None:
    changes = 0

    async def changed() -> None:
        nonlocal changes
        changes += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(NetworkWatch(changed).run)
        await trio.testing.wait_all_tasks_blocked()
        for step in json.load(sys.stdin):
            batch = "".join(f"{line}\n" for line in step).encode()
            await trio.run_process(["ip", "-batch", "-"], stdin=batch)
            await trio.sleep(QUIET_S)  # what does not happen makes no event
            ranks = links.parse(netlink.ask(*links.requests())).ranks
            files = interfaces.ranks(Path("/"))
            print(json.dumps({"changes": changes, "ranks": ranks, "files": files}), flush=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    subprocess.run(["mount", "-t", "sysfs", "sysfs", "/sys"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    trio.run(main)
