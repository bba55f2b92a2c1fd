"""The half of a node that takes part in the DHT: the real swarm and discovery actors, as tasks.

A small router replaces the supervisor between the two, and records their Kademlia requests. The program
that runs it plays the sessions. One process holds many of them, where a complete node needs eight
processes.
"""

import itertools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import trio
import trio.testing

from ..actors.discovery import main as discovery
from ..actors.swarm import main as swarm
from ..messages.actor_configs import DiscoveryConfig, SwarmConfig
from ..messages.base import Message, encode
from ..messages.child_protocol import (
    Deliver,
    FromChild,
    Start,
    Step,
    ToChild,
    decode_from_child,
    decode_to_child,
)
from ..messages.to_discovery import KadFailed, KadReply, ServerJoined, Servers, SwarmUp
from ..messages.to_swarm import KadRequest, SwarmIdentity
from ..messages.types import DhtMode, PeerAddresses
from ..supervisor.channel import Channel

_ENTRIES = {"swarm": swarm, "discovery": discovery}
_START_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One Kademlia request of discovery, and when it was answered or failed (None: not yet).

    hop   1 for a server of this node's routing table, else one more than that of the first server that
    named it
    """

    number: int
    op: str
    peer: bytes
    hop: int
    at: float
    answered: float | None = None
    failed: float | None = None


@dataclass
class DhtParticipant:
    """One swarm and discovery. `own` is set once the swarm listens."""

    nursery: trio.Nursery
    """The nursery of the process.

    An identify exchange must find it open, so no participant ends by itself.
    """
    host: str = "127.0.0.1"
    """The IPv4 address where the swarm listens."""
    own: PeerAddresses = field(default_factory=lambda: PeerAddresses(b"", ()))
    servers: int = 0
    """Number of DHT servers that have joined its routing table."""
    requests: dict[int, RecordedRequest] = field(default_factory=dict)
    named_at_hop: int | None = None
    """The hop of the first server that named a provider."""
    to_session: list[tuple[float, Any]] = field(default_factory=list)
    _hops: dict[bytes, int] = field(default_factory=dict)
    _channels: dict[str, Channel[FromChild]] = field(default_factory=dict)
    _up: trio.Event = field(default_factory=trio.Event)
    _news: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot)
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def start(self, bootstrap: Sequence[PeerAddresses], mode: DhtMode = "auto") -> None:
        """Start both actors and wait until the swarm listens. They run until their nursery ends."""
        listen = SwarmConfig(listen=(f"/ip4/{self.host}/tcp/0",), dht_mode=mode)
        known = DiscoveryConfig(
            runtime_dir=os.devnull, bootstrap=tuple(bootstrap), same_host=False, mdns=False
        )
        for name, config in (("discovery", known), ("swarm", listen)):
            mine, theirs = trio.testing.memory_stream_pair()
            self._channels[name] = Channel(mine, decode_from_child)
            self.nursery.start_soon(_ENTRIES[name], Channel[ToChild](theirs, decode_to_child))
            self.nursery.start_soon(self._route, name)
            await self._channels[name].send(Start(name, 1, msgspec.Raw(encode(config))))
        await self.deliver("swarm", "vault", SwarmIdentity(os.urandom(32)))
        with trio.fail_after(_START_TIMEOUT_S):
            await self._up.wait()

    async def deliver(self, to: str, sender: str, message: Message) -> None:
        """Deliver a message to an actor."""
        number = next(self._numbers)
        body = msgspec.Raw(encode(message))
        await self._channels[to].send(
            Deliver(number, sender, 1, type(message).__name__, number.to_bytes(16, "big"), body)
        )

    def forget(self) -> None:
        """Forget the requests so far."""
        self.requests.clear()
        self._hops.clear()
        self.to_session.clear()
        self.named_at_hop = None

    @property
    def pending(self) -> bool:
        """Whether a request is under way."""
        return any(one.answered is None and one.failed is None for one in self.requests.values())

    async def wait_until(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Wait until `holds` returns true, checked at each message.

        Return whether it did within `seconds`.
        """
        with trio.move_on_after(seconds):
            while not holds():
                await self._news.park()
            return True
        return False

    async def _route(self, name: str) -> None:
        try:
            while True:
                frame = await self._channels[name].receive()
                if isinstance(frame, Step):
                    for out in frame.out:
                        self._record(out.kind, out.body)
                        await self._forward(name, out.to, out.kind, out.id, out.body)
                    self._news.unpark_all()
        except trio.EndOfChannel:
            return

    async def _forward(self, sender: str, to: str, kind: str, id: bytes, body: msgspec.Raw) -> None:
        if to in self._channels and to != sender:
            frame = Deliver(next(self._numbers), sender, 1, kind, id, body.copy())
            await self._channels[to].send(frame)
        elif to.startswith("session-"):
            self.to_session.append((time.monotonic(), msgspec.msgpack.decode(body)))

    def _record(self, kind: str, body: msgspec.Raw) -> None:
        match kind:
            case "SwarmUp":
                up = msgspec.msgpack.decode(body, type=SwarmUp)
                self.own = PeerAddresses(up.peer, up.addresses or up.local_addresses)
                self._up.set()
            case "ServerJoined":
                self.servers += msgspec.msgpack.decode(body, type=ServerJoined) is not None
            case "Servers":
                for server in msgspec.msgpack.decode(body, type=Servers).peers:
                    self._hops[server.peer] = 1
            case "KadRequest":
                request = msgspec.msgpack.decode(body, type=KadRequest)
                hop = self._hops.get(request.peer, 1)
                self.requests[request.request] = RecordedRequest(
                    request.request, request.op, request.peer, hop, time.monotonic()
                )
            case "KadFailed":
                number = msgspec.msgpack.decode(body, type=KadFailed).request
                if number in self.requests:
                    self.requests[number] = replace(self.requests[number], failed=time.monotonic())
            case "KadReply":
                reply = msgspec.msgpack.decode(body, type=KadReply)
                request_made = self.requests.get(reply.request)
                if request_made is not None:
                    self.requests[reply.request] = replace(request_made, answered=time.monotonic())
                    if reply.providers and self.named_at_hop is None:
                        self.named_at_hop = request_made.hop
                    for named in reply.closer:
                        self._hops.setdefault(named.peer, request_made.hop + 1)
