"""The other side vanishes before and after every message: killed, stopped, or without its cable.

A sample that has every moment in every manner, for ever or for ten seconds; run.py runs them all.
"""

from pathlib import Path

import pytest
import trio

from spacedrive_node.tests.harness.faults.cable_network import Network, opened
from spacedrive_node.tests.harness.faults.failure_points import HOWS, MOMENTS, Case, How, every_case, sample
from spacedrive_node.tests.harness.faults.vanishing_device import Figures, run_case

SEED = 7
TOGETHER = 5


async def run_all(cases: list[Case], folder: Path, network: Network, at_once: int) -> Figures:
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
@pytest.mark.parametrize("how", HOWS)
async def test_the_other_side_vanishes(tmp_path: Path, how: How) -> None:
    """Each moment once: both sides end as documented, agree at the next contact, and can pair again."""
    async with opened() as network:
        figures = await run_all(sample(SEED, how, TOGETHER), tmp_path, network, at_once=4)
    assert figures.pairings == len(MOMENTS)


@pytest.mark.timeout(300)
async def test_a_cable_without_namespaces(tmp_path: Path) -> None:
    """Where no network can be made, a relay on loopback that goes silent takes its place."""
    cases = [case for case in every_case(SEED, TOGETHER) if (case.how, case.long) == ("cable", "ten")]
    async with trio.open_nursery() as nursery:
        await run_all(cases[:1], tmp_path, Network("a relay that goes silent", nursery), at_once=1)
        nursery.cancel_scope.cancel()


def test_every_moment_is_in_every_case() -> None:
    """The whole matrix has each with each victim, manner and length; a sample has each in its manner."""
    whole = [(c.victim, c.how, c.long, moment) for c in every_case(SEED, 4) for moment in c.moments]
    assert len(whole) == len(set(whole)) == 2 * 3 * 2 * len(MOMENTS)
    for how in HOWS:
        assert sorted(str(m) for c in sample(SEED, how, TOGETHER) for m in c.moments) == sorted(
            map(str, MOMENTS)
        )
    for case in [*every_case(SEED, 4), *sample(SEED, "stop", TOGETHER)]:
        held = [(moment.side, moment.actor) for moment in case.moments if moment.actor != "session"]
        assert len(held) == len(set(held)), "one actor can be held once"
