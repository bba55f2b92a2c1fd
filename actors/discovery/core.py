"""All of discovery but its I/O: messages and the state of this host in, messages out.

Owns which session searches and which provides, and hands every event to whom it concerns. Sans-IO: no
clock, no files, no sockets; actor.py drives it, tests drive it with virtual time.
"""

import math

from ...messages.actor_configs import DiscoveryConfig
from ...messages.base import Message
from ...messages.from_supervisor import ActorRestarted, SessionEnded
from ...messages.session_names import actor_of_session
from ...messages.to_discovery import (
    DiscoveryInbox,
    Find,
    KadFailed,
    KadReply,
    ServerJoined,
    ServerLost,
    Servers,
    StartProviding,
    StopFinding,
    StopProviding,
    SwarmUp,
)
from ...messages.types import Instant, PeerAddresses
from ..base import Send
from .announce import Announcer
from .bootstrap import Bootstrapper
from .lookup_driver import Surroundings
from .metrics import Measurements
from .pending_requests import Requests
from .search import Query


class Discovery:
    """The whole state. Feed it with `take` and `same_host`; call `poll` after each, and at `wake_at`."""

    def __init__(self, config: DiscoveryConfig, incarnation: int) -> None:
        self._around = Surroundings(Requests(incarnation), config.bootstrap)
        self._measured = Measurements()
        self._bootstrapper = Bootstrapper(self._around)
        self._announcer = Announcer(self._around, self._measured)
        self._finds: dict[str, Find] = {}
        self._queries: dict[str, Query] = {}
        self._providing: dict[str, bytes] = {}
        self._up: SwarmUp | None = None
        self._out: list[Send] = []
        self._announcing_first = False

    @property
    def up(self) -> SwarmUp | None:
        """What the swarm last said about itself."""
        return self._up

    @property
    def busy(self) -> bool:
        """Whether anybody is searching or to be found."""
        return bool(self._finds or self._providing)

    def take(self, sender: str, message: DiscoveryInbox, now: Instant) -> None:
        """Take one message."""
        match message:
            case StartProviding():
                self._start_providing(sender, message.key, now)
            case StopProviding():
                self._stop_providing(sender)
            case Find():
                self._start_finding(sender, message, now)
            case StopFinding():
                self._stop_finding(sender)
            case SessionEnded():
                self._stop_providing(actor_of_session(message.session))
                self._stop_finding(actor_of_session(message.session))
            case SwarmUp():
                self._up = message
                self._around.own = message.peer
                self._restart(now)
                self._begin_waiting(now)
            case ActorRestarted():
                if message.actor == "swarm":
                    self._restart(now)
            case KadReply() | Servers():
                self._around.requests.answered(message, now)
            case KadFailed():
                self._around.requests.failed(message.request, now)
            case ServerJoined():
                self._server_joined(message.server, now)
            case ServerLost():
                self._bootstrapper.server_lost(now)

    def same_host(self, nodes: tuple[PeerAddresses, ...], now: Instant) -> None:
        """Take which other nodes of this user run on this host."""
        own = self._around.own
        nodes = tuple(node for node in nodes if node.peer != own)
        if nodes == self._around.same_host:
            return
        self._around.same_host = nodes
        if not nodes or own is None:
            return
        self._bootstrapper.same_host_changed(now)
        self._announcer.same_host_changed(now)
        for query in self._queries.values():
            query.same_host_changed(now)

    def poll(self, now: Instant) -> list[Send]:
        """Return all that is to be sent now, in order."""
        self._around.requests.expire(now)
        out, self._out = self._out, []
        readiness = self._bootstrapper.readiness()
        if readiness is not None:
            out += [Send("gateway", readiness, b"dht"), Send("metrics", readiness, b"dht")]
        if self._around.own is not None:
            out += _to_swarm(self._bootstrapper.poll(now))
            self._announcing_first = not self._announcing_first
            if self._announcing_first:
                out += _to_swarm(self._announcer.poll(now))
            for session, query in self._queries.items():
                out += _to_swarm(query.poll(now))
                out += [Send(session, candidate) for candidate in query.take()]
            if not self._announcing_first:
                out += _to_swarm(self._announcer.poll(now))
            self._take_turns()
        observed = self._measured.report(now)
        if observed is not None:
            out.append(Send("metrics", observed))
        return out

    def wake_at(self) -> Instant:
        """Return when `poll` has something to do although nothing happens; inf: never."""
        times = [self._measured.wake_at(), self._around.requests.wake_at()]
        # Nothing more can be asked while all requests are in use; the next answer changes that.
        if self._around.own is not None and self._around.requests.room > 0:
            times += [self._bootstrapper.wake_at(), self._announcer.wake_at()]
            times += [query.wake_at() for query in self._queries.values()]
        return min(times, default=math.inf)

    def _start_providing(self, session: str, key: bytes, now: Instant) -> None:
        if self._providing.get(session) == key:
            return
        self._stop_providing(session)
        self._providing[session] = key
        self._announcer.provide(key, now)

    def _stop_providing(self, session: str) -> None:
        key = self._providing.pop(session, None)
        if key is None or key in self._providing.values():
            return
        self._announcer.withdraw(key)

    def _start_finding(self, session: str, find: Find, now: Instant) -> None:
        if self._finds.get(session) == find:
            return
        self._stop_finding(session)
        self._finds[session] = find
        self._begin_waiting(now)

    def _stop_finding(self, session: str) -> None:
        self._finds.pop(session, None)
        query = self._queries.pop(session, None)
        if query is not None:
            query.stop()

    def _begin_waiting(self, now: Instant) -> None:
        """Begin the queries that waited for the swarm, since without it nobody could be asked anyway."""
        if self._around.own is None:
            return
        for session, find in self._finds.items():
            if session not in self._queries:
                self._queries[session] = Query(find, self._around, self._measured, now)

    def _take_turns(self) -> None:
        """While requests are scarce, let another query be the first to get one next time."""
        if self._queries and self._around.requests.room <= 0:
            first = next(iter(self._queries))
            self._queries[first] = self._queries.pop(first)

    def _restart(self, now: Instant) -> None:
        self._around.requests.clear()
        self._bootstrapper.restart(now)
        self._announcer.restart(now)
        for query in self._queries.values():
            query.restart(now)

    def _server_joined(self, server: PeerAddresses, now: Instant) -> None:
        self._bootstrapper.server_joined()
        if self._around.own is None or server.peer == self._around.own:
            return
        self._announcer.server_joined(server, now)
        for query in self._queries.values():
            query.server_joined(server, now)


def _to_swarm(messages: list[Message]) -> list[Send]:
    return [Send("swarm", message) for message in messages]
