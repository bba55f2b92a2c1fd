"""One pairing of two whole nodes whose users act in a fixed order, and everything that passed meanwhile.

The order: the code is announced; it is entered; both see the other device; the one who shows it accepts; once
the other device has acknowledged that, the one who joins accepts. So each message has one cause, whatever the
machine is busy with.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from spacedrive_node.benchmarks.recorder import Passed, Recorder
from spacedrive_node.tests.harness.nodes import running_node

DEADLINE = 60.0
TRIES = 4


@dataclass
class Counting(Recorder):
    """A recorder that says when something passes."""

    _more: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot)

    def note(self, handle: Any, what: Any) -> None:
        super().note(handle, what)
        self._more.unpark_all()

    async def until(self, holds: Callable[[Passed], bool]) -> None:
        """Wait until such a message has passed."""
        with trio.fail_after(DEADLINE):
            while not any(holds(message) for message in self.passed()):
                await self._more.park()

    async def at_rest(self) -> None:
        """Wait until the node knows the other as DHT server, and has looked once more whether it does.

        After that it looks again in a minute only (discovery/bootstrap.py).
        """
        await self.until(lambda m: m.kind == "ServerJoined")
        joined = next(m.at for m in self.passed() if m.kind == "ServerJoined")
        await self.until(lambda m: m.kind == "Servers" and m.at > joined)

    async def announced(self) -> None:
        """Wait until a DHT server has answered that it keeps the code."""
        await self.until(lambda m: m.op == "add_provider")
        request = next(m.request for m in self.passed() if m.op == "add_provider")
        await self.until(lambda m: m.kind == "KadReply" and m.request == request)

    def on_log(self, actor: str, level: str, event: str, fields: Mapping[str, object]) -> None:
        """As the harness wants it."""


@dataclass(frozen=True, repr=False)
class Side:
    """What passed one node's supervisor during the pairing, and the processes that were made."""

    passed: list[Passed]
    spawned: list[str]

    def delivered(self) -> Counter[str]:
        """How often each kind of message was given to an actor; of what carries a frame, each frame once.

        A frame is sent again when the answer takes long: how often that is depends on the machine.
        """
        seen: set[tuple[str, str]] = set()
        found: Counter[str] = Counter()
        for message in self.passed:
            if message.direction != "in" or (message.kind, message.carries) in seen:
                continue
            if message.carries:
                seen.add((message.kind, message.carries))
            found[message.kind] += 1
        return found

    def wires(self) -> dict[str, Passed]:
        """Each frame of the pairing protocol that this node's actors sent, by its hash."""
        sent = ("Ask", "PeerReply")
        return {m.carries: m for m in self.passed if m.direction == "out" and m.kind in sent}

    def largest_checkpoint(self, kind: str) -> int:
        """The largest checkpoint of any step of that kind of actor, in bytes."""
        steps = (m for m in self.passed if m.direction == "step" and m.actor.partition("-")[0] == kind)
        return max(step.size for step in steps)


@dataclass(frozen=True, repr=False)
class OnePairing:
    """Both sides of it."""

    initiator: Side
    joiner: Side


def one_pairing(folder: Path) -> OnePairing:
    """Run two nodes, have them pair once, and return what passed.

    A machine that is so busy that a DHT server does not answer for seconds makes a node ask again: then there
    is nothing to count, and it is done once more.
    """
    for number in range(TRIES):
        own = folder / str(number)
        own.mkdir()
        pairing = trio.run(_run, own)
        if not any(side.delivered()["KadFailed"] for side in (pairing.initiator, pairing.joiner)):
            break
    return pairing


async def _run(folder: Path) -> OnePairing:
    a_counts, b_counts = Counting(), Counting()
    async with (
        running_node(folder, "anna", spawner=a_counts) as a,
        running_node(folder, "bruno", spawner=b_counts, bootstrap=(a.bootstrap,)) as b,
    ):
        for counts in (a_counts, b_counts):
            await counts.at_rest()
            counts.clear()
        await _pair(a, b, a_counts)
        return OnePairing(
            *(
                Side(counts.passed(), [kind for kind, _pid in counts.spawned])
                for counts in (a_counts, b_counts)
            )
        )


async def _pair(a: Any, b: Any, a_counts: Counting) -> None:
    with trio.fail_after(DEADLINE):
        showing = await a.client.start_pairing()
        await a_counts.announced()
        joining = await b.client.join_pairing(" ".join(showing.code.words), timeout=DEADLINE)
        await showing.confirmation()
        await joining.confirmation()
        await showing.accept()
        await a_counts.until(lambda m: m.kind == "PeerAnswer" and m.wire == "DecisionReceived")
        await joining.accept()
        await showing.paired()
        await joining.paired()
