"""Simulates a DHT in virtual time, from a seed, with servers that are honest, dead, slow or lying."""

import hashlib
import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from spacedrive_node.actors.base import Send
from spacedrive_node.actors.discovery.core import Discovery
from spacedrive_node.actors.discovery.lookup import K, distance
from spacedrive_node.messages.actor_configs import DiscoveryConfig
from spacedrive_node.messages.from_supervisor import ActorRestarted
from spacedrive_node.messages.to_discovery import (
    DiscoveryInbox,
    Find,
    KadFailed,
    KadReply,
    Servers,
    StartProviding,
    SwarmUp,
)
from spacedrive_node.messages.to_session import CandidateFound
from spacedrive_node.messages.to_swarm import ClosestServers, KadRequest
from spacedrive_node.messages.types import PeerAddresses

KEY = b"\x12\x20" + hashlib.sha256(b"rendezvous").digest()
INSTANCE = "0" * 16
FINDER = "session-00000000000000aa"
PROVIDER = "session-00000000000000bb"


def peer(seed: object) -> bytes:
    """Return a well-formed peer id that is derived from any value."""
    return bytes.fromhex("002408011220") + hashlib.sha256(repr(seed).encode()).digest()


def addresses_of(peer_id: bytes) -> PeerAddresses:
    return PeerAddresses(peer_id, (f"/ip4/192.0.2.1/tcp/{4000 + peer_id[-1]}",))


Behaviour = tuple[float, list[PeerAddresses], list[PeerAddresses]]
OWN = peer("own")


@dataclass
class Server:
    """One DHT server. `behave` replaces its honest answer: (delay, closer, providers), None: silence."""

    id: bytes
    table: list[bytes] = field(default_factory=list)
    stored: dict[bytes, dict[bytes, PeerAddresses]] = field(default_factory=dict)
    behave: Callable[[KadRequest], tuple[float, list[PeerAddresses], list[PeerAddresses]] | None] | None = (
        None
    )


class SimulatedDht:
    """The servers, and the real core of one discovery actor, whose swarm this plays."""

    def __init__(self, seed: int, servers: int, **config: object) -> None:
        self.random = random.Random(seed)
        self.servers = {peer((seed, n)): Server(peer((seed, n))) for n in range(servers)}
        ids = list(self.servers)
        for server in self.servers.values():
            others = [other for other in ids if other != server.id]
            near = sorted(others, key=lambda other: distance(server.id, other))[:K]
            server.table = list({*near, *self.random.sample(others, min(12, len(others)))})
        self.table: list[bytes] = []
        self.now = 1000.0
        self.core = Discovery(DiscoveryConfig(runtime_dir="/nowhere", **config), 3)
        self.requests: list[tuple[float, KadRequest]] = []
        self.sent: list[tuple[float, Send]] = []
        self.candidates: dict[bytes, CandidateFound] = {}
        self.found_at: dict[bytes, float] = {}
        self._events: list[tuple[float, int, DiscoveryInbox]] = []
        self._count = itertools.count()

    def closest(self, key: bytes, known: list[bytes] | None = None) -> list[bytes]:
        known = list(self.servers) if known is None else known
        return sorted(known, key=lambda other: distance(key, other))[:K]

    def swarm_comes_up(self) -> None:
        self.take("swarm", SwarmUp(OWN, ("/ip4/192.0.2.9/tcp/1",), ("/ip4/127.0.0.1/tcp/1",)))

    def find(self, **more: object) -> None:
        self.take(FINDER, Find(KEY, INSTANCE, **more))

    def provide(self, key: bytes = KEY, session: str = PROVIDER) -> None:
        self.take(session, StartProviding(key, INSTANCE))

    def store(self, provider: bytes) -> None:
        """Store a provider at the servers where an honest announcement stores it."""
        for server in self.closest(KEY):
            self.servers[server].stored.setdefault(KEY, {})[provider] = addresses_of(provider)

    def swarm_restarts(self) -> None:
        self._events.clear()
        self.take("supervisor", ActorRestarted("swarm"))

    def take(self, sender: str, message: DiscoveryInbox) -> None:
        self.core.handle(sender, message, self.now)
        self.poll()

    def poll(self) -> None:
        for send in self.core.poll(self.now):
            self.sent.append((self.now, send))
            match send.message:
                case KadRequest() as request:
                    self.requests.append((self.now, request))
                    self._answer(request)
                case ClosestServers(request=number, key=key):
                    servers = tuple(addresses_of(server) for server in self.closest(key, self.table))
                    self._later(0.001, Servers(number, servers))
                case CandidateFound() as candidate:
                    self.candidates[candidate.peer] = candidate
                    self.found_at.setdefault(candidate.peer, self.now)

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Let `seconds` pass, event by event. Stop early when `until` returns true."""
        end = self.now + seconds
        turns = 0
        while not until():
            turns += 1
            assert turns < 200_000, "the machine spins"
            event = self._events[0][0] if self._events else end
            moment = min(event, self.core.wake_at(), end)
            self.now = max(self.now, moment)
            if self._events and self._events[0][0] <= self.now:
                message = heapq.heappop(self._events)[2]
                self.core.handle("swarm", message, self.now)
            elif self.now >= end:
                return
            self.poll()

    def to_swarm(self, kind: type) -> list[tuple[float, object]]:
        return [(when, send.message) for when, send in self.sent if isinstance(send.message, kind)]

    def _later(self, delay: float, message: DiscoveryInbox) -> None:
        heapq.heappush(self._events, (self.now + delay, next(self._count), message))

    def _answer(self, request: KadRequest) -> None:
        server = self.servers.get(request.peer)
        if server is None:
            self._later(request.timeout, KadFailed(request.request, "no answer"))
            return
        if server.behave is not None:
            behaved = server.behave(request)
            if behaved is None:
                self._later(request.timeout, KadFailed(request.request, "no answer"))
                return
            delay, closer, providers = behaved
        else:
            delay = self.random.uniform(0.01, 0.1)
            closer = [addresses_of(other) for other in self.closest(request.key, server.table)]
            if request.op == "add_provider":
                server.stored.setdefault(request.key, {})[OWN] = addresses_of(OWN)
                closer = []
            providers = list(server.stored.get(request.key, {}).values())
            if request.op != "get_providers":
                providers = []
        self._later(delay, KadReply(request.request, tuple(closer[:64]), tuple(providers[:64])))
