"""Processes from the fork server: a fork that is no longer awaited, and the memory of children."""

import os
import signal
from pathlib import Path

import trio
import trio.testing

from spacedrive_node.supervisor import memory_usage
from spacedrive_node.supervisor.child_specs import Sandbox
from spacedrive_node.supervisor.process_spawner import ProcessSpawner
from spacedrive_node.tests.harness.tiny_actors import TinyConfig
from spacedrive_node.tests.harness.tiny_node import spec


async def test_an_abandoned_fork_leaves_nothing_behind():
    """Its descriptors are closed when the reply comes, and its exit status is not kept."""
    spawner, child = (
        ProcessSpawner(),
        spec("swarm", "quiet_swarm", TinyConfig()),
    )
    with trio.fail_after(30):
        async with spawner.opened(preload=[], on_lost=lambda _cause: None):
            first = await spawner.spawn(child)
            before = len(os.listdir("/proc/self/fd"))
            os.kill(spawner.pid, signal.SIGSTOP)
            with trio.move_on_after(0.1) as impatient:
                await spawner.spawn(child)
            assert impatient.cancelled_caught
            os.kill(spawner.pid, signal.SIGCONT)
            second = await spawner.spawn(child)  # answers come in order: the abandoned one has been taken
            fork_server = spawner._fork_server
            assert fork_server.pending == {}
            second.kill()
            await second.wait()
            await second.aclose()
            while fork_server.abandoned:  # it ends with its channel, and the fork server says so
                await trio.testing.wait_all_tasks_blocked(0.01)
            assert fork_server.early_exits == {}
            assert len(os.listdir("/proc/self/fd")) == before
            first.kill()
            await first.wait()
            await first.aclose()


async def test_the_memory_of_children_is_exact_for_any_user():
    """They are not dumpable, and yet what they share with the fork server is not counted as private."""
    spawner = ProcessSpawner()
    child = spec("swarm", "quiet_swarm", TinyConfig(), sandbox=Sandbox())
    with trio.fail_after(30):
        async with spawner.opened(preload=[], on_lost=lambda _cause: None):
            handle = await spawner.spawn(child)
            for pid in (handle.pid, spawner.pid):
                exact, rough = memory_usage.memory_of(pid), memory_usage._from_statm(Path(f"/proc/{pid}"))
                assert 0 < exact.private < rough.private
            handle.kill()
            await handle.wait()
            assert memory_usage.memory_of(handle.pid) == memory_usage.Memory()
            await handle.aclose()
            assert set(memory_usage.memory_files) == {spawner.pid}
    assert memory_usage.memory_files == {}
