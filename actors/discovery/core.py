"""All of discovery but its I/O: messages and the nodes of this host go in, messages to send come out.

Owns which session searches and which one provides, and passes each event to every part that it concerns:
searches (search.py), announcements (announce.py), the bootstrap (bootstrap.py) and what a server looks up to
get to know the others (neighbourhood.py). Sans-IO: never reads a clock, a file or a socket; actor.py drives
it, and tests drive it in virtual time.
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
    LanPeer,
    NetworkChanged,
    RememberedServers,
    ServerJoined,
    ServerLost,
    Servers,
    StartProviding,
    StopFinding,
    StopProviding,
    SwarmUp,
)
from ...messages.to_swarm import Bootstrap
from ...messages.types import Instant, PeerAddresses
from ..base import Send
from .announce import Announcer
from .bootstrap import Bootstrapper
from .context import DiscoveryContext
from .mdns import Mdns
from .metrics import DiscoveryMetrics
from .neighbourhood import Neighbourhood
from .pending_requests import PendingRequests
from .search import Search


class Discovery:
    """The state of discovery.

    Feed it by `handle` and `set_same_host`; call `poll` after each, and at `wake_at`.
    """

    def __init__(self, config: DiscoveryConfig, incarnation: int) -> None:
        self._context = DiscoveryContext(PendingRequests(incarnation), config.bootstrap)
        self._metrics = DiscoveryMetrics()
        self._bootstrapper = Bootstrapper(self._context)
        self._announcer = Announcer(self._context, self._metrics)
        self._neighbourhood = Neighbourhood(self._context)
        self._finds: dict[str, Find] = {}
        self._searches: dict[str, Search] = {}
        self._providing: dict[str, StartProviding] = {}
        self._mdns = Mdns(enabled=config.mdns)
        self._swarm_up: SwarmUp | None = None
        self._swarm_is_new = True
        """Whether the swarm has not reported since it was started, so that the next report is its first."""
        self.own_bootstrap: tuple[str, ...] = ()
        """Where the configuration names this very node as a bootstrap peer: known once the swarm is up."""
        self._own_hints: list[Bootstrap] = []
        """Hints that name this node itself, for the swarm to check who is there."""
        self._announcing_first = False
        """Whether announcements went before searches in the last poll."""

    @property
    def swarm_up(self) -> SwarmUp | None:
        """What the swarm last reported of itself; None until it is up."""
        return self._swarm_up

    @property
    def busy(self) -> bool:
        """Whether any session searches or provides a key."""
        return bool(self._finds or self._providing)

    def handle(self, sender: str, message: DiscoveryInbox, now: Instant) -> None:
        """Handle one message."""
        match message:
            case StartProviding():
                self._start_providing(sender, message, now)
            case StopProviding():
                self._stop_providing(sender)
            case Find():
                self._start_finding(sender, message, now)
            case StopFinding():
                self._stop_finding(sender)
            case SessionEnded():
                self._stop_providing(actor_of_session(message.session))
                self._stop_finding(actor_of_session(message.session))
            case SwarmUp(is_update=True) if self._swarm_up is not None:
                self._swarm_up = message
                self._announcer.renew(now)
                self._neighbourhood.handle_role(now, serves_dht=message.serves_dht)
            case SwarmUp():
                self._handle_swarm_up(message, now)
            case ActorRestarted():
                if message.actor == "swarm":
                    self._swarm_is_new = True
                    self._restart(now)
            case KadReply() | Servers():
                self._context.requests.resolve(message, now)
            case KadFailed():
                self._context.requests.fail(message.request, now)
            case ServerJoined():
                self._handle_server_joined(message.server, now)
            case ServerLost():
                self._bootstrapper.handle_server_lost(message.peer, now, is_there=message.gave_way)
            case NetworkChanged():
                self._bootstrapper.handle_network_changed(now)
                self._announcer.renew(now)
                self._neighbourhood.restart(now)
            case RememberedServers(servers=servers):
                self._context.remembered = servers
                self._bootstrapper.handle_remembered(now)
            case LanPeer():
                self._handle_lan_peer(message, now)

    def set_same_host(self, nodes: tuple[PeerAddresses, ...], now: Instant) -> None:
        """Set the other nodes of this user that run on this host now."""
        own_peer = self._context.own_peer
        nodes = tuple(node for node in nodes if node.peer != own_peer)
        if nodes == self._context.same_host:
            return
        self._context.same_host = nodes
        if not nodes or own_peer is None:
            return
        self._bootstrapper.handle_same_host(now)
        self._announcer.handle_same_host(now)
        for search in self._searches.values():
            search.handle_same_host(now)

    def poll(self, now: Instant) -> list[Send]:
        """Return everything to send now, in order."""
        self._context.requests.expire(now)
        out: list[Send] = []
        readiness = self._bootstrapper.changed_readiness()
        if readiness is not None:
            out += [Send("gateway", readiness, b"dht"), Send("metrics", readiness, b"dht")]
        out += self._mdns.poll()
        if self._context.own_peer is not None:
            out += _to_swarm(self._bootstrapper.poll(now))
            out += _to_swarm(list(self._own_hints))
            self._own_hints = []
            # Announcements and searches share the bounded requests: they take turns in being first.
            self._announcing_first = not self._announcing_first
            if self._announcing_first:
                out += _to_swarm(self._announcer.poll(now))
            for session, search in self._searches.items():
                out += _to_swarm(search.poll(now))
                out += [Send(session, candidate) for candidate in search.pop_candidates(now)]
            if not self._announcing_first:
                out += _to_swarm(self._announcer.poll(now))
            self._neighbourhood.handle_servers(now, are_known=self._bootstrapper.server_known)
            out += _to_swarm(self._neighbourhood.poll(now))
            self._rotate_searches()
        report = self._metrics.report(now)
        if report is not None:
            out.append(Send("metrics", report))
        return out

    def wake_at(self) -> Instant:
        """Return when `poll` has something to do without any event; inf: never."""
        times = [self._metrics.wake_at(), self._context.requests.wake_at()]
        # While all requests are in use nothing can be sent; the next answer changes that.
        if self._context.own_peer is not None and self._context.requests.room > 0:
            times += [self._bootstrapper.wake_at(), self._announcer.wake_at(), self._neighbourhood.wake_at()]
            times += [search.wake_at() for search in self._searches.values()]
        return min(times, default=math.inf)

    def _handle_swarm_up(self, message: SwarmUp, now: Instant) -> None:
        """Begin, with a swarm that has just started; or announce the new addresses of one that goes on."""
        former, self._swarm_up = self._swarm_up, message
        self._neighbourhood.handle_role(now, serves_dht=message.serves_dht)
        is_new, self._swarm_is_new = self._swarm_is_new or former is None, False
        self._announce_on_lan()
        if is_new or former is None:
            self._context.own_peer = message.peer
            self._leave_out_own_bootstrap(message.peer)
            self._restart(now)
            self._start_waiting_searches(now)
        elif former.addresses != message.addresses:
            self._announcer.announce_again(now)

    def _leave_out_own_bootstrap(self, own_peer: bytes) -> None:
        """A list that several servers share names each of them: it is no door into the DHT for that one."""
        own = [peer for peer in self._context.bootstrap if peer.peer == own_peer]
        if own:
            self.own_bootstrap = tuple(address for peer in own for address in peer.addresses)
            others = tuple(peer for peer in self._context.bootstrap if peer.peer != own_peer)
            self._context.bootstrap = others

    def _start_providing(self, session: str, start: StartProviding, now: Instant) -> None:
        if self._providing.get(session) == start:
            return
        self._stop_providing(session)
        self._providing[session] = start
        self._announcer.provide(start.key, now)
        self._announce_on_lan()

    def _stop_providing(self, session: str) -> None:
        start = self._providing.pop(session, None)
        if start is None:
            return
        if all(other.key != start.key for other in self._providing.values()):
            self._announcer.withdraw(start.key)
        self._announce_on_lan()

    def _start_finding(self, session: str, find: Find, now: Instant) -> None:
        if self._finds.get(session) == find:
            return
        self._stop_finding(session)
        self._finds[session] = find
        self._start_waiting_searches(now)

    def _stop_finding(self, session: str) -> None:
        self._finds.pop(session, None)
        search = self._searches.pop(session, None)
        if search is not None:
            search.stop()
            self._browse_lan()

    def _announce_on_lan(self) -> None:
        self._mdns.announce((start.instance for start in self._providing.values()), self._swarm_up)

    def _browse_lan(self) -> None:
        self._mdns.browse(self._finds[session].instance for session in self._searches)

    def _handle_lan_peer(self, message: LanPeer, now: Instant) -> None:
        for session, search in self._searches.items():
            if self._finds[session].instance == message.instance:
                search.handle_lan_peer(message.source, message.named, now)

    def _start_waiting_searches(self, now: Instant) -> None:
        """Start the searches that waited for the swarm: without it no server can be asked."""
        if self._context.own_peer is None:
            return
        for session, find in self._finds.items():
            if session not in self._searches:
                self._searches[session] = Search(find, self._context, self._metrics, now)
                self._mdns.browse_again(find.instance)
                self._browse_lan()
                own = [hint for hint in find.hints if hint.peer == self._context.own_peer]
                self._own_hints += [Bootstrap(hint.peer, hint.addresses) for hint in own]

    def _rotate_searches(self) -> None:
        """While requests are scarce, let another search be the first to get one at the next poll."""
        if self._searches and self._context.requests.room <= 0:
            first = next(iter(self._searches))
            self._searches[first] = self._searches.pop(first)

    def _restart(self, now: Instant) -> None:
        self._context.requests.clear()
        self._bootstrapper.restart(now)
        self._announcer.restart(now)
        self._neighbourhood.restart(now)
        for search in self._searches.values():
            search.restart(now)

    def _handle_server_joined(self, server: PeerAddresses, now: Instant) -> None:
        was_alone = self._bootstrapper.is_alone
        self._bootstrapper.handle_server_joined(server.peer, now)
        if self._context.own_peer is None or server.peer == self._context.own_peer:
            return
        if was_alone:
            self._neighbourhood.restart(now)
        self._announcer.handle_server_joined(server, now)
        self._neighbourhood.handle_server_joined(server)
        for search in self._searches.values():
            search.handle_server_joined(server, now)


def _to_swarm(messages: list[Message]) -> list[Send]:
    return [Send("swarm", message) for message in messages]
