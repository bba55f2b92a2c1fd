"""Both session machines with an adversary between them that has every frame and not the words.

It drops, holds back, repeats, changes and invents frames, as questions and as answers. The connection would
not let it; what is shown is that the pairing does not lean on that. Seeds are hypothesis's.
"""

import os
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spacedrive_node.messages.base import MalformedMessageError, encode
from spacedrive_node.messages.peer_protocol import (
    Challenge,
    ChallengeConfirmation,
    ChallengeResponse,
    DecisionReceived,
    PairingDecision,
    PairingRequest,
    Refused,
    decode_wire,
)
from spacedrive_node.tests.harness.hostile_bytes import mutate
from spacedrive_node.tests.harness.safety_properties import check
from spacedrive_node.tests.harness.session_simulation import Node, Pair, pair
from spacedrive_node.tests.harness.simulated_vault_and_swarm import Ask, SimulatedSwarm, SimulatedVault

EXAMPLES = int(os.environ.get("FUZZ", "0")) // 50 or 60
REQUESTS = PairingRequest | ChallengeResponse | PairingDecision
RESPONSES = Challenge | ChallengeConfirmation | DecisionReceived | Refused


class Adversary:
    """What it has seen, and what it does next."""

    def __init__(self, seed: int, until: float, answers: bool, power: float = 0.5) -> None:
        self.dice = random.Random(seed)
        self.until = until
        self.answers = answers
        """Whether it also changes answers; a wrong answer is a candidate's end, by the rules."""
        self.power = power
        self.seen: list[bytes] = []
        self.acts = 0

    def acts_now(self, now: float) -> bool:
        acts = now < self.until and self.dice.random() < self.power
        self.acts += acts
        return acts

    def forge(self, frame: bytes, answer: bool) -> bytes:
        """Return some other frame: changed, recorded, spliced field by field, or a refusal."""
        how = self.dice.randrange(4)
        if how == 0:
            return mutate(self.dice, frame, self.seen)
        if how == 1:
            return self.dice.choice(self.seen)
        message = decode_wire(frame)
        if how == 2 and answer:
            reason = self.dice.choice(["unavailable", "busy", "protocol", "closed"])
            return encode(Refused(message.code_id, message.attempt, reason))
        return self.change_field(message)

    def change_field(self, message: Any) -> bytes:
        """Return the frame with one field changed, in canonical form still; maybe that of another frame."""
        name = self.dice.choice([f for f in message.__struct_fields__ if f not in ("v", "reason")])
        value = bytearray(getattr(message, name))
        donors = [m for m in map(decode_wire, self.seen) if len(getattr(m, name, b"")) == len(value)]
        if donors and self.dice.random() < 0.5:
            value = bytearray(getattr(self.dice.choice(donors), name))
        else:
            value[self.dice.randrange(len(value))] ^= 1 << self.dice.randrange(8)
        fields = {f: getattr(message, f) for f in message.__struct_fields__}
        return encode(type(message)(**{**fields, name: bytes(value)}))


def readable(frame: bytes, kinds: Any) -> bool:
    """Whether a swarm hands this frame on."""
    try:
        return isinstance(decode_wire(frame), kinds)
    except MalformedMessageError:
        return False


class Wire(SimulatedSwarm):
    """A swarm whose every frame passes the adversary."""

    adversary: Adversary

    def _arrive(self, target: Node, ask: Ask) -> None:
        foe, frame = self.adversary, ask.message.frame
        foe.seen.append(frame)
        if not foe.acts_now(self.simulation.now):
            super()._arrive(target, ask)
            return
        match foe.dice.randrange(6):
            case 0:  # lost, and nobody says so
                return
            case 1:  # twice, the second much later
                super()._arrive(target, ask)
                self.simulation.schedule(
                    foe.dice.random() * 3, lambda: target.swarm.arrive(self.node.peer, frame, _ignore)
                )
            case 2:  # held back
                self.simulation.schedule(
                    foe.dice.random() * 3, lambda: super(Wire, self)._arrive(target, ask)
                )
            case 3:  # another in its place
                reply = (lambda answer: self._answered(ask, answer)) if foe.answers else _ignore
                self._inject(target, foe.forge(frame, False), reply)
            case 4:  # another before it
                self._inject(target, foe.forge(frame, False), _ignore)
                super()._arrive(target, ask)
            case _:  # back to where it came from
                super()._arrive(target, ask)
                self.arrive(target.peer, foe.dice.choice([frame, *self._questions()]), _ignore)

    def _questions(self) -> list[bytes]:
        return [frame for frame in self.adversary.seen if readable(frame, REQUESTS)]

    def _inject(self, target: Node, frame: bytes, reply: Callable[[bytes], None]) -> None:
        if readable(frame, REQUESTS):
            target.swarm.arrive(self.node.peer, frame, reply)

    def _answered(self, ask: Ask, frame: bytes) -> None:
        foe = self.adversary
        foe.seen.append(frame)
        if foe.acts_now(self.simulation.now):
            if not foe.answers or foe.dice.random() < 0.4:
                return  # lost
            frame = foe.forge(frame, True)
            if not readable(frame, RESPONSES):
                self._unreachable(ask, "protocol")
                return
        super()._answered(ask, frame)


class StrictVault(SimulatedVault):
    """Answering from the store alone makes nothing `paired` (docs/protocol.md, "Settling")."""

    def settle(self, peer: bytes, frame: bytes) -> bytes | None:
        record = self.records.get(peer)
        return record.store.reply if record is not None and record.store.peer_decision == frame else None


def _ignore(_answer: bytes) -> None:
    return


def between(seed: int, **adversary: Any) -> Pair:
    """Two nodes and the adversary between them."""
    two = pair(seed)
    foe = Adversary(seed, **adversary)
    for node in two.nodes:
        node.vault = StrictVault(node)
        node.swarm = Wire(node)
        node.swarm.adversary = foe
    return two


def check_secrets(two: Pair) -> None:
    """What both keep of each other, in any state, is one secret between the right two."""
    here, there = two.nodes
    ours, theirs = here.vault.records.get(there.peer), there.vault.records.get(here.peer)
    for node, other in ((here, there), (there, here)):
        assert set(node.vault.records) <= {other.peer}, "a device that nobody has"
    if ours is not None and theirs is not None:
        assert ours.store.secret == theirs.store.secret
        assert ours.store.th3 == theirs.store.th3
        assert ours.store.role != theirs.store.role


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32),
    until=st.sampled_from([1002.0, 1030.0, 2000.0]),
    power=st.sampled_from([0.1, 0.3, 0.8]),
    choices=st.tuples(*[st.sampled_from([True, True, True, False, None])] * 2),
    delays=st.tuples(*[st.sampled_from([0.0, 0.5, 20.0])] * 2),
)
def test_never_paired_with_nothing_or_another_secret(
    seed: int,
    until: float,
    power: float,
    choices: tuple[bool | None, bool | None],
    delays: tuple[float, float],
) -> None:
    """Whatever it does, for as long as it likes: the properties of the ending hold, and secrets are equal."""
    two = between(seed, until=until, answers=True, power=power)
    for node, choice, delay in zip(two.nodes, choices, delays, strict=True):
        node.decide_by = lambda _confirmation, choice=choice: choice
        node.decide_delay = delay
    two.begin()
    two.run(1000.0)
    check_secrets(two)
    check(two)
    check_secrets(two)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), seconds=st.sampled_from([0.5, 2.0, 4.0]))
def test_when_the_adversary_stops_the_pairing_completes(seed: int, seconds: float) -> None:
    """Changed and invented questions, lost answers: no counter, no lock, nothing that stays behind."""
    two = between(seed, until=1000.0 + seconds, answers=False)
    two.begin()
    two.run(1000.0)
    assert two.outcomes == ("paired", "paired")
    assert two.stored() == ("paired", "paired")
    check_secrets(two)


@pytest.mark.parametrize("answers", [False, True])
def test_the_adversary_is_no_strawman(answers: bool) -> None:
    """Over a few runs it has acted hundreds of times, and some pairings fail because of it, others not."""
    outcomes, acts = set(), 0
    for seed in range(60):
        two = between(seed, until=2000.0, answers=answers, power=0.3)
        two.begin()
        two.run(1000.0)
        outcomes.add(two.outcomes)
        acts += two.initiator.swarm.adversary.acts
    assert acts > 200
    assert ("paired", "paired") in outcomes
    assert len(outcomes) > 1 or not answers
