"""The fork server's client: what becomes of a fork that nobody waits for any more."""

import os
import signal
from pathlib import Path

import trio
import trio.testing

from spacedrive_node.supervisor import memory_usage
from spacedrive_node.supervisor.child_specs import Sandbox
from spacedrive_node.supervisor.process_spawner import ProcessHost
from spacedrive_node.tests.harness.tiny_actors import TinyConfig
from spacedrive_node.tests.harness.tiny_node import spec


async def test_an_abandoned_fork_leaves_nothing_behind():
    """Its descriptor is closed when the answer comes, and its exit is not kept for anybody."""
    host, child = ProcessHost(), spec("swarm", "quiet_swarm", TinyConfig())
    with trio.fail_after(30):
        async with host.opened(preload=[], on_lost=lambda _cause: None):
            first = await host.spawn(child)
            before = len(os.listdir("/proc/self/fd"))
            os.kill(host.pid, signal.SIGSTOP)
            with trio.move_on_after(0.1) as impatient:
                await host.spawn(child)
            assert impatient.cancelled_caught
            os.kill(host.pid, signal.SIGCONT)
            second = await host.spawn(child)  # answers come in order: the abandoned one has been taken
            zygote = host._zygote
            assert zygote.requests == {}
            second.kill()
            await second.wait()
            await second.aclose()
            while zygote.abandoned:  # it ends with its channel, and the fork server says so
                await trio.testing.wait_all_tasks_blocked(0.01)
            assert zygote.early == {}
            assert len(os.listdir("/proc/self/fd")) == before
            first.kill()
            await first.wait()
            await first.aclose()


async def test_the_memory_of_children_is_told_exactly_to_any_user():
    """They cannot be looked into, and yet what they share with the fork server is not counted as theirs."""
    host = ProcessHost()
    child = spec("swarm", "quiet_swarm", TinyConfig(), sandbox=Sandbox())
    with trio.fail_after(30):
        async with host.opened(preload=[], on_lost=lambda _cause: None):
            handle = await host.spawn(child)
            for pid in (handle.pid, host.pid):
                exact, rough = memory_usage.memory_of(pid), memory_usage._from_statm(Path(f"/proc/{pid}"))
                assert 0 < exact.private < rough.private
            handle.kill()
            await handle.wait()
            assert memory_usage.memory_of(handle.pid) == memory_usage.Memory()
            await handle.aclose()
            assert set(memory_usage.accounts) == {host.pid}
    assert memory_usage.accounts == {}
