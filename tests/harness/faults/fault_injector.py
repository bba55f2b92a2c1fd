"""A host that strikes an actor when a session of its node comes to a phase, or alters what it says."""

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from spacedrive_node.client.node_client import Pairing
from spacedrive_node.messages.child_protocol import Deliver, FromChild, Step
from spacedrive_node.supervisor.child_specs import ChildSpec
from spacedrive_node.supervisor.spawner import Handle
from spacedrive_node.tests.harness.faults.message_tap import Sight, Tap
from spacedrive_node.tests.harness.faults.tcp_relay import Relay
from spacedrive_node.tests.harness.faults.waiting import until
from spacedrive_node.tests.harness.nodes import Node, running_node
from spacedrive_node.tests.harness.secret_sweep import collector

DEADLINE = 120.0
EVENTS = {
    "restarting",
    "forbidden step",
    "mailbox full",
    "flooding another actor",
    "malformed message dropped",
}
"""What the supervisor says of an actor that it has had to do with."""
Alter = Callable[[str, Step], list[FromChild] | None]
"""Called with the name of an actor and its step: what the supervisor reads instead; None: the step itself."""


def as_it_is(_actor: str, _step: Step) -> None:
    return None


@dataclass
class Striking(Tap):
    """Knows the last process of each kind of actor, and strikes one of them at a sight."""

    alter: Alter = as_it_is
    last: dict[str, int] = field(default_factory=dict)
    struck: int = 0
    """The process that was struck; 0: none yet."""
    told: list[tuple[str, str, object]] = field(default_factory=list)
    seen: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot)

    async def spawn(self, spec: ChildSpec) -> Handle:
        handle = await super().spawn(spec)
        self.last[spec.kind] = handle.pid
        handle.channel = _Altered(handle.channel, handle, self)  # type: ignore[misc, assignment]
        return handle

    async def intercept(self, actor: str, message: Deliver | Step) -> None:
        await super().intercept(actor, message)
        self.seen.unpark_all()

    def on_log(self, actor: str, level: str, event: str, fields: Mapping[str, object]) -> None:
        if event in EVENTS:
            self.told.append((actor.partition("-")[0], event, fields.get("cause")))
            self.seen.unpark_all()

    async def until_told(self, *line: object) -> None:
        """Wait for a line of the log: kind of actor, event, cause."""
        assert await until(self.seen, lambda: line in self.told, DEADLINE), f"{line} is not in {self.told}"

    def kill(self, actor: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send that signal to the last process of that kind; return its pid, 0 when there is none."""
        pid = self.pid if actor == "zygote" else self.last[actor]
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return 0
        return pid

    def strike(self, actor: str, number: signal.Signals, phase: str | None) -> None:
        """Send that signal to that actor when a session comes to that phase, once."""
        self.struck = 0

        async def watch(sight: Sight) -> None:
            if not self.struck and (sight.event, sight.name) == ("is", phase):
                self.struck = self.kill(actor, number)

        self.phases.clear()
        self.watch: Callable[[Sight], Awaitable[None]] = watch

    async def heard(self, session: str) -> None:
        """Wait until the other side's answer to this side's decision has arrived."""

        def arrived() -> bool:
            return bool(self.sights[f"session-{session}", "gets", "DecisionReceived"])

        assert await until(self.seen, arrived, DEADLINE), "the other side never heard of the decision"


class _Altered:
    def __init__(self, inner: object, handle: Handle, host: Striking) -> None:
        self._inner, self._handle, self._host = inner, handle, host
        self._waiting: list[FromChild] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    async def receive(self) -> FromChild:
        while not self._waiting:
            message = await self._inner.receive()  # type: ignore[attr-defined]
            said = self._host.alter(self._handle.name, message) if isinstance(message, Step) else None  # type: ignore[attr-defined]
            self._waiting += [message] if said is None else said
        await trio.lowlevel.checkpoint()
        return self._waiting.pop(0)


@dataclass
class Two:
    """Two whole nodes, the second knows the first as its DHT server, and the hosts of their actors."""

    nodes: tuple[Node, Node]
    hosts: tuple[Striking, Striking]

    async def begin(self, search: float = DEADLINE) -> tuple[Pairing, Pairing]:
        """The first shows a code and the second enters it."""
        showing = await self.nodes[0].client.start_pairing()
        collector.add_code(" ".join(showing.code.words))
        return showing, await self.nodes[1].client.join_pairing(" ".join(showing.code.words), search)

    async def pair(self, first: int) -> None:
        """Pair, `first` accepts before the other: both are paired, once, with the same fingerprint."""
        with trio.fail_after(DEADLINE):
            pairings = await self.begin()
            for pairing in pairings:
                await pairing.confirmation()
            await pairings[first].accept()
            await self.hosts[first].heard(pairings[first].id)
            await pairings[1 - first].accept()
        await self.paired(*pairings)

    async def paired(self, *pairings: Pairing) -> None:
        """See both sides of one pairing end as they should."""
        with trio.fail_after(DEADLINE):
            prints = {(await pairing.paired()).fingerprint for pairing in pairings}
            assert len(prints) == 1
            for node in self.nodes:
                devices = await node.client.devices()
                assert [(device.state, device.fingerprint) for device in devices] == [("paired", *prints)]

    def turned(self) -> "Two":
        """Return the same with the other one showing the code."""
        return Two(self.nodes[::-1], self.hosts[::-1])


@asynccontextmanager
async def two_struck(
    folder: Path, relays: Sequence[tuple[Relay, int]] = (), **settings: object
) -> AsyncIterator[Two]:
    """Run both nodes; `relays`: what stands before each of them, and its port."""
    hosts = (Striking(), Striking())
    announce = [{"announce": (f"/ip4/127.0.0.1/tcp/{port}",)} for _, port in relays] or [{}, {}]
    async with running_node(folder, "anna", spawner=hosts[0], **announce[0], **settings) as a:
        if relays:
            relays[0][0].lead_to(hosts[0].listening[0])
        async with running_node(
            folder, "bruno", spawner=hosts[1], bootstrap=(a.bootstrap,), **announce[1], **settings
        ) as b:
            if relays:
                relays[1][0].lead_to(hosts[1].listening[0])
            yield Two((a, b), hosts)
