"""One pairing of two whole nodes whose users act in a fixed order, with everything that passed recorded.

The order: the code is announced; it is entered; both users see the other device; the initiator accepts; after
the other device has acknowledged that, the joiner accepts. So each message has one cause, however busy the
machine is.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import trio

from spacedrive_node.actors.discovery.bootstrap import SERVER_KNOWN
from spacedrive_node.benchmarks.frame_recorder import Passed, Recorder
from spacedrive_node.messages.child_protocol import Deliver
from spacedrive_node.tests.harness.nodes import running_node

DEADLINE = 60.0
TRIES = 4


@dataclass
class WaitingRecorder(Recorder):
    """A recorder that can wait for a message."""

    _more: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot)

    def record(self, handle: Any, what: Any) -> None:
        super().record(handle, what)
        self._more.unpark_all()

    async def wait_for(self, holds: Callable[[Passed], bool]) -> None:
        """Wait until a message for which `holds` is true has passed."""
        with trio.fail_after(DEADLINE):
            while not any(holds(message) for message in self.passed()):
                await self._more.park()

    async def wait_until_idle(self) -> None:
        """Wait until the node knows the other as DHT server, and has checked this once more.

        After a check that it began when it knew the server, the next one is a minute later
        (discovery/bootstrap.py). An answer after the server has come may be to a question from before.
        """
        with trio.fail_after(DEADLINE):
            while not self._has_checked_again():
                await self._more.park()

    def _has_checked_again(self) -> bool:
        """Whether there was an answer to a question for servers that was asked when one was known."""
        knows, asked = False, set()
        for _at, handle, what in self._raw:
            if handle.name != "discovery":
                continue
            for one in (what,) if isinstance(what, Deliver) else what.out:
                body = msgspec.msgpack.decode(one.body)
                if one.kind == "Readiness":
                    knows = body["detail"] == SERVER_KNOWN
                elif one.kind == "ClosestServers" and knows:
                    asked.add(body["request"])
                elif one.kind == "Servers" and body["request"] in asked:
                    return True
        return False

    async def wait_until_announced(self) -> None:
        """Wait until a DHT server has acknowledged that it stores the code."""
        await self.wait_for(lambda m: m.op == "add_provider")
        request = next(m.request for m in self.passed() if m.op == "add_provider")
        await self.wait_for(lambda m: m.kind == "KadReply" and m.request == request)

    def on_log(self, actor: str, level: str, event: str, fields: Mapping[str, object]) -> None:
        """Ignore log lines."""


@dataclass(frozen=True, repr=False)
class Side:
    """What passed one node's supervisor during the pairing, and the processes that it started."""

    passed: list[Passed]
    spawned: list[str]

    def delivered(self) -> Counter[str]:
        """Return how often each kind of message was delivered. Repeats of the same frame count once.

        A frame is repeated when its answer takes long, which depends on the machine.
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

    def wire_frames(self) -> dict[str, Passed]:
        """Return the frames of the pairing protocol that this node's actors sent, by their hash."""
        sent = ("Ask", "PeerReply")
        return {m.carries: m for m in self.passed if m.direction == "out" and m.kind in sent}

    def largest_checkpoint(self, kind: str) -> int:
        """Return the size in bytes of the largest checkpoint of one kind of actor."""
        steps = (m for m in self.passed if m.direction == "step" and m.actor.partition("-")[0] == kind)
        return max(step.size for step in steps)


@dataclass(frozen=True, repr=False)
class OnePairing:
    """What passed on both sides of one pairing."""

    initiator: Side
    joiner: Side


def one_pairing(folder: Path) -> OnePairing:
    """Run two nodes, pair them once, and return what passed.

    On a machine so busy that a DHT server does not answer for seconds, a node repeats its request. Then the
    counts mean nothing, and the pairing is run again.
    """
    for number in range(TRIES):
        own = folder / str(number)
        own.mkdir()
        pairing = trio.run(_run, own)
        if not any(side.delivered()["KadFailed"] for side in (pairing.initiator, pairing.joiner)):
            break
    return pairing


async def _run(folder: Path) -> OnePairing:
    a_counts, b_counts = WaitingRecorder(), WaitingRecorder()
    async with (
        running_node(folder, "anna", spawner=a_counts) as a,
        running_node(folder, "bruno", spawner=b_counts, bootstrap=(a.bootstrap,)) as b,
    ):
        for counts in (a_counts, b_counts):
            await counts.wait_until_idle()
            counts.clear()
        await _pair(a, b, a_counts)
        return OnePairing(
            *(
                Side(counts.passed(), [kind for kind, _pid in counts.spawned])
                for counts in (a_counts, b_counts)
            )
        )


async def _pair(a: Any, b: Any, a_counts: WaitingRecorder) -> None:
    with trio.fail_after(DEADLINE):
        showing = await a.client.start_pairing()
        await a_counts.wait_until_announced()
        joining = await b.client.join_pairing(" ".join(showing.code.words), timeout=DEADLINE)
        await showing.confirmation()
        await joining.confirmation()
        await showing.accept()
        await a_counts.wait_for(lambda m: m.kind == "PeerAnswer" and m.wire == "DecisionReceived")
        await joining.accept()
        await showing.paired()
        await joining.paired()
