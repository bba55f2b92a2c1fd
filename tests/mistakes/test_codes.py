"""What people do wrong with words and questions, with real nodes: each has its own outcome and exit code."""

import dataclasses
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

import spacedrive_node.node
from spacedrive_node.messages.actor_configs import SessionConfig
from spacedrive_node.tests.harness.command_runner import UNUSED_WORDS, FinishedCommand, RunningCommand, run
from spacedrive_node.tests.harness.nodes import Node, pair, running_node, two_nodes


@dataclasses.dataclass
class Users:
    """Who types commands at some nodes."""

    folder: Path
    commands: list[RunningCommand] = dataclasses.field(default_factory=list)

    def at(self, node: Node, *arguments: str) -> RunningCommand:
        """Start a command at a node."""
        self.commands.append(
            RunningCommand(self.folder, *arguments, "--json", "--control", node.ready.control)
        )
        return self.commands[-1]

    async def joins(self, node: Node, words: str, *more: str, answer: str = "y") -> FinishedCommand:
        """Enter words at a node, and an answer."""
        command = self.at(node, "join", "-", "--timeout", "60", *more)
        command.answer(f"{words}\n{answer}")
        return await command.end()


@asynccontextmanager
async def users(folder: Path) -> AsyncIterator[Users]:
    """Have users; commands that still run end with the block."""
    some = Users(folder)
    try:
        yield some
    finally:
        for command in some.commands:
            command.close()


def shorten(monkeypatch: pytest.MonkeyPatch, **deadlines: float) -> None:
    """Have sessions wait for less long."""
    original = spacedrive_node.node.session_spec
    monkeypatch.setattr(
        spacedrive_node.node,
        "session_spec",
        lambda: dataclasses.replace(original(), config=SessionConfig(**deadlines)),
    )


async def devices(*nodes: Node) -> list[list[str]]:
    return [[device.name for device in await node.client.devices()] for node in nodes]


async def still_pair(a: Node, b: Node) -> None:
    """Whatever was done wrong before: the two can pair."""
    ends = await pair(a, b)
    assert ends.initiator.fingerprint == ends.joiner.fingerprint


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "No words"),
        ("abandon", "1"),
        ("abandom " + UNUSED_WORDS[8:], "abandom"),
        ("abandon " * 11 + "zoo", "do not fit together"),
        ("abandon " * 12 + "about", "13"),
        ("spacedrive-pair:nonsense", ""),
        ("\x1b[2J" + UNUSED_WORDS, ""),
    ],
)
@pytest.mark.parametrize("how", ["argument", "input", "json"])
def test_words_that_cannot_be_a_code(folder: Path, words: str, said: str, how: str) -> None:
    """Told at once, without a node: which word, or how many. Nothing of a terminal's commands comes back."""
    if how == "argument" and not words:
        done = run(folder, "join", "-")
    elif how == "argument":
        done = run(folder, "join", words)
    else:
        done = run(folder, "join", "-", *(["--json"] if how == "json" else []), stdin=words)
    done.expect_refusal(2, said)
    assert done.out == ""
    assert "\x1b" not in done.err


async def test_words_that_nobody_shows(folder: Path) -> None:
    """not_found after the time that was given, in both forms; no session is left."""
    async with running_node(folder, "anna") as a, users(folder) as people:
        done = await people.joins(a, UNUSED_WORDS, "--timeout", "1")
        done.expect_failure(3, "not_found", "Check the words", "try again")
        plain = await trio.to_thread.run_sync(
            lambda: run(folder, "join", UNUSED_WORDS, "--timeout", "1", "--control", a.ready.control)
        )
        plain.expect_refusal(3, "not paired (not found)", "Check the words")
        assert (await a.client.status()).sessions_active == 0


async def test_an_expired_and_a_cancelled_code(folder: Path) -> None:
    """Who shows it is told why it is over; who enters it later hears that too, if it was announced."""
    late_ends = {3: "not_found", 4: "expired"}
    async with two_nodes(folder, code_lifetime=1.0) as (a, b), users(folder) as people:
        showing = people.at(a, "pair")
        late = (await showing.event("code"))["words"]
        (await showing.end()).expect_failure(4, "expired", "Make a new code")
        end = await people.joins(b, late, "--timeout", "1")
        end.expect_failure(end.code, late_ends[end.code])
    async with two_nodes(folder) as (a, b), users(folder) as people:
        showing = people.at(a, "pair")
        words = (await showing.event("code"))["words"]
        showing.signal(signal.SIGINT)
        (await showing.end()).expect_failure(130, "cancelled")
        end = await people.joins(b, words, "--timeout", "1")
        end.expect_failure(end.code, late_ends[end.code])
        await still_pair(a, b)


async def test_a_code_that_another_device_has_used(folder: Path) -> None:
    """`expired`, while the first decides, who is not disturbed, and after it."""
    async with (
        two_nodes(folder) as (a, b),
        running_node(folder, "clara", bootstrap=(a.bootstrap,)) as c,
        users(folder) as people,
    ):
        showing = people.at(a, "pair")
        words = (await showing.event("code"))["words"]
        first = people.at(b, "join", "-")
        first.answer(words)
        await first.event("confirm")
        (await people.joins(c, words, "--timeout", "2")).expect_failure(4, "expired", "Make a new code")
        first.answer("y")
        showing.answer("y")
        assert (await first.end()).code == (await showing.end()).code == 0
        (await people.joins(c, words, "--timeout", "1")).expect_failure(4, "expired", "Make a new code")
        assert await devices(a, b, c) == [["bruno"], ["anna"], []]


@pytest.mark.parametrize("who", ["initiator", "joiner"])
async def test_a_user_rejects(folder: Path, who: str) -> None:
    """The own side says so, the other hears of it; neither stores anything, and both may begin again."""
    async with two_nodes(folder) as (a, b), users(folder) as people:
        showing = people.at(a, "pair")
        joining = people.at(b, "join", "-")
        joining.answer((await showing.event("code"))["words"])
        for command, side in ((showing, "initiator"), (joining, "joiner")):
            await command.event("confirm")
            command.answer("n" if side == who else "y")
        mine, theirs = (showing, joining) if who == "initiator" else (joining, showing)
        (await mine.end()).expect_failure(5, "rejected", "You rejected", "Nothing was stored")
        (await theirs.end()).expect_failure(5, "rejected", "did not accept", "Nothing was stored")
        assert await devices(a, b) == [[], []]
        await still_pair(a, b)


async def test_nobody_decides(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are asked and both stay silent: `expired` on both sides, and nothing is stored."""
    shorten(monkeypatch, deciding=2.0)
    async with two_nodes(folder) as (a, b), users(folder) as people:
        showing = people.at(a, "pair")
        joining = people.at(b, "join", "-")
        joining.answer((await showing.event("code"))["words"])
        ends = [await command.end() for command in (showing, joining)]
        assert {done.code for done in ends} <= {4, 5}
        assert 4 in {done.code for done in ends}
        assert all("start again" in done.events[-1]["message"].lower() for done in ends)
        assert await devices(a, b) == [[], []]


async def test_both_enter_each_others_code(folder: Path) -> None:
    """Two pairings of the same devices, one in each direction: both are complete, and one entry is left."""
    async with two_nodes(folder) as (a, b), users(folder) as people:
        shows = [people.at(node, "pair", "--yes") for node in (a, b)]
        words = [(await show.event("code"))["words"] for show in shows]
        enters = [people.at(node, "join", "-", "--yes") for node in (b, a)]
        for command, text in zip(enters, words, strict=True):
            command.answer(text)
        ends = [await command.end() for command in (*shows, *enters)]
        assert [done.code for done in ends] == [0, 0, 0, 0]
        assert await devices(a, b) == [["bruno"], ["anna"]]


async def test_a_node_does_not_pair_with_itself(folder: Path) -> None:
    """Told at once, not after a search; its code goes on being shown to others."""
    async with two_nodes(folder) as (a, b), users(folder) as people:
        showing = people.at(a, "pair", "--yes")
        words = (await showing.event("code"))["words"]
        (await people.joins(a, words)).expect_refusal(2, "this")
        assert (await people.joins(b, words)).code == 0
        assert (await showing.end()).code == 0
        assert await devices(a, b) == [["bruno"], ["anna"]]


async def test_no_room_for_another_pairing(folder: Path) -> None:
    """`busy`, with what to do; those that run go on."""
    async with running_node(folder, "anna", max_sessions=1) as a, users(folder) as people:
        showing = people.at(a, "pair")
        await showing.event("code")
        second = people.at(a, "pair")
        done: Any = await second.end()
        assert done.code == 6
        assert done.events[-1]["outcome"] == "busy"
        showing.signal(signal.SIGTERM)
        (await showing.end()).expect_failure(130, "cancelled")
        assert (await a.client.status()).sessions_active == 0
