"""A child that is forked before it is needed: taken when one is, made again, and never left over."""

import os
import signal
from pathlib import Path

import trio
import trio.testing

from spacedrive_node.messages import to_session
from spacedrive_node.supervisor import memory_usage
from spacedrive_node.supervisor.child_specs import Sandbox
from spacedrive_node.supervisor.process_spawner import ProcessHost
from spacedrive_node.tests.harness.tiny_actors import TinyConfig
from spacedrive_node.tests.harness.tiny_node import FIRST_SESSION, node, spec

CHILD = spec("session", "counter", TinyConfig(), sandbox=Sandbox(), spare=True)


def is_there(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


async def waiting(host: ProcessHost) -> int:
    """Wait until a spare is there; return its pid."""
    while not host.spares:
        await trio.testing.wait_all_tasks_blocked(0.01)
    return host.spares["session"].pid


async def test_the_next_child_waits_already():
    """Each spawn takes the spare, and has another one made; at the end all of them are gone."""
    host = ProcessHost()
    pids = []
    with trio.fail_after(30):
        async with host.opened(preload=[], on_lost=lambda _cause: None):
            taken = [await host.spawn(CHILD)]
            for _ in range(3):
                pids.append(await waiting(host))
                taken.append(await host.spawn(CHILD))
            assert [handle.pid for handle in taken[1:]] == pids
            pids.append(await waiting(host))
            for handle in taken:
                handle.kill()
                await handle.wait()
                await handle.aclose()
        while any(is_there(pid) for pid in pids):  # the last one ends with its fork server
            await trio.lowlevel.checkpoint()
    assert memory_usage.accounts == {}


def children(pid: int) -> set[int]:
    return {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


async def test_whoever_comes_while_one_is_made_leaves_one_spare():
    """It forks for itself, finds the spare there afterwards, and has no second one made."""
    host = ProcessHost()
    with trio.fail_after(30):
        async with host.opened(preload=[], on_lost=lambda _cause: None):
            taken = [await host.spawn(CHILD)]
            while not host._zygote.requests:
                await trio.lowlevel.checkpoint()
            taken.append(await host.spawn(CHILD))
            await waiting(host)
            third = await host.spawn(spec("swarm", "quiet_swarm", TinyConfig()))  # forks come in order
            there = (*taken, third, *host.spares.values())
            assert children(host.pid) == {one.pid for one in there}
            for handle in (*taken, third):
                handle.kill()
                await handle.wait()
                await handle.aclose()
    assert memory_usage.accounts == {}


async def test_a_spare_that_was_killed_is_not_handed_out():
    """Nor one that went with its fork server."""
    host = ProcessHost()
    with trio.fail_after(30):
        async with host.opened(preload=[], on_lost=lambda _cause: None):
            first = await host.spawn(CHILD)
            killed = await waiting(host)
            os.kill(killed, signal.SIGKILL)
            while host.spares:
                await trio.testing.wait_all_tasks_blocked(0.01)
            second = await host.spawn(CHILD)
            assert second.pid != killed
            lost = await waiting(host)
            os.kill(host.pid, signal.SIGKILL)
            assert await first.wait() is None
            third = await host.spawn(CHILD)
            assert third.pid != lost
            for handle in (first, second, third):
                handle.kill()
                await handle.aclose()
    assert memory_usage.accounts == {}


async def test_a_killed_session_goes_on_in_the_spare():
    """It is in the list of processes while it waits, and its sandbox is told of like any other's."""
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
