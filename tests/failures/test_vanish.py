"""The other side vanishes before and after every message: killed, stopped, or without its cable.

A sample that has every moment in every manner over TCP, for ever or for ten seconds, and some over QUIC;
run.py runs them all over both.
"""

from pathlib import Path

import pytest
import trio

from spacedrive_node.tests.harness.faults.cable_network import CableNetwork, open_network
from spacedrive_node.tests.harness.faults.failure_points import (
    FAILURE_POINTS,
    MANNERS,
    FailureCase,
    Manner,
    all_cases,
    sample_cases,
)
from spacedrive_node.tests.harness.faults.relays import RELAYED_TRANSPORTS
from spacedrive_node.tests.harness.faults.vanishing_device import Figures, run_case

SEED = 7
TOGETHER = 5


async def run_all(cases: list[FailureCase], folder: Path, network: CableNetwork, at_once: int) -> Figures:
    """Run cases, so many at once; most of their time they wait."""
    figures, slots = Figures(), trio.CapacityLimiter(at_once)
    failures: list[str] = []
    async with trio.open_nursery() as nodes:

        async def one(number: int) -> None:
            async with slots:
                wrong = await run_case(cases[number], folder / str(number), network, nodes, figures)
                failures.extend([wrong] if wrong else [])

        async with trio.open_nursery() as running:
            for number in range(len(cases)):
                running.start_soon(one, number)
    assert not failures, "\n\n".join(failures)
    return figures


@pytest.mark.timeout(600)
@pytest.mark.parametrize("manner", MANNERS)
async def test_the_other_side_vanishes(tmp_path: Path, manner: Manner) -> None:
    """Each moment once over TCP, some over QUIC, where nobody is told that a path is dead: both sides end as
    documented, agree at the next contact, and can pair again.
    """
    cases = sample_cases(SEED, manner, TOGETHER)
    async with open_network() as network:
        figures = await run_all(cases, tmp_path, network, at_once=5)
    assert figures.pairings == sum(len(case.points) for case in cases)


@pytest.mark.timeout(300)
async def test_a_cable_without_namespaces(tmp_path: Path) -> None:
    """Where no network can be made, a relay on loopback that goes silent takes its place."""
    cases = [case for case in all_cases(SEED, TOGETHER) if (case.manner, case.duration) == ("cable", "ten")]
    one_over_each = [next(c for c in cases if c.transport == transport) for transport in RELAYED_TRANSPORTS]
    async with trio.open_nursery() as nursery:
        await run_all(one_over_each, tmp_path, CableNetwork("a relay that goes silent", nursery), at_once=2)
        nursery.cancel_scope.cancel()


def test_every_moment_is_in_every_case() -> None:
    """The whole matrix has each with each transport, victim, manner and length; a sample has each once."""
    whole = [
        (c.transport, c.victim, c.manner, c.duration, point) for c in all_cases(SEED, 4) for point in c.points
    ]
    assert len(whole) == len(set(whole)) == 2 * 2 * 3 * 2 * len(FAILURE_POINTS)
    for manner in MANNERS:
        sample = sample_cases(SEED, manner, TOGETHER)
        over_tcp = [str(point) for case in sample if case.transport == "tcp" for point in case.points]
        assert sorted(over_tcp) == sorted(map(str, FAILURE_POINTS))
        assert {case.duration for case in sample if case.transport == "quic"} == {"ever", "ten"}
    for case in [*all_cases(SEED, 4), *sample_cases(SEED, "stop", TOGETHER)]:
        asks = {"get_providers": True, "add_provider": False}
        assert {asks.get(point.name, case.first_shows) for point in case.points} == {case.first_shows}
        held = [(point.side, point.actor) for point in case.points if point.actor != "session"]
        assert len(held) == len(set(held)), "one actor can be held once"
