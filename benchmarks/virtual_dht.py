"""A DHT in virtual time: the real discovery and the real DHT server of a node, on links that take their time.

What is real: the core of discovery with its lookups and announcements, the server's answers and routing
table, and the bytes of requests and answers. What is played: sockets, connections and identify, which cost
what they cost in round trips. A dead server says nothing; one that lies names peers and providers that are
not there. Owns the clock. Everything follows from the seed.
"""

import hashlib
import heapq
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from libp2p.peer.id import ID
from multiaddr import Multiaddr

from ..actors.discovery.core import Discovery
from ..actors.swarm.dial.hearsay import heard_all
from ..actors.swarm.kad.dht_client import decode_answer, encode_request
from ..actors.swarm.kad.dht_server import DhtServer, RefusedRequestError
from ..actors.swarm.kad.routing_table import RoutingTable
from ..messages.actor_configs import DiscoveryConfig
from ..messages.base import Message
from ..messages.to_discovery import KadFailed, KadReply, ServerJoined, Servers, SwarmUp
from ..messages.to_session import CandidateFound
from ..messages.to_swarm import Bootstrap, ClosestServers, KadRequest
from ..messages.types import PeerAddresses

PROTOCOL = "/spacedrive/kad/1.0.0"
JOINED_THROUGH = 3
LIES = 20
"""Peers that a lying server invents for each answer, out of ten times as many: the closest to the key."""
_CONNECT_ROUND_TRIPS, _IDENTIFY_ROUND_TRIPS, _REQUEST_ROUND_TRIPS = 2, 1, 1
"""Of TCP with Noise and Yamux (tests/counts/test_round_trips.py); identify runs beside the request."""
_SWARM_ANSWER_S = 0.001

Behaviour = Literal["honest", "dead", "lying"]


@dataclass(frozen=True, slots=True)
class _Connection:
    """What the routing table wants to know of a connection."""

    host: str

    @property
    def muxed_conn(self) -> "_Connection":
        return self

    def get_remote_address(self) -> tuple[str, int]:
        return self.host, 7520


class _World:
    """The peer store and the connections of everybody: whoever is met says the truth of itself."""

    def __init__(self) -> None:
        self.hosts: dict[bytes, str] = {}

    def get_protocols(self, _peer: Any) -> list[str]:
        return [PROTOCOL]

    def addrs(self, peer: ID) -> list[Multiaddr]:
        return [Multiaddr(_address(self.hosts[peer.to_bytes()]))]

    def existing(self, peer: bytes) -> _Connection | None:
        return _Connection(self.hosts[peer]) if peer in self.hosts else None


class _Host:
    """What the DHT server wants of a host."""

    def __init__(self, peer: bytes, world: _World) -> None:
        self._peer, self._world = peer, world

    def get_id(self) -> ID:
        return ID(self._peer)

    def get_network(self) -> "_Host":
        return self

    def get_connections(self, _peer: Any) -> tuple[()]:
        return ()

    def get_peerstore(self) -> _World:
        return self._world

    def get_addrs(self) -> list[Multiaddr]:
        return self._world.addrs(ID(self._peer))


@dataclass
class _Server:
    named: PeerAddresses
    host: str
    table: RoutingTable
    dht: DhtServer
    behaviour: Behaviour = "honest"


@dataclass
class VirtualNode:
    """A new node: it knows some servers, and is none. `found` has when each provider was handed over."""

    named: PeerAddresses
    host: str
    core: Discovery
    table: RoutingTable
    connected: set[bytes] = field(default_factory=set)
    requests: int = 0
    found: dict[bytes, float] = field(default_factory=dict)


class VirtualDht:
    """Servers with one delay between any two, and the nodes that are new among them."""

    def __init__(self, seed: str, servers: int, one_way_s: float) -> None:
        self.now = 1000.0
        self.draw = random.Random(seed)
        self._round_trip_s = 2 * one_way_s
        self._world = _World()
        self._count = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._nodes: list[VirtualNode] = []
        self.servers: list[_Server] = []
        self._by_peer: dict[bytes, _Server] = {}
        for _server in range(servers):
            self._add_server()

    def harm(self, share: float) -> None:
        """Let this share of the servers be dead or lying, half of it each."""
        chosen = self.draw.sample(self.servers, round(share * len(self.servers)))
        for place, server in enumerate(chosen):
            server.behaviour = "dead" if place % 2 else "lying"

    def node(self, known: int) -> VirtualNode:
        """Start a node that knows so many live servers, and wait until it is connected with them."""
        honest = [one for one in self.servers if one.behaviour == "honest"]
        bootstrap = tuple(one.named for one in self.draw.sample(honest, min(known, len(honest))))
        node = self.start(*self._new_peer(), bootstrap)
        self.run(self.now + 10.0, lambda: len(node.connected) == len(bootstrap))
        node.requests = 0
        return node

    def start(
        self, peer: bytes, host: str, bootstrap: tuple[PeerAddresses, ...], *, serves_dht: bool = False
    ) -> VirtualNode:
        """Start a node that knows these servers."""
        config = DiscoveryConfig(runtime_dir="/nowhere", bootstrap=bootstrap, same_host=False, mdns=False)
        node = VirtualNode(
            PeerAddresses(peer, (_address(host),)),
            host,
            Discovery(config, 1),
            RoutingTable(peer, PROTOCOL, self._world, self._world.existing),
        )
        self._nodes.append(node)
        self.tell(node, "swarm", SwarmUp(peer, node.named.addresses, (), serves_dht=serves_dht))
        return node

    def end(self, node: VirtualNode) -> None:
        """Let a node vanish."""
        self._nodes.remove(node)

    def tell(self, node: VirtualNode, sender: str, message: Any) -> None:
        """Deliver a message to the discovery of a node."""
        if node in self._nodes:
            node.core.handle(sender, message, self.now)
            self._poll(node)

    def run(self, until: float, holds: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass until a moment, or until something holds; return whether it does."""
        while not holds():
            wake = min(self._nodes, key=lambda node: node.core.wake_at(), default=None)
            wake_at = until if wake is None else wake.core.wake_at()
            event_at = self._events[0][0] if self._events else until
            if min(wake_at, event_at) >= until:
                self.now = until
                return holds()
            self.now = max(self.now, min(wake_at, event_at))
            if event_at <= wake_at:
                heapq.heappop(self._events)[2]()
            elif wake is not None:
                self._poll(wake)
        return True

    def _poll(self, node: VirtualNode) -> None:
        for send in node.core.poll(self.now):
            match send.message:
                case Bootstrap(peer=peer):
                    self._connect(node, peer)
                case ClosestServers(request=request, key=key):
                    self._answer(node, _SWARM_ANSWER_S, Servers(request, node.table.closest(key)))
                case KadRequest() as request:
                    self._request(node, request)
                case CandidateFound(peer=peer):
                    node.found.setdefault(peer, self.now)

    def _answer(self, node: VirtualNode, delay: float, message: Message) -> None:
        self._later(delay, lambda: self.tell(node, "swarm", message))

    def _later(self, delay: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + delay, next(self._count), event))

    def _connect(self, node: VirtualNode, peer: bytes) -> float:
        """Return how long it takes until there is a connection; identify brings the server into the table."""
        server = self._by_peer.get(peer)
        if peer in node.connected or server is None or server.behaviour == "dead":
            return 0.0
        node.connected.add(peer)
        took = _CONNECT_ROUND_TRIPS * self._round_trip_s

        self._later(took + _IDENTIFY_ROUND_TRIPS * self._round_trip_s, lambda: self._identified(node, peer))
        return took

    def _identified(self, node: VirtualNode, server: bytes) -> None:
        joined = node.table.add_if_server(ID(server))
        if joined is not None:
            self.tell(node, "swarm", ServerJoined(joined))

    def _request(self, node: VirtualNode, request: KadRequest) -> None:
        node.requests += 1
        server = self._by_peer.get(request.peer)
        if server is None or server.behaviour == "dead":
            self._answer(node, request.timeout, KadFailed(request.request, "time-out"))
            return
        took = self._connect(node, request.peer) + _REQUEST_ROUND_TRIPS * self._round_trip_s
        data = encode_request(request.op, request.key, node.named.peer, node.named.addresses)
        self._later(took - self._round_trip_s / 2, lambda: self._serve(node, server, request, data))

    def _serve(self, node: VirtualNode, server: _Server, request: KadRequest, data: bytes) -> None:
        if server.behaviour == "lying":
            invented = () if request.op == "add_provider" else self._lies(request.key)
            providers = self._lies(request.key) if request.op == "get_providers" else ()
            message: Message = KadReply(
                request.request, heard_all(invented, server.host), heard_all(providers, server.host)
            )
        else:
            try:
                answer = server.dht.answer(node.named.peer, _block(node.host), data)
            except RefusedRequestError:
                message = KadFailed(request.request, "reset")
            else:
                closer, named = decode_answer(answer, node.named.peer)
                message = KadReply(
                    request.request, heard_all(closer, server.host), heard_all(named, server.host)
                )
        self._answer(node, self._round_trip_s / 2, message)

    def _lies(self, key: bytes) -> Sequence[PeerAddresses]:
        """Return peers that do not exist, closer to the key than most that do."""
        point = _point(key)
        peers = sorted(
            (_peer(self.draw.randbytes(32)) for _ in range(10 * LIES)), key=lambda one: _point(one) ^ point
        )
        return [PeerAddresses(one, (_address(self._random_host()),)) for one in peers[:LIES]]

    def _add_server(self) -> None:
        """Add a server that joins through some of those that are there: each then knows the other."""
        server = self._new_server(*self._new_peer())
        for other in self.draw.sample(self.servers, min(JOINED_THROUGH, len(self.servers))):
            other.table.add_if_server(ID(server.named.peer))
            server.table.add_if_server(ID(other.named.peer))
        self._enter(server)

    def _new_server(self, peer: bytes, host: str, table: RoutingTable | None = None) -> _Server:
        table = table or RoutingTable(peer, PROTOCOL, self._world, self._world.existing)
        named = PeerAddresses(peer, (_address(host),))
        return _Server(named, host, table, DhtServer(_Host(peer, self._world), table))

    def _enter(self, server: _Server) -> None:
        self.servers.append(server)
        self._by_peer[server.named.peer] = server

    def _new_peer(self) -> tuple[bytes, str]:
        peer, host = _peer(self.draw.randbytes(32)), self._random_host()
        self._world.hosts[peer] = host
        return peer, host

    def _random_host(self) -> str:
        """Return a public address; two are seldom in one block."""
        return f"45.{self.draw.randrange(256)}.{self.draw.randrange(256)}.{self.draw.randrange(1, 255)}"


def _peer(seed: bytes) -> bytes:
    return bytes.fromhex("002408011220") + seed


def _point(data: bytes) -> int:
    return int.from_bytes(hashlib.sha256(data).digest(), "big")


def _address(host: str) -> str:
    return f"/ip4/{host}/tcp/7520"


def _block(host: str) -> str:
    return f"{host.rpartition('.')[0]}.0/24"
