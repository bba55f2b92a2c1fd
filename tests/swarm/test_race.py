"""A race in virtual time: who wins, when attempts begin, and what is seen of an address that is hearsay."""

from dataclasses import dataclass, field

import pytest
import trio
import trio.testing

from spacedrive_node.actors.swarm.dial import plan
from spacedrive_node.actors.swarm.dial.addresses import Endpoint
from spacedrive_node.actors.swarm.dial.plan import Target
from spacedrive_node.actors.swarm.dial.race import Made, Race

NEVER = float("inf")


@dataclass
class Network:
    """What becomes of each dial: (after how many seconds, whether it connects), by port."""

    fates: dict[int, tuple[float, bool]]
    dialled: dict[int, float] = field(default_factory=dict)
    discarded: list[str] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)

    async def dial(self, target: Target) -> Made | None:
        port = target.endpoint.port
        self.dialled[port] = trio.current_time()
        after, connects = self.fates[port]
        try:
            await trio.sleep(after)
        except trio.Cancelled:
            self.cancelled.append(port)
            raise
        return Made(f"connection {port}", target, after) if connects else None

    async def discard(self, made: Made) -> None:
        self.discarded.append(made.connection)


def target(port: int, *, is_hearsay: bool = False) -> Target:
    return Target(Endpoint("ip4", "192.0.2.1", port), is_hearsay)


async def run(network: Network, *targets: Target) -> tuple[str | None, float, Race]:
    """Return the winning connection, when it won, and the race."""
    async with trio.open_nursery() as nursery:
        race = Race(nursery, network.dial, network.discard)
        began = trio.current_time()
        made = await race.run(plan.plan(targets))
        took = trio.current_time() - began
        network.dialled = {port: at - began for port, at in network.dialled.items()}
    return (None if made is None else made.connection), took, race


async def test_dead_addresses_cost_their_stagger(autojump_clock: trio.testing.MockClock) -> None:
    """Silent ones a stagger each, refusing ones nothing; nothing stays of them once there is a connection."""
    network = Network({1: (NEVER, False), 2: (NEVER, False), 3: (0.01, False), 4: (0.02, True)})
    connection, took, race = await run(network, *map(target, (1, 2, 3, 4)))
    assert connection == "connection 4"
    assert took == pytest.approx(2 * plan.STAGGER_S + 0.01 + 0.02)
    assert sorted(network.cancelled) == [1, 2]
    assert [one.endpoint.port for one in race.failed()] == [3]
    assert [one.endpoint.port for one in race.unanswered(plan.STAGGER_S)] == [1, 2]
    assert [one.endpoint.port for one in race.unanswered(0.4)] == [1]


async def test_the_first_connection_wins(autojump_clock: trio.testing.MockClock) -> None:
    """Though the attempt began later; the other never becomes a connection."""
    network = Network({1: (5.0, True), 2: (0.1, True)})
    connection, took, _race = await run(network, target(1), target(2))
    assert (connection, took) == ("connection 2", pytest.approx(plan.STAGGER_S + 0.1))
    assert network.cancelled == [1]


async def test_a_connection_that_comes_too_late_is_closed(autojump_clock: trio.testing.MockClock) -> None:
    """A dial that finishes although it was cancelled leaves nothing behind."""
    network = Network({1: (0.3, True), 2: (0.01, True)})
    dial = network.dial

    async def stubborn(one: Target) -> Made | None:
        with trio.CancelScope(shield=True):
            return await dial(one)

    network.dial = stubborn  # type: ignore[method-assign]
    connection, _took, _race = await run(network, target(1), target(2))
    assert connection == "connection 2"
    assert network.discarded == ["connection 1"]


async def test_all_fail(autojump_clock: trio.testing.MockClock) -> None:
    """It ends with the last of them."""
    network = Network({1: (NEVER, False), 2: (0.1, False)})
    connection, took, race = await run(network, target(1), target(2))
    assert (connection, took) == (None, pytest.approx(plan.DIAL_TIMEOUT_S))
    assert [one.endpoint.port for one in race.failed()] == [1, 2]


async def test_a_caller_that_gives_up_ends_all(autojump_clock: trio.testing.MockClock) -> None:
    """Its attempts run elsewhere, and end with it."""
    network = Network({1: (NEVER, False), 2: (NEVER, False)})
    with trio.move_on_after(0.4):
        await run(network, target(1), target(2))
    assert sorted(network.cancelled) == [1, 2]


FATES = {"refused": (0.001, False), "rejected": (0.3, False), "silent": (NEVER, False), "slow": (9.0, True)}


@pytest.mark.parametrize("others", [0, 1, 3])
async def test_what_a_liar_sees_of_its_hearsay(autojump_clock: trio.testing.MockClock, others: int) -> None:
    """Neither the dials that follow nor the end of the race depend on what is at the addresses.

    Not with one address either, nor for the last one, nor for what is remembered of them.
    """
    seen = set()
    for fate in FATES.values():
        network = Network(dict.fromkeys(range(1, 2 + others), fate))
        hearsay = [target(port, is_hearsay=True) for port in network.fates]
        connection, took, race = await run(network, *hearsay)
        times = tuple(round(at, 6) for at in network.dialled.values())
        seen.add((connection, round(took, 6), times, len(race.failed())))
    (found,) = seen
    assert found[:2] == (None, plan.HEARSAY_TIMEOUT_S + others * plan.STAGGER_S)


async def test_hearsay_beside_other_addresses(autojump_clock: trio.testing.MockClock) -> None:
    """When a known address ends the race, what the others came to is forgotten; nothing waits for them."""
    seen = set()
    for fate in FATES.values():
        network = Network({1: fate, 2: (0.5, True)})
        connection, took, race = await run(network, target(1, is_hearsay=True), target(2))
        seen.add((connection, round(took, 6), len(race.failed()), len(race.unanswered(0.0))))
    assert seen == {("connection 2", plan.STAGGER_S + 0.5, 0, 1)}
