"""Reading the memory of very many processes holds up the supervisor for a few of them at a time."""

import os
from collections import Counter
from types import SimpleNamespace

import trio

from spacedrive_node.supervisor import introspection, metrics
from spacedrive_node.supervisor.ledger import Ledger
from spacedrive_node.supervisor.metrics import SupervisorMetrics
from spacedrive_node.supervisor.spawner import Memory
from spacedrive_node.supervisor.task_spawner import TaskSpawner
from spacedrive_node.tests.harness.tiny_node import node, session_name

PROCESSES = 300


def child(number):
    spec = SimpleNamespace(kind="session")
    return SimpleNamespace(name=session_name(number), pid=-number, spec=spec, ready=trio.Event())


async def test_each_report_reads_a_few_processes_and_a_round_reads_all(monkeypatch):
    read = []
    monkeypatch.setattr(metrics, "memory_of", lambda pid: read.append(pid) or Memory(2 << 20, 1 << 20))
    ledger = Ledger(max_sessions=PROCESSES, new_id=lambda: bytes(16))
    ledger.add_actor("metrics", stepping=True)
    ledger.begin_incarnation("metrics", b"\x80")
    ledger.mark_ready("metrics")
    children = {session_name(number): child(number) for number in range(1, PROCESSES + 1)}
    supervisor = SupervisorMetrics(ledger, children, TaskSpawner())
    most = 0
    while not supervisor._memory:
        before = len(read)
        supervisor.report()
        most = max(most, len(read) - before)
    assert most <= 64
    assert set(Counter(read).values()) == {1}
    assert len(read) == PROCESSES + 1
    assert supervisor._memory["session"] == PROCESSES << 20


async def test_a_list_of_processes_is_made_a_few_rows_at_a_time(monkeypatch):
    read, turn = Counter(), 0
    monkeypatch.setattr(introspection, "memory_of", lambda _pid: read.update([turn]) or Memory(2, 1))
    async with node("task", max_sessions=100) as gateway, trio.open_nursery() as nursery:

        async def count_turns():
            nonlocal turn
            while True:
                turn += 1
                await trio.lowlevel.checkpoint()

        nursery.start_soon(count_turns)
        for number in range(1, 101):
            await gateway.open_session(number)
        rows = await gateway.actors()
        assert len(rows) > 100
        assert all(row.private_bytes == 1 for row in rows.values())
        nursery.cancel_scope.cancel()
    assert max(read.values()) <= 32


async def test_a_list_on_a_busy_machine_is_not_late(monkeypatch):
    """What could not be read in time is given as it was last read, or as nothing."""
    monkeypatch.setattr(introspection, "_READING_TIME_S", -1.0)
    async with node() as gateway:
        await gateway.open_session()
        late = await gateway.actors()
        assert all(row.rss_bytes == 0 for row in late.values())
        read = {row.pid: introspection.memory_of(row.pid) for row in late.values() if row.pid != os.getpid()}
        again = await gateway.actors()
        found = {row.pid: row.rss_bytes for row in again.values() if row.pid in read}
        assert found == {pid: memory.rss for pid, memory in read.items()}
        assert min(found.values()) > 0
