"""Locks that cost nothing while they are free: what they guard, and how many turns of the loop they save."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from spacedrive_node.actors.swarm.library import locks, multiplexer, streams
from spacedrive_node.actors.swarm.library.locks import ReadyLock
from spacedrive_node.tests.harness.library_hosts import PROTOCOL, our_host, running

DEADLINE = 60


class Counter(trio.abc.Instrument):
    """Counts turns of the event loop, and tasks that were started."""

    def __init__(self) -> None:
        self.turns = 0
        self.tasks = 0

    def before_io_wait(self, timeout: float) -> None:
        self.turns += 1

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.tasks += 1


@asynccontextmanager
async def counted() -> AsyncIterator[Counter]:
    counter = Counter()
    trio.lowlevel.add_instrument(counter)
    try:
        yield counter
    finally:
        trio.lowlevel.remove_instrument(counter)


@pytest.mark.parametrize(("make", "turns"), [(trio.Lock, 100), (ReadyLock, 0)])
async def test_a_free_lock_is_taken_at_once(make: Any, turns: int) -> None:
    """The library's kind, trio's, takes a turn each time: when it does not, this is not needed."""
    lock = make()
    async with counted() as counter:
        for _ in range(100):
            async with lock:
                assert lock.locked()
    assert not lock.locked()
    assert counter.turns == pytest.approx(turns, abs=1)


async def test_one_after_another_in_order() -> None:
    """Also where one that waits gives up, and where one comes as the lock is passed on."""
    lock, order = ReadyLock(), []

    async def use(name: str) -> None:
        async with lock:
            order.append(name)
            await trio.testing.wait_all_tasks_blocked()
            order.append(name)

    async with trio.open_nursery() as nursery:
        await lock.acquire()
        with trio.CancelScope() as impatient:
            nursery.start_soon(use, "a")
            await trio.testing.wait_all_tasks_blocked()
            impatient.cancel()
            async with lock:
                order.append("never")
        nursery.start_soon(use, "b")
        await trio.testing.wait_all_tasks_blocked()
        lock.release()
        await use("c")
    assert "".join(order) == "aabbcc"
    assert not lock.locked()


def test_what_is_replaced_is_a_lock_of_the_library() -> None:
    """Each attribute is one that the library's own constructor makes."""
    for guarded, attributes in locks._LOCKS.items():
        locks.use_ready_locks()
        init = guarded.__init__
        code = getattr(init, "__wrapped__", init).__code__
        assert set(attributes) <= set(code.co_names), guarded


async def test_an_exchange_takes_few_turns() -> None:
    """A dozen for both sides together; with the library's locks seventy more."""
    asking, serving = our_host(1), our_host(2)

    async def echo(stream: Any) -> None:
        frame = await streams.read_frame(stream)
        async with multiplexer.one_packet(stream):
            await streams.write_frame(stream, frame)
            await stream.close()

    serving.set_stream_handler(PROTOCOL, echo)
    async with running(asking, serving) as (_own, address):
        with trio.fail_after(DEADLINE):
            connection = await asking.get_network().dial_addr(address, serving.get_id())

            async def exchange() -> None:
                async with streams.open_stream(connection, PROTOCOL, streams.as_frame(b"hello")) as stream:
                    assert await streams.read_frame(stream) == b"hello"

            await exchange()
            await trio.testing.wait_all_tasks_blocked(0.05)
            async with counted() as counter:
                for _ in range(10):
                    await exchange()
                await trio.testing.wait_all_tasks_blocked(0.05)
    assert counter.turns / 10 <= 25
    assert counter.tasks / 10 == 1  # the handler: nobody is told of the streams (library/notifications.py)
