"""Whatever stops is noticed, by turns of the supervisor: fork server, spare, a start. Suspend harms none."""

import os
import signal

import pytest
import trio
import trio.testing

from spacedrive_node.messages import to_gateway, to_session
from spacedrive_node.supervisor import fork_client
from spacedrive_node.supervisor.child_channel import MAX_MISSED_HEARTBEATS
from spacedrive_node.supervisor.child_specs import Sandbox
from spacedrive_node.supervisor.process_spawner import ProcessSpawner
from spacedrive_node.supervisor.spawner import ForkServerLostError
from spacedrive_node.tests.harness.tiny_actors import TinyConfig
from spacedrive_node.tests.harness.tiny_node import FIRST_SESSION, node, spec

HEARTBEAT_S = 0.5
"""Three of them may be missed: 1.5 s, in which a busy machine still lets every process run."""
CHILD = spec("session", "counter", TinyConfig(), sandbox=Sandbox(), spare=True)


async def test_a_fork_server_that_stands_still_is_killed():
    """A session that needs a fork waits no longer than the limit, and all others continue."""
    async with node(heartbeat=HEARTBEAT_S) as gateway:
        await gateway.open_session(1)
        os.kill(await gateway.pid("zygote"), signal.SIGSTOP)
        await gateway.open_session(2)
        await gateway.send(to_session.Decide(True))
        await gateway.view(session=f"{1:016x}", message="signed 1")
        (lost,) = [line for line in gateway.logs if line[2] == "fork server lost"]
        assert lost[3] == {"cause": "hang"}


async def test_a_fork_server_that_works_is_left_alone():
    """It answers each heartbeat, in more turns than it may miss."""
    spawner = ProcessSpawner(heartbeat=HEARTBEAT_S)
    with trio.fail_after(30):
        async with spawner.opened(preload=[], on_lost=lambda _cause: None):
            handle = await spawner.spawn(CHILD)
            first, answers = spawner.pid, 0
            while answers <= MAX_MISSED_HEARTBEATS:
                before = spawner._fork_server._missed_heartbeats
                await trio.sleep(0.001)
                answers += spawner._fork_server._missed_heartbeats < before
            assert spawner.pid == first
            handle.kill()
            await handle.aclose()


async def test_a_fork_server_that_stands_still_at_its_start_is_killed(monkeypatch):
    monkeypatch.setattr(fork_client, "_START_TIMEOUT_S", 0.2)
    spawner = ProcessSpawner(heartbeat=0.1)
    causes = []
    with trio.fail_after(30):
        async with spawner.opened(preload=[], on_lost=causes.append), trio.open_nursery() as nursery:

            async def spawn():
                with pytest.raises(ForkServerLostError):
                    await spawner.spawn(CHILD)

            nursery.start_soon(spawn)
            while not spawner.pid:
                await trio.lowlevel.checkpoint()
            os.kill(spawner.pid, signal.SIGSTOP)
    assert causes == ["hang"]


async def test_a_spare_that_stands_still_is_replaced():
    """And the session that starts next gets one that works."""
    async with node(sandbox=Sandbox(), spare=True, heartbeat=HEARTBEAT_S) as gateway:
        await gateway.open_session(1)
        with trio.fail_after(30):
            while "spare" not in (rows := await gateway.actors()):
                await trio.lowlevel.checkpoint()
            hung = rows["spare"].pid
            os.kill(hung, signal.SIGSTOP)
            while (rows := await gateway.actors()).get("spare", rows[FIRST_SESSION]).pid in (
                hung,
                rows[FIRST_SESSION].pid,
            ):
                await trio.lowlevel.checkpoint()
        await gateway.open_session(2)
        assert not [line for line in gateway.logs if line[2] == "not ready in time"]
        assert sum(line[2] == "sandbox" for line in gateway.logs) == 2  # what a spare says is not lost


async def test_a_spare_that_is_late_is_not_handed_out():
    """It has not answered for a whole turn, and is not counted as hanging yet."""
    spawner = ProcessSpawner(heartbeat=HEARTBEAT_S)
    with trio.fail_after(30):
        async with spawner.opened(preload=[], on_lost=lambda _cause: None):
            first = await spawner.spawn(CHILD)
            while not spawner.spares:
                await trio.lowlevel.checkpoint()
            spare = spawner._spares["session"]
            os.kill(spare.child.pid, signal.SIGSTOP)
            while spare._missed_heartbeats < 2:
                await trio.lowlevel.checkpoint()
            second = await spawner.spawn(CHILD)
            assert second is not spare.child
            for handle in (first, second):
                handle.kill()
                await handle.aclose()


async def test_a_child_that_never_gets_ready_is_killed():
    """At the limit of its start, and given up when it goes on so."""
    options = {"start_deadline": 0.05, "intensity": (2, 60.0)}
    async with node(session="sleeper", heartbeat=HEARTBEAT_S, **options) as gateway:
        await gateway.send(to_session.StartPairing(f"{1:016x}", 60.0, b"p" * 38, b"k" * 32))
        ended = await gateway.next(to_gateway.SessionEnded)
        assert ended.outcome == "crashed"
        late = [line for line in gateway.logs if line[2] == "not ready in time"]
        assert len(late) == 3


async def test_a_suspend_kills_nobody(mock_clock):
    """An hour passes within one turn, in which nothing of the node has run."""
    mock_clock.rate = 1.0
    async with node(heartbeat=1.0) as gateway:
        await gateway.open_session()
        before = await gateway.actors()
        stopped = [before[name].pid for name in ("zygote", "vault", FIRST_SESSION)]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        mock_clock.jump(3600)
        await trio.testing.wait_all_tasks_blocked()
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        await gateway.send(to_session.Decide(True))
        await gateway.view(message="signed 1")
        after = await gateway.actors()
        assert {name: row.pid for name, row in after.items()} == {
            name: row.pid for name, row in before.items()
        }
        assert gateway.unusual == []
