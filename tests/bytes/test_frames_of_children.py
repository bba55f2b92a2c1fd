"""Frames that a child which has been taken over writes: they cost it its life and nobody else anything."""

import itertools
import random

import msgspec
import pytest
import trio

from spacedrive_node.messages import to_gateway, to_session
from spacedrive_node.messages.base import INTERNAL_LIMIT, MalformedMessageError, encode, frame
from spacedrive_node.messages.child_protocol import (
    Fatal,
    Log,
    Outgoing,
    Pong,
    Ready,
    Start,
    Step,
    decode_from_child,
)
from spacedrive_node.supervisor.child_specs import ChildSpec
from spacedrive_node.supervisor.ledger import MAX_BODY_BYTES, MAX_CHECKPOINT_BYTES, Ledger
from spacedrive_node.supervisor.ledger_effects import Forward
from spacedrive_node.tests.harness import hostile_frames_actor
from spacedrive_node.tests.harness import tiny_node as harness
from spacedrive_node.tests.harness.hostile_bytes import case_count, hostile_samples
from spacedrive_node.tests.harness.hostile_frames_actor import KINDS
from spacedrive_node.tests.harness.tiny_actors import TinyConfig

A = harness.session_name()
NIL = msgspec.Raw(b"\xc0")
ACCEPT = to_session.Decide(True)


def samples() -> list[bytes]:
    def out(to: str, kind: str, body: bytes = b"\xc0") -> Outgoing:
        return Outgoing(to=to, kind=kind, id=b"i" * 16, body=msgspec.Raw(body), slot=b"s")

    steps = [
        Step(input=2, out=(out("gateway", "SessionView"),), checkpoint=b"c", end=None),
        Step(input=0, out=(out("swarm", "Serve"), out("discovery", "Find"), out("vault", "SignIdentity"))),
        Step(input=2, end="paired"),
        Step(input=0, out=(out(A, "PeerRequest"), out("session-00000000000000bb", "StartPairing"))),
    ]
    return [encode(m) for m in (*steps, Log("info", "x", {"a": 1}), Pong(), Ready(), Fatal("x"))]


def books() -> Ledger:
    numbers = itertools.count()
    ledger = Ledger(max_sessions=2, new_id=lambda: next(numbers).to_bytes(16, "big"))
    for name in ("vault", "swarm", "discovery", "gateway", "metrics"):
        ledger.add_actor(name, stepping=name in ("vault", "metrics"))
        ledger.begin_incarnation(name, NIL)
        ledger.mark_ready(name)
    ledger.apply_step("gateway", Step(0, (Outgoing(A, "StartPairing", b"i" * 16, NIL),)))
    ledger.begin_incarnation(A, NIL)
    ledger.mark_ready(A)
    ledger.apply_step(A, Step(1))
    ledger.apply_step("gateway", Step(0, (Outgoing(A, "Decide", b"i" * 16, NIL),)))
    return ledger


def test_any_step_is_applied_or_kills_its_sender() -> None:
    """Mutated frames from every kind of actor: the books stay sound, and what is delivered fits a frame."""
    rng = random.Random(11)
    ledger = books()
    for turn, data in enumerate(hostile_samples(11, case_count(4000), samples())):
        if turn % 20 == 0:
            ledger = books()
        try:
            message = decode_from_child(data)
        except MalformedMessageError:
            continue
        if isinstance(message, Step):
            sender = rng.choice((A, A, "vault", "swarm", "discovery", "gateway", "metrics"))
            for effect in ledger.apply_step(sender, message):
                if isinstance(effect, Forward):
                    frame(encode(effect.frame), INTERNAL_LIMIT)


def test_the_largest_body_and_checkpoint_fit_the_frames_that_carry_them_on() -> None:
    """What just passes from a child can be delivered and started from; the supervisor meets no limit."""
    ledger = books()
    body = b"\xc6" + (MAX_BODY_BYTES - 5).to_bytes(4, "big") + bytes(MAX_BODY_BYTES - 5)
    step = Step(0, (Outgoing("swarm", "Ask", b"i" * 16, msgspec.Raw(body), slot=b"s" * 80),))
    frame(encode(step), INTERNAL_LIMIT)
    effects = [effect for effect in ledger.apply_step(A, step) if isinstance(effect, Forward)]
    assert effects
    for effect in effects:
        frame(encode(effect.frame), INTERNAL_LIMIT)
    ledger.apply_step(A, Step(0, checkpoint=bytes(MAX_CHECKPOINT_BYTES)))
    ledger.mark_down(A)
    start = ledger.begin_incarnation(A, msgspec.Raw(b"\xc6" + (60_000).to_bytes(4, "big") + bytes(60_000)))
    assert isinstance(start, Start)
    assert start.checkpoint is not None
    frame(encode(start), INTERNAL_LIMIT)


def test_a_child_that_says_ready_again_and_again_gets_nothing_twice() -> None:
    """Each Ready would otherwise queue the whole inbox once more, for a child that need not read."""
    ledger = books()
    assert [effect for _ in range(10) for effect in ledger.mark_ready(A)] == []


@pytest.mark.parametrize("kind", KINDS)
async def test_a_child_that_writes_garbage_dies_alone(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real processes: whatever one session writes, it ends as crashed, and the others go on."""
    made = harness.spec

    def spec(name: str, entry: str, config: msgspec.Struct | None = None, **options: object) -> ChildSpec:
        if name != "session":
            return made(name, entry, config, **options)
        return ChildSpec(name, f"{hostile_frames_actor.__name__}:hostile_frames", TinyConfig(kind), **options)

    monkeypatch.setattr(harness, "spec", spec)
    async with harness.node() as gateway:
        await gateway.open_session(1)
        await gateway.open_session(2)
        pids = {name: row.pid for name, row in (await gateway.actors()).items()}
        await gateway.send(ACCEPT, to=harness.session_name(2))
        with trio.fail_after(30):
            ended = await gateway.next(to_gateway.SessionEnded)
        assert (ended.session, ended.outcome) == (f"{2:016x}", "crashed")
        await gateway.send(to_session.JoinPairing(f"{1:016x}", bytes(16), *harness.OWN_IDENTITY, timeout=0.0))
        await gateway.view(session=f"{1:016x}", message="signed 0")
        after = {name: row.pid for name, row in (await gateway.actors()).items()}
        del pids[harness.session_name(2)]
        assert after == pids
