"""Turns at the fork server: the most urgent first, in the order of asking among equals; none is lost."""

import pytest
import trio
import trio.testing

from spacedrive_node.supervisor.fork_queue import MAX_FORKS_AT_A_TIME, ForkQueue, urgency
from spacedrive_node.supervisor.spawner import ForkServerLostError
from spacedrive_node.tests.harness.tiny_actors import TinyConfig
from spacedrive_node.tests.harness.tiny_node import DEADLINE, spec

SINGLETON, SESSION, SPARE = 0, 1, 2


async def full_queue():
    queue = ForkQueue()
    for _ in range(MAX_FORKS_AT_A_TIME):
        await queue.wait_for_turn(SESSION)
    return queue


async def test_singletons_come_first_then_sessions_then_spares():
    queue, order = await full_queue(), []

    async def ask(name, place):
        await queue.wait_for_turn(place)
        order.append(name)

    async with trio.open_nursery() as nursery:
        asked = [("spare", SPARE), ("first", SESSION), ("second", SESSION), ("vault", SINGLETON)]
        for name, place in asked:
            nursery.start_soon(ask, name, place)
            await trio.testing.wait_all_tasks_blocked()
        assert order == []
        for _ in asked:
            queue.end_turn()
            await trio.testing.wait_all_tasks_blocked()
    assert order == ["vault", "first", "second", "spare"]


def test_urgency_is_that_of_the_kind():
    vault, session = spec("vault", "signer", TinyConfig()), spec("session", "counter", TinyConfig())
    places = [urgency(vault, spare=False), urgency(session, spare=False), urgency(session, spare=True)]
    assert places == [SINGLETON, SESSION, SPARE]


async def test_a_wait_that_is_cancelled_takes_no_turn():
    queue = await full_queue()
    with trio.move_on_after(0) as impatient:
        await queue.wait_for_turn(SINGLETON)
    assert impatient.cancelled_caught
    queue.end_turn()
    with trio.fail_after(DEADLINE):
        await queue.wait_for_turn(SPARE)


async def test_a_turn_that_comes_together_with_the_cancellation_goes_on_to_the_next():
    queue = await full_queue()
    async with trio.open_nursery() as nursery:
        await trio.testing.wait_all_tasks_blocked()
        with trio.CancelScope() as scope:

            async def give_and_cancel():
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
                queue.end_turn()

            nursery.start_soon(give_and_cancel)
            await queue.wait_for_turn(SESSION)
    with trio.fail_after(DEADLINE):
        await queue.wait_for_turn(SESSION)
        queue.end_turn()


async def test_when_the_fork_server_is_lost_nobody_waits():
    queue = await full_queue()

    async def ask():
        with pytest.raises(ForkServerLostError):
            await queue.wait_for_turn(SESSION)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        queue.close()
        nursery.start_soon(ask)
