"""The spare: forked ahead of need, handed out by the next spawn, replaced, and never left over."""

import os
import signal
from pathlib import Path

import trio
import trio.testing

from spacedrive_node.messages import to_session
from spacedrive_node.supervisor import memory_usage
from spacedrive_node.supervisor.child_specs import Sandbox
from spacedrive_node.supervisor.process_spawner import ProcessSpawner
from spacedrive_node.tests.harness.tiny_actors import TinyConfig
from spacedrive_node.tests.harness.tiny_node import FIRST_SESSION, node, spec

CHILD = spec("session", "counter", TinyConfig(), sandbox=Sandbox(), spare=True)


def is_there(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


async def waiting(spawner: ProcessSpawner) -> int:
    """Wait until a spare is there; return its pid."""
    while not spawner.spares:
        await trio.testing.wait_all_tasks_blocked(0.01)
    return spawner.spares["session"].pid


async def test_each_spawn_takes_the_spare():
    """Another one is then forked; when the spawner closes, no process is left."""
    spawner = ProcessSpawner()
    pids = []
    with trio.fail_after(30):
        async with spawner.opened(preload=[], on_lost=lambda _cause: None):
            taken = [await spawner.spawn(CHILD)]
            for _ in range(3):
                pids.append(await waiting(spawner))
                taken.append(await spawner.spawn(CHILD))
            assert [handle.pid for handle in taken[1:]] == pids
            pids.append(await waiting(spawner))
            for handle in taken:
                handle.kill()
                await handle.wait()
                await handle.aclose()
        while any(is_there(pid) for pid in pids):  # the last one ends with its fork server
            await trio.lowlevel.checkpoint()
    assert memory_usage.memory_files == {}


def children(pid: int) -> set[int]:
    return {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


async def test_a_spawn_while_a_spare_is_being_forked_leaves_one_spare():
    """It forks another child, and no second spare is forked."""
    spawner = ProcessSpawner()
    with trio.fail_after(30):
        async with spawner.opened(preload=[], on_lost=lambda _cause: None):
            taken = [await spawner.spawn(CHILD)]
            while not spawner._fork_server.pending:
                await trio.lowlevel.checkpoint()
            taken.append(await spawner.spawn(CHILD))
            await waiting(spawner)
            third = await spawner.spawn(spec("swarm", "quiet_swarm", TinyConfig()))  # forks come in order
            there = (*taken, third, *spawner.spares.values())
            assert children(spawner.pid) == {one.pid for one in there}
            for handle in (*taken, third):
                handle.kill()
                await handle.wait()
                await handle.aclose()
    assert memory_usage.memory_files == {}


async def test_a_spare_that_was_killed_is_not_handed_out():
    """Nor is one that died with its fork server."""
    spawner = ProcessSpawner()
    with trio.fail_after(30):
        async with spawner.opened(preload=[], on_lost=lambda _cause: None):
            first = await spawner.spawn(CHILD)
            killed = await waiting(spawner)
            os.kill(killed, signal.SIGKILL)
            while spawner.spares:
                await trio.testing.wait_all_tasks_blocked(0.01)
            second = await spawner.spawn(CHILD)
            assert second.pid != killed
            lost = await waiting(spawner)
            os.kill(spawner.pid, signal.SIGKILL)
            assert await first.wait() is None
            third = await spawner.spawn(CHILD)
            assert third.pid != lost
            for handle in (first, second, third):
                handle.kill()
                await handle.aclose()
    assert memory_usage.memory_files == {}


async def test_a_killed_session_goes_on_in_the_spare():
    """`sdnode actors` lists the spare while it waits, and its sandbox is logged like any other."""
    async with node(sandbox=Sandbox(), spare=True) as gateway:
        await gateway.open_session()
        with trio.fail_after(30):
            while "spare" not in (rows := await gateway.actors()):
                await trio.lowlevel.checkpoint()
        assert rows["spare"].state == "waiting"
        assert rows["spare"].uptime_seconds > 0
        os.kill(rows[FIRST_SESSION].pid, signal.SIGKILL)
        await gateway.send(to_session.Decide(True))
        await gateway.view(message="signed 1")
        assert (await gateway.actors())[FIRST_SESSION].pid == rows["spare"].pid
        assert sum(line[2] == "sandbox" for line in gateway.logs) == 2
