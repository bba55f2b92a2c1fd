"""What an actor that was taken over says to its supervisor costs the node nothing but that actor."""

import random

import msgspec
import pytest
import trio

from spacedrive_node.messages import to_gateway, to_session
from spacedrive_node.supervisor.log_budget import LogBudget
from spacedrive_node.supervisor.standing_messages import (
    MAX_BYTES_PER_SENDER,
    MAX_BYTES_PER_SESSION,
    Envelope,
    StandingMessages,
)
from spacedrive_node.tests.harness.tiny_actors import TinyConfig
from spacedrive_node.tests.harness.tiny_node import OWN_IDENTITY, node, session_name, spec

SECOND = f"{2:016x}"


class BrokenLog(list):
    """A log whose every line fails, as one with a field named `self` did."""

    def append(self, line):
        raise TypeError("multiple values for argument 'self'")


async def misbehave(gateway, how):
    await gateway.send(to_session.JoinPairing(f"{1:016x}", bytes(16), *OWN_IDENTITY, timeout=float(how)))


async def the_node_works(gateway):
    await gateway.open_session(2)
    await gateway.send(to_session.Decide(True), to=session_name(2))
    await gateway.view(session=SECOND, message="signed 1")


async def test_a_field_may_have_any_name_and_a_line_may_fail():
    """The supervisor goes on, and so does the session, whose line is nothing but a line."""
    async with node(session="rogue") as gateway:
        await misbehave(gateway, 1)
        await gateway.view()
        assert [set(line[3]) for line in gateway.unusual] == [{"self", "event", "method_name", "level"}]
        gateway.logs = BrokenLog()
        await misbehave(gateway, 1)
        await gateway.view()
        await the_node_works(gateway)
    assert gateway.failure is None


@pytest.mark.parametrize("how", [2, 3])
async def test_a_field_that_no_actor_writes_kills_its_sender(how):
    """A name with other letters, a text beyond all length."""
    async with node(session="rogue") as gateway:
        await misbehave(gateway, how)
        ended = await gateway.next(to_gateway.SessionEnded)
        assert ended.outcome == "crashed"
        assert {line[2] for line in gateway.unusual} == {"malformed frame", "restarting", "given up"}
        await the_node_works(gateway)


async def test_the_log_has_a_budget_of_bytes():
    """Some 700 kilobytes are sent; what is over the budget is dropped, and counted when lines flow."""
    async with node(session="rogue") as gateway:
        await misbehave(gateway, 4)
        await gateway.view()
        written = sum(len(ascii(line[2:])) for line in gateway.logs)
        assert 0 < written < 128 * 1024
        await the_node_works(gateway)


def test_the_log_budget():
    budget, fields = LogBudget(), {"text": "x" * 1000}
    allowed = sum(budget.allow("event", fields, now=100.0) for _ in range(1000))
    assert 40 < allowed < 66
    assert budget.take_dropped() == 1000 - allowed
    day = sum(budget.allow("event", fields, now=100.0 + second) for second in range(86400) for _ in range(3))
    assert day * 1000 < 90 * 1024 * 1024
    assert budget.allow("short", {}, now=1e6)
    assert sum(budget.allow("short", {}, now=2e6) for _ in range(1000)) == 200
    escaped = sum(budget.allow("e", {"text": "\x00" * 1000}, now=3e6) for _ in range(100))
    assert escaped * 4000 < 66 * 1024


async def test_fatal_of_a_session_is_a_crash_of_that_session():
    async with node(session="rogue") as gateway:
        await misbehave(gateway, 5)
        with trio.fail_after(30):
            while not [line for line in gateway.logs if line[2] == "restarting"]:
                await trio.lowlevel.checkpoint()
        assert gateway.unusual[0][2:] == ("cannot go on", {"why": "the end of the node"})
        await the_node_works(gateway)
    assert gateway.failure is None


async def test_fatal_counts_only_before_an_actor_works():
    """The swarm has announced that it is ready; what it says then restarts it like a crash."""
    async with node(singletons=[spec("swarm", "late_fatal", TinyConfig())]) as gateway:
        with trio.fail_after(30):
            while not [line for line in gateway.logs if line[2] == "restarting"]:
                await trio.lowlevel.checkpoint()
        assert not gateway.over.is_set()
    assert gateway.failure is None


def envelope(sender, size, kind="Serve"):
    return Envelope(sender, 1, kind, bytes(16), msgspec.Raw(bytes(size)))


@pytest.mark.parametrize(
    ("sender", "limit"), [("swarm", MAX_BYTES_PER_SENDER), ("session-" + "1" * 16, MAX_BYTES_PER_SESSION)]
)
def test_standing_messages_have_a_budget_of_bytes(sender, limit):
    """Of each sender, whatever it replaces and withdraws; what is over it is refused and changes nothing."""
    standing, dice = StandingMessages(), random.Random(7)
    refused = 0
    for _ in range(2000):
        slot, to = bytes([dice.randrange(6)]), dice.choice(["gateway", "swarm"])
        if dice.random() < 0.1:
            standing.withdraw(to, sender, "Serve", slot)
            continue
        sent = envelope(sender, dice.randrange(limit // 3))
        kept = standing.keep(to, slot, sent)
        held = [*standing.for_receiver("gateway"), *standing.for_receiver("swarm")]
        assert (sent in held) == kept
        assert sum(each.size for each in held) <= limit
        refused += not kept
    assert refused
    standing.end_session(sender, "supervisor", b"", keep_retained=False)
    assert standing.keep("gateway", b"", envelope(sender, limit - 128))
