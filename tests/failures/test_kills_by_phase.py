"""Actors killed at every phase of a session, and one every second, on either side: both are paired, once.

tests/node/test_kills.py kills the session and the vault at every input and every step, and tests/chaos kills
at random (`--mode steady`: one every second); here each kill has its phase, or its second.
"""

import random
import signal
from itertools import product, zip_longest
from pathlib import Path

import pytest
import trio

from spacedrive_node.tests.harness.faults.fault_injector import DEADLINE, FaultInjector, open_injected_pair
from spacedrive_node.tests.harness.transports import EACH, over_each_transport, sample

pytestmark = pytest.mark.timeout(600)
ACTORS = ("session", "vault", "swarm", "discovery", "gateway", "metrics", "zygote")
KILLED = [one for one in sample(ACTORS, {"swarm"}) if one[1] != "webrtc" or list(EACH) == ["webrtc"]]
"""Over WebRTC each kill of a swarm waits for time-outs of SCTP, two minutes in all: TEST_TRANSPORT=webrtc."""
EVERY = 1.0


def phases(host: FaultInjector) -> set[str]:
    """Return those that sessions have come to; nothing of one that has ended can be lost."""
    return {name for _, event, name in host.sightings if event == "is"} - {"ENDED"}


@pytest.mark.parametrize(("actor", "transport"), KILLED, indirect=["transport"])
async def test_an_actor_is_killed_at_every_phase(tmp_path: Path, actor: str, transport: str) -> None:
    """The phases are those of undisturbed pairings, in which either side accepts first; then one kill on each
    side of a pairing, each at a phase of its own.
    """
    async with open_injected_pair(tmp_path) as pair:
        done: tuple[set[str], set[str]] = (set(), set())
        for first in (0, 1):
            await pair.pair(first)
            there = [sorted(phases(host) - before) for host, before in zip(pair.hosts, done, strict=True)]
            for both in zip_longest(*there):
                for host, phase in zip(pair.hosts, both, strict=True):
                    host.inject(actor, signal.SIGKILL, phase)
                await pair.pair(first)
                assert [bool(host.injected) for host in pair.hosts] == [phase is not None for phase in both]
            for before, these in zip(done, there, strict=True):
                before.update(these)
        assert [len(side) for side in done] == [9, 12]


@over_each_transport
async def test_a_kill_every_second_throughout(tmp_path: Path) -> None:
    """One dies every second until each actor of either side has had its turn; meanwhile three pairings run.

    They begin with the kills, their users accept in the midst of them, and they are completed.
    """
    turns = random.Random(5).sample([*product((0, 1), ACTORS)], 2 * len(ACTORS))
    halfway = trio.Event()
    async with open_injected_pair(tmp_path) as pair:

        async def one() -> None:
            pairings = await pair.begin()
            for pairing in pairings:
                await pairing.confirmation()
            await halfway.wait()
            for pairing in pairings:
                await pairing.accept()
            prints = {(await pairing.paired()).fingerprint for pairing in pairings}
            assert len(prints) == 1

        with trio.fail_after(DEADLINE + len(turns) * EVERY):
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(one)
                for number, (side, actor) in enumerate(turns):
                    await trio.sleep(EVERY)  # this is the failure, not a wait for anything
                    if number == len(turns) // 2:
                        halfway.set()
                    pair.hosts[side].kill(actor)
            (mine,), (theirs,) = [await node.client.devices() for node in pair.nodes]
            assert (mine.state, theirs.state) == ("paired", "paired")
            assert mine.fingerprint == theirs.fingerprint
        await pair.pair(0)
