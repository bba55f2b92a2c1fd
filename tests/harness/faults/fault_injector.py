"""A spawner that kills or stops an actor when a session enters a phase, or alters an actor's steps."""

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
from spacedrive_node.supervisor.spawner import RunningChild
from spacedrive_node.tests.harness.faults.message_tap import MessageTap, Sighting
from spacedrive_node.tests.harness.faults.relays import Relay, RelayedTransport, listen_address
from spacedrive_node.tests.harness.faults.waiting import wait_until
from spacedrive_node.tests.harness.nodes import Node, free_port, running_node
from spacedrive_node.tests.harness.secret_sweep import collector

DEADLINE = 120.0
EVENTS = {
    "restarting",
    "forbidden step",
    "mailbox full",
    "flooding another actor",
    "malformed message dropped",
}
"""Log events of the supervisor about an actor that failed or misbehaved."""
Alter = Callable[[str, Step], list[FromChild] | None]
"""Called with the name of an actor and its step.

Returns the frames to read instead, None for the step itself.
"""


def as_it_is(_actor: str, _step: Step) -> None:
    return None


@dataclass
class FaultInjector(MessageTap):
    """Knows the latest process of each kind of actor, and can send a signal to one at a phase."""

    alter: Alter = as_it_is
    last: dict[str, int] = field(default_factory=dict)
    injected: int = 0
    """The process that got the signal, 0 if none has yet."""
    reports: list[tuple[str, str, object]] = field(default_factory=list)
    seen: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot)

    async def spawn(self, spec: ChildSpec) -> RunningChild:
        handle = await super().spawn(spec)
        self.last[spec.kind] = handle.pid
        handle.channel = _Altered(handle.channel, handle, self)  # type: ignore[misc, assignment]
        return handle

    async def intercept(self, actor: str, message: Deliver | Step) -> None:
        await super().intercept(actor, message)
        self.seen.unpark_all()

    def on_log(self, actor: str, level: str, event: str, fields: Mapping[str, object]) -> None:
        if event in EVENTS:
            self.reports.append((actor.partition("-")[0], event, fields.get("cause")))
            self.seen.unpark_all()

    async def wait_for_report(self, *line: object) -> None:
        """Wait for a log line: kind of actor, event, cause."""
        assert await wait_until(self.seen, lambda: line in self.reports, DEADLINE), (
            f"{line} is not in {self.reports}"
        )

    def kill(self, actor: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to the latest process of a kind of actor. Return its pid, 0 if it has ended."""
        pid = self.pid if actor == "zygote" else self.last[actor]
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return 0
        return pid

    def inject(self, actor: str, number: signal.Signals, phase: str | None) -> None:
        """Send a signal to an actor when a session enters a phase, once."""
        self.injected = 0

        async def on_sighting(sighting: Sighting) -> None:
            if not self.injected and (sighting.event, sighting.name) == ("is", phase):
                self.injected = self.kill(actor, number)

        self.phases.clear()
        self.on_sighting: Callable[[Sighting], Awaitable[None]] = on_sighting

    async def wait_for_acknowledgement(self, session: str) -> None:
        """Wait until the other side has acknowledged this side's decision."""

        def arrived() -> bool:
            return bool(self.sightings[f"session-{session}", "gets", "DecisionReceived"])

        assert await wait_until(self.seen, arrived, DEADLINE), (
            "the other side has not acknowledged the decision"
        )


class _Altered:
    def __init__(self, inner: object, handle: RunningChild, host: FaultInjector) -> None:
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
class InjectedPair:
    """Two whole nodes and the injectors of their actors. The second knows the first as its DHT server."""

    nodes: tuple[Node, Node]
    hosts: tuple[FaultInjector, FaultInjector]

    async def begin(self, search: float = DEADLINE) -> tuple[Pairing, Pairing]:
        """Show a code at the first node and enter it at the second."""
        showing = await self.nodes[0].client.start_pairing()
        collector.add_code(" ".join(showing.code.words))
        return showing, await self.nodes[1].client.join_pairing(" ".join(showing.code.words), search)

    async def pair(self, first: int) -> None:
        """Pair, where `first` accepts before the other.

        Both must be paired, once, with the same fingerprint.
        """
        with trio.fail_after(DEADLINE):
            pairings = await self.begin()
            for pairing in pairings:
                await pairing.confirmation()
            await pairings[first].accept()
            await self.hosts[first].wait_for_acknowledgement(pairings[first].id)
            await pairings[1 - first].accept()
        await self.paired(*pairings)

    async def paired(self, *pairings: Pairing) -> None:
        """Check that both sides are paired with one fingerprint, and that both list one device."""
        with trio.fail_after(DEADLINE):
            prints = {(await pairing.paired()).fingerprint for pairing in pairings}
            assert len(prints) == 1
            for node in self.nodes:
                devices = await node.client.devices()
                assert [(device.state, device.fingerprint) for device in devices] == [("paired", *prints)]

    def swapped(self) -> "InjectedPair":
        """Return the same pair with the roles swapped: the other node shows the code."""
        return InjectedPair(self.nodes[::-1], self.hosts[::-1])


@asynccontextmanager
async def open_injected_pair(folder: Path, **settings: object) -> AsyncIterator[InjectedPair]:
    """Run both nodes."""
    async with _open_pair(folder, (), [{}, {}], settings) as pair:
        yield pair


@asynccontextmanager
async def open_relayed_pair(
    folder: Path, transport: RelayedTransport, relays: Sequence[Relay]
) -> AsyncIterator[InjectedPair]:
    """Run both nodes with this transport alone, each reached through the relay before it."""
    places: list[dict[str, object]] = []
    async with trio.open_nursery() as nursery:
        for relay in relays:
            port = await nursery.start(relay.serve)
            own, announced = (
                ("/ip4/127.0.0.1" + listen_address(transport, number),) for number in (free_port(), port)
            )
            places.append({"listen": own, "announce": announced})
        async with _open_pair(folder, relays, places, {}) as pair:
            yield pair
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _open_pair(
    folder: Path,
    relays: Sequence[Relay],
    places: Sequence[Mapping[str, object]],
    settings: Mapping[str, object],
) -> AsyncIterator[InjectedPair]:
    hosts = (FaultInjector(), FaultInjector())
    async with running_node(folder, "anna", spawner=hosts[0], **places[0], **settings) as a:
        for relay in relays[:1]:
            relay.set_target(hosts[0].listening[0])
        async with running_node(
            folder, "bruno", spawner=hosts[1], bootstrap=(a.bootstrap,), **places[1], **settings
        ) as b:
            for relay in relays[1:]:
                relay.set_target(hosts[1].listening[0])
            yield InjectedPair((a, b), hosts)
