"""The actor itself over an in-memory stream; the test plays the supervisor, the swarm and the sessions."""

import itertools
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from spacedrive_node.actors.base import ActorChannel, Send
from spacedrive_node.actors.discovery import main
from spacedrive_node.actors.discovery.core import Discovery
from spacedrive_node.actors.discovery.same_host import SameHost
from spacedrive_node.messages import to_gateway, to_lan, to_metrics, to_session, to_swarm
from spacedrive_node.messages.actor_configs import DiscoveryConfig
from spacedrive_node.messages.base import INTERNAL_LIMIT, Decoder, Message, encode, frame
from spacedrive_node.messages.child_protocol import (
    Deliver,
    FromChild,
    Outgoing,
    Ping,
    Pong,
    Ready,
    Start,
    Step,
    Stop,
    decode_from_child,
    decode_to_child,
)
from spacedrive_node.messages.from_supervisor import ActorRestarted, SessionEnded
from spacedrive_node.messages.to_discovery import (
    Find,
    KadReply,
    ServerJoined,
    Servers,
    StartProviding,
    SwarmUp,
)
from spacedrive_node.messages.to_session import CandidateFound
from spacedrive_node.messages.to_swarm import (
    Bootstrap,
    ClosestServers,
    KadRequest,
)
from spacedrive_node.messages.types import PeerAddresses
from spacedrive_node.supervisor.channel import Channel
from spacedrive_node.supervisor.routes import find_route
from spacedrive_node.tests.harness.simulated_dht import (
    FINDER,
    INSTANCE,
    KEY,
    OWN,
    PROVIDER,
    addresses_of,
    peer,
)

TRUE = peer("the device that shows the code")
UP = SwarmUp(OWN, ("/ip4/192.0.2.9/tcp/1",), ("/ip4/127.0.0.1/tcp/1",))
DECODERS: dict[str, Decoder[Message]] = {
    "swarm": to_swarm.decode,
    "lan": to_lan.decode,
    "gateway": to_gateway.decode,
    "metrics": to_metrics.decode,
    "session": to_session.decode,
}


class Node:
    """The rest of the node as discovery sees it."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._channel: Channel[FromChild] = Channel(stream, decode_from_child)
        self._inputs = itertools.count(1)

    async def start(self, config: DiscoveryConfig, incarnation: int = 1) -> None:
        await self._channel.send(Start("discovery", incarnation, msgspec.Raw(encode(config))))
        assert await self._channel.receive() == Ready()

    async def deliver(self, sender: str, message: Message) -> None:
        kind = type(message).__name__
        body = msgspec.Raw(encode(message))
        await self._channel.send(Deliver(next(self._inputs), sender, 1, kind, os.urandom(16), body))

    async def deliver_together(self, messages: list[tuple[str, Message]]) -> None:
        frames = b""
        for number, (sender, message) in zip(self._inputs, messages, strict=False):
            body = msgspec.Raw(encode(message))
            deliver = Deliver(number, sender, 1, type(message).__name__, bytes(16), body)
            frames += frame(encode(deliver), INTERNAL_LIMIT)
        await self._channel.send_bytes(frames)

    async def ping(self) -> None:
        await self._channel.send(Ping())

    async def stop(self) -> None:
        await self._channel.send(Stop())

    async def until(
        self, wanted: Callable[[str, Message], bool], *, answer: bool = True
    ) -> tuple[str, Message]:
        """Return the first message that `wanted` wants; meanwhile be a swarm whose only server is TRUE."""
        with trio.fail_after(60):
            while True:
                frame = await self._channel.receive()
                if not isinstance(frame, Step):
                    assert isinstance(frame, Pong)
                    continue
                assert frame.input == 0
                hits = [(out.to, message) for out in frame.out if wanted(out.to, message := _checked(out))]
                if answer:
                    for out in frame.out:
                        await self._answer(_checked(out))
                if hits:
                    return hits[0]

    async def step(self) -> list[Message]:
        """Return the messages of the next step."""
        with trio.fail_after(60):
            while not isinstance(frame := await self._channel.receive(), Step):
                assert isinstance(frame, Pong)
        return [_checked(out) for out in frame.out]

    async def _answer(self, message: Message) -> None:
        match message:
            case ClosestServers(request=request):
                await self.deliver("swarm", Servers(request, (addresses_of(TRUE),)))
            case KadRequest(request=request, op="get_providers"):
                await self.deliver("swarm", KadReply(request, (), (addresses_of(TRUE),)))
            case KadRequest(request=request):
                await self.deliver("swarm", KadReply(request))


def _checked(out: Outgoing) -> Message:
    """Decode as the receiver does; a message that no row of the routing table allows is an error."""
    assert find_route(out.kind, "discovery", out.to) is not None, out.kind
    return DECODERS[out.to.partition("-")[0]](out.body)


@asynccontextmanager
async def running(config: DiscoveryConfig, incarnation: int = 1) -> AsyncIterator[Node]:
    ours, theirs = trio.testing.memory_stream_pair()
    node = Node(ours)
    async with trio.open_nursery() as nursery:
        channel: ActorChannel = Channel(theirs, decode_to_child)
        nursery.start_soon(main, channel)
        with trio.fail_after(15):
            await node.start(config, incarnation)
            yield node
            await node.stop()


def kind(wanted: type[Message]) -> Callable[[str, Message], bool]:
    return lambda _to, message: isinstance(message, wanted)


def config(tmp_path: Path, **more: object) -> DiscoveryConfig:
    return DiscoveryConfig(runtime_dir=str(tmp_path), **more)


async def test_a_search_from_the_first_message_to_the_candidate(tmp_path: Path) -> None:
    """Find and SwarmUp lead to a request, its answer to a CandidateFound for the session that asked."""
    async with running(config(tmp_path, same_host=False)) as node:
        await node.deliver(FINDER, Find(KEY, INSTANCE))
        await node.deliver("swarm", UP)
        to, message = await node.until(kind(CandidateFound))
        assert (to, message) == (FINDER, CandidateFound(TRUE, addresses_of(TRUE).addresses, ("dht",)))


async def test_providing_and_the_end_of_the_session(tmp_path: Path) -> None:
    """The key is announced to the server; after the session's end nobody else is told."""
    async with running(config(tmp_path, same_host=False)) as node:
        await node.deliver("swarm", UP)
        await node.deliver(PROVIDER, StartProviding(KEY, INSTANCE))
        await node.until(lambda _to, m: isinstance(m, KadRequest) and m.op == "add_provider")
        await node.deliver("supervisor", SessionEnded(PROVIDER[8:], "initiator", "paired"))
        await node.deliver("swarm", ServerJoined(addresses_of(peer("late"))))
        await node.deliver(FINDER, Find(KEY, INSTANCE))
        announced: list[Message] = []

        def candidate(_to: str, message: Message) -> bool:
            if isinstance(message, KadRequest) and message.op == "add_provider":
                announced.append(message)
            return isinstance(message, CandidateFound)

        await node.until(candidate)  # whatever would have been announced has been by now
        assert announced == []


async def test_a_restart_of_the_swarm(tmp_path: Path) -> None:
    """The request that died with the swarm is made again, and the bootstrap peer is offered again."""
    first = addresses_of(peer("bootstrap"))
    async with running(config(tmp_path, same_host=False, bootstrap=(first,))) as node:
        await node.deliver("swarm", UP)
        await node.deliver(FINDER, Find(KEY, INSTANCE))
        await node.until(kind(ClosestServers), answer=False)
        await node.deliver("supervisor", ActorRestarted("swarm"))
        _, message = await node.until(kind(Bootstrap))
        assert message == Bootstrap(first.peer, first.addresses)
        await node.until(kind(CandidateFound))


async def test_a_node_that_appears_on_this_host(tmp_path: Path) -> None:
    """A node that registers while the search runs is a candidate within a turn of the watch."""
    other = SameHost(tmp_path)
    async with running(config(tmp_path)) as node:
        await node.deliver("swarm", UP)
        await node.deliver(FINDER, Find(KEY, INSTANCE))
        await node.until(kind(ClosestServers), answer=False)
        other.register(TRUE, ("/ip4/127.0.0.1/tcp/7",))
        to, message = await node.until(kind(CandidateFound), answer=False)
        assert (to, message) == (FINDER, CandidateFound(TRUE, ("/ip4/127.0.0.1/tcp/7",), ("same_host",)))
        assert [found.peer for found in other.others(0.0, busy=True)] == [OWN]
    assert other.others(100.0, busy=True) == ()
    other.close()


async def test_an_unusable_runtime_directory_ends_only_this_finder(tmp_path: Path) -> None:
    """With a file where the directory should be, the search through the DHT goes on."""
    (tmp_path / "nodes").write_text("in the way")
    ours, theirs = trio.testing.memory_stream_pair()
    logs: list[object] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(main, Channel(theirs, decode_to_child))
        channel: Channel[FromChild] = Channel(ours, decode_from_child)
        await channel.send(Start("discovery", 1, msgspec.Raw(encode(config(tmp_path)))))
        await channel.send(Deliver(1, "swarm", 1, "SwarmUp", bytes(16), msgspec.Raw(encode(UP))))
        with trio.fail_after(60):
            while not any(getattr(frame, "level", "") == "warning" for frame in logs):
                logs.append(await channel.receive())
            while not any(out.kind == "ClosestServers" for f in logs if isinstance(f, Step) for out in f.out):
                logs.append(await channel.receive())
            await channel.send(Stop())


async def test_hints_reach_the_session_although_nothing_answers(tmp_path: Path) -> None:
    """A hinted address is a candidate at once; heartbeats are answered meanwhile."""
    async with running(config(tmp_path, same_host=False), incarnation=9) as node:
        await node.deliver("swarm", UP)
        await node.ping()
        await node.deliver(FINDER, Find(KEY, INSTANCE, (PeerAddresses(TRUE, ("/ip4/192.0.2.5/tcp/5",)),)))
        _, message = await node.until(kind(CandidateFound), answer=False)
        assert message == CandidateFound(TRUE, ("/ip4/192.0.2.5/tcp/5",), ("hint",))


async def test_many_candidates_with_the_longest_addresses_fit_into_frames(tmp_path: Path) -> None:
    """Liars name the same ones, each with other addresses, until no more go into a message."""
    name = ".".join(["a" * 60, "b" * 60, "c" * 60, "d" * 50])
    decoys = [peer(("decoy", number)) for number in range(64)]
    liars = [peer(("liar", number)) for number in range(8)]
    full: set[bytes] = set()

    def named_by(liar: bytes) -> tuple[PeerAddresses, ...]:
        first = 10_000 + 8 * liars.index(liar)
        addresses = tuple(f"/dns4/{name}/tcp/{first + number}/tls/ws" for number in range(8))
        assert len(addresses[0]) == 256
        return tuple(PeerAddresses(decoy, addresses, addresses) for decoy in decoys)

    async with running(config(tmp_path, same_host=False)) as node:
        await node.deliver("swarm", UP)
        await node.deliver(FINDER, Find(KEY, INSTANCE))
        while len(full) < len(decoys):
            for message in await node.step():
                match message:
                    case ClosestServers(request=request):
                        servers = tuple(addresses_of(liar) for liar in liars)
                        await node.deliver("swarm", Servers(request, servers))
                    case KadRequest(request=request, peer=liar):
                        await node.deliver("swarm", KadReply(request, (), named_by(liar)))
                    case CandidateFound(peer=decoy, addresses=addresses) if len(addresses) == 32:
                        full.add(decoy)


async def test_a_thousand_sessions_that_come_at_once_are_polled_a_few_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart: each poll looks at all of them, so one for each message took seconds."""
    number, handled, polls = 1000, trio.Event(), []
    poll = Discovery.poll

    def count(core: Discovery, now: float) -> list[Send]:
        polls.append(now)
        if len(core._providing) == number:
            handled.set()
        return poll(core, now)

    monkeypatch.setattr(Discovery, "poll", count)
    async with running(config(tmp_path, same_host=False)) as node:
        await node.deliver_together(
            [
                (f"session-{each:016x}", StartProviding(each.to_bytes(32, "big"), INSTANCE))
                for each in range(1, number + 1)
            ]
        )
        await handled.wait()
    assert len(polls) < number / 20
