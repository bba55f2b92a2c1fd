"""Kills at every step of either side, a lossy network, restarts of the swarm: paired all the same, once."""

import pytest

from spacedrive_node.tests.harness.session_simulation import Faults, Pair, pair


def ends_paired_once(two: Pair) -> None:
    """Check that both ended paired, stored once, on one secret."""
    assert two.outcomes == ("paired", "paired")
    assert two.stored() == ("paired", "paired")
    assert [node.vault.stores for node in two.nodes] == [1, 1]
    assert [len(node.ends) for node in two.nodes] == [1, 1]
    fingerprints = {node.view.fingerprint for node in two.nodes}
    assert len(fingerprints) == 1
    assert None not in fingerprints


def steps_of_a_plain_run(seed: int) -> tuple[int, int]:
    two = pair(seed)
    two.begin()
    two.run()
    ends_paired_once(two)
    return two.initiator.steps, two.joiner.steps


def test_kill_at_every_step_of_either_side() -> None:
    """Whatever step is cut off, it is done again from the last checkpoint, and nobody notices."""
    steps = steps_of_a_plain_run(1)
    for side in (0, 1):
        for step in range(1, steps[side] + 1):
            two = pair(1)
            two.nodes[side].crash_at = {step}
            two.begin()
            two.run()
            ends_paired_once(two)


@pytest.mark.parametrize("seed", range(5))
def test_kill_after_and_at_every_step_of_both(seed: int) -> None:
    """Both sides live from one checkpoint to the next, and every step is cut off once."""
    two = pair(seed, Faults(loss=0.2, duplicate=0.3, delay=0.3))
    for node in two.nodes:
        node.rebuild_always = True
        node.crash_at = set(range(1, 10_000))
    two.begin()
    two.run()
    ends_paired_once(two)


def test_swarm_restart_after_every_step_of_either_side() -> None:
    """A swarm that loses all that was under way delays a pairing and does nothing else to it."""
    steps = steps_of_a_plain_run(2)
    for side in (0, 1):
        for step in range(2, steps[side]):
            two = pair(2)
            two.nodes[side].swarm_crash_at = {step}
            two.begin()
            two.run()
            ends_paired_once(two)


@pytest.mark.parametrize("seed", range(40))
def test_loss_duplication_and_reordering(seed: int) -> None:
    """One in three frames lost in each direction, many doubled, late and overtaking."""
    two = pair(seed, Faults(loss=0.33, duplicate=0.4, delay=0.5))
    two.begin()
    two.run()
    ends_paired_once(two)
