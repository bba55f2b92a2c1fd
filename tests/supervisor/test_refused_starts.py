"""The system makes no process, or no more descriptors: what that costs, and what the log says of it."""

import errno
import itertools
import os
import resource
import signal
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import pytest
import trio
import trio.testing

from spacedrive_node.messages import to_gateway, to_session
from spacedrive_node.supervisor import child, fork_client
from spacedrive_node.supervisor.child import Child
from spacedrive_node.supervisor.process_spawner import ProcessSpawner
from spacedrive_node.supervisor.restart_policy import MAX_QUICK_FAILURES, GiveUp
from spacedrive_node.supervisor.spawner import SpawnError
from spacedrive_node.supervisor.task_spawner import TaskSpawner
from spacedrive_node.tests.harness import tiny_node
from spacedrive_node.tests.harness.tiny_actors import TinyConfig
from spacedrive_node.tests.harness.tiny_node import OWN_IDENTITY, node, spec

SWARM = spec("swarm", "quiet_swarm", TinyConfig())


NO_PROCESS, NO_FILE = "Resource temporarily unavailable", "Too many open files"


class RefusingSpawner(TaskSpawner):
    """Starts no session at the first tries, for these reasons."""

    def __init__(self, reasons):
        self.reasons = iter(reasons)

    async def spawn(self, spec):
        if spec.kind == "session" and (why := next(self.reasons, None)):
            raise SpawnError(why)
        return await super().spawn(spec)


@pytest.fixture
def refusing_node(monkeypatch):
    """Return a function that runs a node whose sessions are refused for these reasons."""

    def run(reasons):
        monkeypatch.setitem(tiny_node.HOSTS, "task", lambda _heartbeat: RefusingSpawner(reasons))
        return node("task", backoff=(0.001, 0.002))

    return run


async def test_a_session_that_cannot_be_started_is_said_to_be_so_once(refusing_node):
    """It is tried again and again before it is given up, which nobody needs to read."""
    async with refusing_node(itertools.repeat(NO_PROCESS)) as gateway:
        await gateway.send(to_session.StartPairing(f"{1:016x}", 60.0, *OWN_IDENTITY))
        ended = await gateway.next(to_gateway.SessionEnded)
        assert ended.outcome == "crashed"
        assert [(line[2], line[3].get("why")) for line in gateway.unusual] == [
            ("not started", NO_PROCESS),
            ("given up", f"failed {MAX_QUICK_FAILURES} times in a row at its start: {NO_PROCESS}"),
        ]


async def test_another_reason_is_said_too_and_a_session_begins_when_there_is_room(refusing_node):
    """That it has begun needs no line."""
    async with refusing_node([NO_PROCESS, NO_PROCESS, NO_FILE, NO_FILE]) as gateway:
        await gateway.open_session()
        await gateway.send(to_session.Decide(True))
        await gateway.view(message="signed 1")
        assert [line[3]["why"] for line in gateway.unusual] == [NO_PROCESS, NO_FILE]


def test_a_start_that_is_refused_has_no_life_of_its_own(monkeypatch):
    """It is tried again with growing pauses, however long the actor had worked before."""
    clock = SimpleNamespace(monotonic=lambda: clock.now, now=100.0)
    monkeypatch.setattr(child, "time", clock)
    vault = Child("vault", spec("vault", "signer", stepping=True), lambda: 0.5)
    vault.begin_incarnation(SimpleNamespace(pid=7))
    vault.mark_ready()
    clock.now += 3600.0
    vault.end_incarnation()
    verdicts = [vault.record_exit("killed", None)]
    while not isinstance(verdicts[-1], GiveUp):
        verdicts.append(vault.record_exit("exit", None))
    pauses = [verdict.delay for verdict in verdicts[:-1]]
    assert len(pauses) == MAX_QUICK_FAILURES
    assert pauses == sorted(pauses)
    assert sum(pauses) > 1.0


@contextmanager
def no_descriptor_left():
    """Let this process open none, until the context ends or one of `taken` is closed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.dup(2))
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_reply_whose_descriptors_find_no_room_is_a_refusal():
    """The child, of which only its number is known then, ends with its channel."""
    spawner, refused = ProcessSpawner(), []

    async def spawn():
        try:
            await spawner.spawn(SWARM)
        except SpawnError as error:
            refused.append(str(error))

    with trio.fail_after(30):
        async with spawner.opened(preload=[], on_lost=lambda _cause: None):
            first = await spawner.spawn(SWARM)
            fork_server = spawner._fork_server
            os.kill(spawner.pid, signal.SIGSTOP)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(spawn)
                while not fork_server.pending:
                    await trio.lowlevel.checkpoint()
                await trio.testing.wait_all_tasks_blocked()
                with no_descriptor_left():
                    os.kill(spawner.pid, signal.SIGCONT)
                    while fork_server.pending:
                        await trio.testing.wait_all_tasks_blocked(0.01)
            assert refused == [os.strerror(errno.EMFILE)]
            while fork_server.abandoned:
                await trio.testing.wait_all_tasks_blocked(0.01)
            assert fork_server.early_exits == {}
            second = await spawner.spawn(SWARM)
            for one in (first, second):
                one.kill()
                await one.wait()
                await one.aclose()


async def test_a_fork_server_that_cannot_be_started_is_tried_again(monkeypatch):
    """Whoever needs it is refused, as when it could make no process."""
    popen, errors = fork_client.subprocess.Popen, [BlockingIOError(errno.EAGAIN, "no process left")]

    def start(*arguments, **options):
        if errors:
            raise errors.pop()
        return popen(*arguments, **options)

    monkeypatch.setattr(fork_client.subprocess, "Popen", start)
    spawner = ProcessSpawner()
    with trio.fail_after(30):
        async with spawner.opened(preload=[], on_lost=lambda _cause: None):
            with pytest.raises(SpawnError, match="no process left"):
                await spawner.spawn(SWARM)
            one = await spawner.spawn(SWARM)
            one.kill()
            await one.wait()
            await one.aclose()


async def test_without_any_fork_server_the_node_ends_with_a_reason(monkeypatch):
    """One for which a service manager starts it again."""

    def refuse(*_arguments, **_options):
        raise BlockingIOError(errno.EAGAIN, "no process left")

    monkeypatch.setattr(fork_client.subprocess, "Popen", refuse)
    singletons = [spec("swarm", "quiet_swarm", TinyConfig(), backoff=(0.001, 0.002))]
    async with node(singletons=singletons) as gateway:
        pass
    assert gateway.failure is not None
    assert gateway.failure.is_temporary
    assert str(gateway.failure).endswith(": no fork server: no process left")
    assert [line[2] for line in gateway.logs] == ["not started", "given up"]
