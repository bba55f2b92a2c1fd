"""Actors as tasks: the end of one is to the supervisor that of a process, and harms nobody else."""

import signal

import msgspec
import pytest
import trio
import trio.testing

from spacedrive_node.messages.base import encode
from spacedrive_node.messages.child_protocol import Start
from spacedrive_node.supervisor.task_spawner import TaskSpawner
from spacedrive_node.tests.harness.tiny_actors import TinyConfig
from spacedrive_node.tests.harness.tiny_node import DEADLINE, spec


@pytest.mark.parametrize(("kind", "entry"), [("swarm", "quiet_swarm"), ("metrics", "meter")])
async def test_an_actor_that_waits_for_a_message_is_killed(kind, entry):
    """Its nursery and its channel end with it; what the closed channel raises in it reaches nobody."""
    spawner = TaskSpawner()
    with trio.fail_after(DEADLINE):
        async with spawner.opened(preload=[], on_lost=lambda _cause: None):
            killed, other = [await spawner.spawn(spec(kind, entry)) for _ in range(2)]
            for task in (killed, other):
                await task.channel.send(Start(kind, 1, msgspec.Raw(encode(TinyConfig()))))
                await task.channel.receive()
            await trio.testing.wait_all_tasks_blocked()
            killed.kill()
            assert await killed.wait() == -signal.SIGKILL
            with pytest.raises(trio.EndOfChannel):
                await killed.channel.receive()
            await trio.testing.wait_all_tasks_blocked()
            assert not other._ended.is_set()
            for task in (killed, other):
                await task.aclose()
