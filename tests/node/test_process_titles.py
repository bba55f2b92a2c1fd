"""`ps` and `top` show each process of a node by the name that `sdnode actors` gives it."""

import subprocess
from pathlib import Path

import trio

from spacedrive_node.tests.harness.nodes import DEADLINE, Node, running_node


def shown(pid: int) -> tuple[str, str]:
    """Return what `ps` shows of a process: its title, and its command name."""
    found = subprocess.run(
        ["ps", "-ww", "-o", "args=", "-p", str(pid)],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=True,
    )
    return found.stdout.strip(), Path(f"/proc/{pid}/comm").read_text().strip()


async def names(node: Node) -> dict[str, int]:
    """Return the pids of all actors, once a session, a spare and the page are among them."""
    while True:
        rows = {row.actor: row.pid for row in await node.client.actors() if row.pid}
        if {"spare", "web"} <= rows.keys() and any(name.startswith("session-") for name in rows):
            return rows
        await trio.lowlevel.checkpoint()


async def test_each_process_has_the_name_of_its_actor(tmp_path: Path) -> None:
    """Also a session that was a spare before; the command name is cut to the kernel's 15 bytes."""
    async with running_node(tmp_path, "anna", web="127.0.0.1:0") as node:
        with trio.fail_after(DEADLINE):
            await node.client.start_pairing()
            for name, pid in (await names(node)).items():
                if name == "supervisor":
                    continue  # the program in which the node runs keeps its own
                kind = "session" if name.startswith("session-") or name == "spare" else name
                wanted = f"sdnode: {name}", f"sdnode: {kind}"[:15]
                while (found := shown(pid)) != wanted:  # one that has just been forked is still to take it
                    assert found[1] in ("sdnode: zygote"[:15], wanted[1]), found
                    await trio.lowlevel.checkpoint()
