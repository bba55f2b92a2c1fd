"""Runs real swarm actors in this process, each with a fake supervisor at the other end of its channel."""

import hashlib
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio
import trio.testing

from spacedrive_node.actors.swarm import main
from spacedrive_node.messages import (
    to_discovery,
    to_gateway,
    to_lan,
    to_metrics,
    to_session,
    to_swarm,
    to_vault,
)
from spacedrive_node.messages.actor_configs import SwarmConfig
from spacedrive_node.messages.base import Message, encode
from spacedrive_node.messages.child_protocol import (
    Deliver,
    Fatal,
    Log,
    Ready,
    Start,
    Step,
    Stop,
    decode_from_child,
    decode_to_child,
)
from spacedrive_node.messages.to_discovery import SwarmUp
from spacedrive_node.messages.to_swarm import Serve, SwarmIdentity
from spacedrive_node.supervisor.channel import Channel
from spacedrive_node.supervisor.routes import actor_kind, find_route
from spacedrive_node.tests.harness.secret_sweep import collector
from spacedrive_node.tests.harness.transports import listen_addresses

DECODERS: dict[str, Callable[[Any], Any]] = {
    "session": to_session.decode,
    "vault": to_vault.decode,
    "discovery": to_discovery.decode,
    "gateway": to_gateway.decode,
    "metrics": to_metrics.decode,
    "swarm": to_swarm.decode,
    "lan": to_lan.decode,
}
DEADLINE = 60.0


def local() -> SwarmConfig:
    """Return the configuration of a swarm on loopback."""
    return SwarmConfig(listen=listen_addresses())


def seed(name: str) -> bytes:
    """Return the seed of the transport key of a swarm with this name."""
    return hashlib.sha256(name.encode()).digest()


class GoneError(Exception):
    """The actor has ended."""


class FakeSupervisor:
    """Plays the supervisor for one swarm actor, and checks every envelope against the routing table."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.channel = Channel(stream, decode_from_child)
        self.sent: list[tuple[str, Message, bytes]] = []
        self.steps: list[Step] = []
        self.fatal: str | None = None
        self.logs: list[Log] = []
        self.up: SwarmUp
        self._inputs = itertools.count(1)
        self._news = trio.Event()
        self._taken: set[int] = set()
        self.gone = trio.Event()
        self.crash: BaseException | None = None

    async def run(self) -> None:
        try:
            while True:
                self._take(await self.channel.receive())
                self._news.set()
                self._news = trio.Event()
        except trio.EndOfChannel:
            self.gone.set()
            self._news.set()

    def _take(self, frame: Any) -> None:
        match frame:
            case Step(out=out):
                self.steps.append(frame)
                for envelope in out:
                    assert find_route(envelope.kind, "swarm", envelope.to), (envelope.kind, envelope.to)
                    message = DECODERS[actor_kind(envelope.to)](envelope.body)
                    self.sent.append((envelope.to, message, envelope.id))
            case Fatal(message=text):
                self.fatal = text
            case Log():
                self.logs.append(frame)
                collector.add_log_line("the swarm", "swarm", frame.level, frame.event, frame.fields)
            case Ready():
                return

    async def start(self, config: SwarmConfig, incarnation: int = 1) -> None:
        await self.channel.send(Start("swarm", incarnation, msgspec.Raw(encode(config))))

    async def deliver(self, sender: str, message: Message) -> None:
        """Deliver a message to the actor."""
        assert find_route(type(message).__name__, sender, "swarm") or sender == "supervisor"
        if isinstance(message, Serve):
            collector.add_secret("route_key", message.route_key)
        if isinstance(message, SwarmIdentity):
            collector.add_secret("transport seed", message.seed)
        number = next(self._inputs)
        body = msgspec.Raw(encode(message))
        await self.channel.send(
            Deliver(number, sender, 1, type(message).__name__, number.to_bytes(16, "big"), body)
        )

    async def expect(self, kind: type[Any], to: str | None = None, where: Any = lambda _m: True) -> Any:
        """Wait for a message that no `expect` has returned yet."""
        with trio.fail_after(DEADLINE):
            while True:
                for place, (receiver, message, _id) in enumerate(self.sent):
                    fits = isinstance(message, kind) and to in (None, receiver) and where(message)
                    if fits and place not in self._taken:
                        self._taken.add(place)
                        return message
                if self.gone.is_set():
                    raise GoneError(self.fatal or "") from self.crash
                await self._news.wait()

    async def expect_log(self, event: str) -> Log:
        """Wait for a log line."""
        with trio.fail_after(DEADLINE):
            while True:
                for log in self.logs:
                    if log.event == event:
                        return log
                await self._news.wait()

    def envelope_id(self, message: Message) -> bytes:
        """Return the id of the envelope of a message."""
        return next(id for _to, sent, id in self.sent if sent is message)

    def count(self, kind: type[Any]) -> int:
        """Return how many messages of a kind the actor has sent."""
        return sum(isinstance(message, kind) for _to, message, _id in self.sent)

    @property
    def peer(self) -> bytes:
        return self.up.peer

    @property
    def addresses(self) -> tuple[str, ...]:
        return self.up.addresses


OpenSwarm = Callable[..., Any]


@asynccontextmanager
async def open_swarm(
    name: str,
    config: SwarmConfig | None = None,
    *,
    standing: tuple[tuple[str, Message], ...] = (),
    incarnation: int = 1,
    up: bool = True,
) -> AsyncIterator[FakeSupervisor]:
    """Run a swarm actor. At the end stop it and check that it ends within the deadline."""
    ours, theirs = trio.testing.memory_stream_pair()
    supervisor = FakeSupervisor(ours)

    async def child() -> None:
        try:
            await main(Channel(theirs, decode_to_child))
        except Exception as error:
            supervisor.crash = error
        await theirs.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        nursery.start_soon(child)
        await supervisor.start(config or local(), incarnation)
        for sender, message in standing:
            await supervisor.deliver(sender, message)
        await supervisor.deliver("vault", SwarmIdentity(seed(name)))
        if up:
            supervisor.up = await supervisor.expect(SwarmUp)
        yield supervisor
        if not supervisor.gone.is_set():
            await supervisor.channel.send(Stop())
            with trio.fail_after(DEADLINE):
                await supervisor.gone.wait()
        nursery.cancel_scope.cancel()
    if up:
        assert supervisor.crash is None, supervisor.crash
