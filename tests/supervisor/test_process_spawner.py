"""Processes from the fork server: a fork that is no longer awaited, and the memory of children."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import trio
import trio.testing

from spacedrive_node.supervisor import child_process, fork_server, memory_usage
from spacedrive_node.supervisor.child_specs import Sandbox
from spacedrive_node.supervisor.fork_client import ForkClient
from spacedrive_node.supervisor.libc import prctl
from spacedrive_node.supervisor.process_spawner import ProcessSpawner
from spacedrive_node.tests.harness.tiny_actors import TinyConfig
from spacedrive_node.tests.harness.tiny_node import spec

_PR_SET_CHILD_SUBREAPER = 36


async def test_the_first_process_of_a_container_keeps_no_zombies():
    """The children of a fork server that was killed become its own, and nobody else takes their status."""
    prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        lost = trio.Event()
        spawner = ProcessSpawner()
        with trio.fail_after(15):
            async with spawner.opened(preload=[], on_lost=lambda _cause: lost.set()):
                children = [await spawner.spawn(spec("swarm", "quiet_swarm", TinyConfig())) for _ in range(3)]
                os.kill(spawner.pid, signal.SIGKILL)
                await lost.wait()
                for child in children:
                    await child.wait()
                    await child.aclose()
                while any(os.path.exists(f"/proc/{child.pid}") for child in children):  # noqa: ASYNC110, ASYNC240
                    await trio.sleep(0.01)
    finally:
        prctl(_PR_SET_CHILD_SUBREAPER, 0)


def test_a_supervisor_that_has_gone_while_the_fork_server_was_starting():
    """As with Ctrl-C just after `sdnode up`: it ends without a word, for nothing is wrong."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        ours.close()
        done = subprocess.run(
            [sys.executable, "-P", "-m", fork_server.__name__, str(theirs.fileno()), str(os.getpid()), ""],
            pass_fds=[theirs.fileno()],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


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
            second = await spawner.spawn(child)
            fork_server = spawner._fork_server
            while fork_server.pending:  # each is answered when its child has begun: this one may be first
                await trio.testing.wait_all_tasks_blocked(0.01)
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


async def test_children_of_a_lost_fork_server_are_known_to_be_lost_with_it(monkeypatch):
    """Also where the end of the fork server is handled later than theirs, as on a busy machine."""
    monkeypatch.setattr(child_process, "_STATUS_GRACE_S", 0.001)
    close, has_unread_reply = ForkClient.aclose, ForkClient.has_unread_reply
    number, asked = 8, []

    def ask(fork_server):
        asked.append(fork_server)
        return has_unread_reply(fork_server)

    async def close_late(fork_server):
        while len(asked) < number:  # until all of them have waited in vain
            await trio.lowlevel.checkpoint()
        await close(fork_server)

    monkeypatch.setattr(ForkClient, "has_unread_reply", ask)
    monkeypatch.setattr(ForkClient, "aclose", close_late)
    spawner = ProcessSpawner()
    with trio.fail_after(30):
        async with spawner.opened(preload=[], on_lost=lambda _cause: None):
            handles = [await spawner.spawn(spec("swarm", "quiet_swarm", TinyConfig())) for _ in range(number)]
            os.kill(spawner.pid, signal.SIGKILL)
            assert [await handle.wait() for handle in handles] == [None] * len(handles)
            for handle in handles:
                await handle.aclose()
