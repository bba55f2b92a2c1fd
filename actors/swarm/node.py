"""The swarm's running libp2p node: host, dialer, Kademlia and pairing exchanges, put together.

Owns what happens on events of the host (connected, disconnected, identified) and what is reported about it to
the gateway, metrics and discovery. Never reads the mailbox: actor.py does, and calls this. Implements
docs/architecture.md, "Swarm".
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from msgspec.structs import replace

from ...messages.actor_configs import SwarmConfig
from ...messages.peer_protocol import PROTOCOL_ID
from ...messages.to_discovery import ServerJoined, ServerLost, Servers, SwarmUp
from ...messages.to_gateway import SwarmStatus
from ...messages.to_metrics import Observed
from ...messages.to_swarm import KadRequest, Listening, SwarmInbox
from ...messages.to_vault import RecallPeers
from ...messages.types import RememberedPeer
from ..base import Mailbox, Send, now
from .connection_gate import ConnectionGate
from .dial import hearsay
from .dial.dialer import Dialer, NothingToDialError, UnreachableError
from .dial.resolver import Resolver, ResolverFilesReplacedError
from .host import Host, open_host, uses_quic, uses_webrtc, websocket_transport
from .identity_watch import IdentityWatch
from .interruptions import Interruptions
from .kad.dht_client import DhtClient, OwnEntries
from .kad.dht_server import DhtServer
from .kad.routing_table import RoutingTable
from .library.connections import close_connection, gave_way, host_of
from .library.identify import after_identify, push_identify
from .library.notifications import ConnectionEvents
from .listening import chosen
from .metrics import Measurements, udp_sample
from .names.resolver import DnsaddrResolver
from .pairing.ban_list import BanList
from .pairing.frame_routing import FrameRouting
from .pairing.inbound import InboundExchanges
from .pairing.outbound import OutboundExchanges
from .punch.upgrade import DirectUpgrade
from .relay.relaying import Relaying
from .remembering import Remembering
from .roles import Roles
from .status_reports import StatusReports

_BOOTSTRAP_TIMEOUT_S = 15.0
_MAX_TASKS = 4096


class SwarmNode:
    """Everything that needs the host. `inbound`, `outbound` and `dialer` are used by the actor directly."""

    _dht_client: DhtClient

    def __init__(
        self,
        mailbox: Mailbox[SwarmInbox],
        config: SwarmConfig,
        routing: FrameRouting,
        nursery: trio.Nursery,
        host: Host,
    ) -> None:
        self._mailbox = mailbox
        self._config = config
        self._routing = routing
        self._nursery = nursery
        self._host = host
        self._tasks = 0
        self._bans = BanList()
        self._reports = StatusReports()
        self._listening = trio.Event()
        self._closing = False  # while the host closes its connections, it still calls back about them
        self.remembering = Remembering(mailbox, config.dht_protocol, routing.known.__contains__)
        self._names = DnsaddrResolver(config.name_servers, self._warn)
        self._told_discovery: SwarmUp | None = None
        self._identity_watch = IdentityWatch(host.peer, host.own_endpoints, self._warn, now)
        self.roles = Roles(
            host,
            config,
            nursery,
            lambda peer: self.dialer.existing(peer),
            self.start_task,
            self._reports.count,
            self._roles_changed,
            self._warn,
            partial(self.start_task, mailbox.send, "swarm"),
        )
        self.dialer = Dialer(
            host.network,
            host.peer,
            nursery,
            lan_only=config.lan_only,
            offline=config.offline,
            transports=host.transports,
            observe=self._reports.count_handshake,
            other_peer_answered=self._identity_watch.other_peer_answered,
            reached=self.remembering.reached,
            about_to_dial=self.roles.dialling,
            udp_changed=self._reports.mark_changed,
            resolver=Resolver(warn=self._warn),
        )
        self.outbound = OutboundExchanges(self.dialer, routing, mailbox, nursery)
        self.inbound = InboundExchanges(
            host.peer,
            routing,
            mailbox,
            self._bans,
            count_refusal=self._reports.count_refusal,
            drop_peer=self.dialer.drop_peer,
        )
        self._routing_table = RoutingTable(
            host.peer, config.dht_protocol, host.libp2p.get_peerstore(), self.dialer.existing
        )
        self._dht_server: DhtServer | None = None
        if config.dht_mode != "client":
            # With `auto` it answers whoever asks, and says that it does once it is reachable (roles.py).
            self._dht_server = DhtServer(host.libp2p, self._routing_table, routing.provides)
            self._dht_server.serve(config.dht_protocol)
        self._relaying = Relaying(
            host.libp2p,
            self.dialer,
            config,
            nursery,
            own_addresses=lambda: host.direct,
            source_of=host.source_of,
            circuits_changed=partial(self.start_task, self._circuits_changed),
            changed=self._reports.mark_changed,
            behaved=self.remembering.relay_behaved,
        )
        self._interruptions = Interruptions(
            mailbox, host, self.dialer, self.roles, self._relaying, self._tell_addresses, self.start_task
        )
        self._upgrades: DirectUpgrade | None = None
        if not (config.lan_only or config.offline):  # there are no relayed connections then
            self._upgrades = DirectUpgrade(
                host,
                self.dialer,
                self.start_task,
                offers=self.roles.offers,
                about_to_dial=self.roles.dialling,
                count=partial(self._reports.count, "hole_punch_total"),
            )
        host.libp2p.set_stream_handler(TProtocol(PROTOCOL_ID), self.inbound.handle)
        host.network.register_notifee(ConnectionEvents(self._connected, self._disconnected))
        gate = ConnectionGate(self._bans, lan_only=config.lan_only, offline=config.offline)
        host.admit(gate, self._reports.count_handshake, self._relaying.keeps)
        after_identify(host.libp2p, self._identified)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        mailbox: Mailbox[SwarmInbox],
        config: SwarmConfig,
        routing: FrameRouting,
        seed: bytes,
        former: tuple[str, ...],
    ) -> AsyncIterator["SwarmNode"]:
        """Run the node; it closes within a second. `former` are the addresses that it had before a restart.

        Raises FatalActorError when it cannot listen.
        """
        async with (
            open_host(
                seed,
                config.max_connections,
                quic=uses_quic(config),
                websocket=websocket_transport(config),
                webrtc=uses_webrtc(config),
            ) as host,
            trio.open_nursery() as nursery,
        ):
            node = cls(mailbox, config, routing, nursery, host)
            await host.listen(config, former, mailbox.log)
            node._dht_client = DhtClient(
                node.dialer,
                config.dht_protocol,
                host.peer,
                lambda: host.told,
                node._unreachable,
                node.remembering.server_behaved,
                node._own_peer_named,
            )
            node.roles.start()
            nursery.start_soon(node._reports.run, mailbox, node._status, node._observed)
            nursery.start_soon(node.remembering.run)
            node._relaying.start(is_public=node.roles.reachability == "public")
            if not config.offline:
                nursery.start_soon(node._interruptions.run, routing.joiners)
            node._reports.mark_changed()
            node._listening.set()
            try:
                yield node
            finally:
                node._closing = True
            nursery.cancel_scope.cancel()

    def start_task(self, run: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        """Run one request in a task; drop it if there are 4096 already, or while the node closes."""
        if not self._closing and self._tasks < _MAX_TASKS:
            self._tasks += 1
            self._nursery.start_soon(self._contained, run, arguments)

    async def _contained(self, run: Callable[..., Awaitable[None]], arguments: tuple[Any, ...]) -> None:
        try:
            await run(*arguments)
        except (trio.BrokenResourceError, trio.ClosedResourceError, ResolverFilesReplacedError):
            raise  # the channel to the supervisor is gone, and so is this actor; or it has to start again
        except Exception as error:  # a defect in one request must not end the others
            await self._mailbox.log(
                "error", "request failed", error=type(error).__name__, request=getattr(run, "__name__", "log")
            )
        finally:
            self._tasks -= 1

    # Requests of other actors

    def announcement(self, seed: bytes) -> list[Send]:
        """Return the messages to send once the host listens. The one to itself comes back after a restart."""
        host, self._told_discovery = self._host, self._swarm_up()
        sends = [
            Send("swarm", Listening(host.listening, chosen(self._config))),
            Send("discovery", self._told_discovery),
            Send("gateway", self._status()),
            *([Send("lan", self.roles.ports_to_map(seed))] if self._config.port_mapping else []),
        ]
        if not self._config.offline:  # otherwise nobody is reached who is remembered
            sends.append(Send("vault", RecallPeers(self._config.dht_protocol)))
        return sends

    def _swarm_up(self) -> SwarmUp:
        host, serves_dht = self._host, self.roles.serves_dht
        return SwarmUp(host.peer, host.announced, host.local, host.listening, serves_dht=serves_dht)

    async def kad_request(self, request: KadRequest) -> None:
        """Do one Kademlia request for discovery."""
        await self._mailbox.send("discovery", await self._dht_client.run(request))

    def servers(self, request: int, key: bytes) -> Servers:
        """Return the servers of the routing table closest to `key`."""
        announced = () if self._dht_server is None else self._dht_server.providers(key)
        return Servers(request, self._routing_table.closest(key), announced)

    async def bootstrap(self, peer: bytes, texts: tuple[str, ...], *, remembered: bool = False) -> None:
        """Connect to a DHT server, given as multiaddrs; identify then brings it into the routing table.

        `remembered`: nobody has named it but this node's memory.
        """
        if peer == self._host.peer:  # a hint, which the user has given, names this node itself
            await self.dialer.check_who_answers(self._identity_watch.elsewhere(texts))
            return
        if not remembered:
            self._identity_watch.add_bootstrap_peer(peer)
        with trio.move_on_after(_BOOTSTRAP_TIMEOUT_S):
            try:
                if self.dialer.existing(peer) is None:
                    known = (
                        hearsay.remembered(peer, texts)
                        if remembered
                        else await self._names.expand(peer, texts)
                    )
                    await self.dialer.connect(peer, known.addresses, known.hearsay)
            except UnreachableError as error:
                if not isinstance(error, NothingToDialError):
                    self.remembering.server_behaved(peer, "dropped")
                return
            await self._add_to_routing_table(ID(peer))

    async def recall(self, peers: Sequence[RememberedPeer]) -> None:
        """Use what the vault remembers."""
        await self.remembering.recall(peers, self.dialer, self._relaying.recall)

    def session_ended(self, actor: str, *, poison: bool) -> None:
        """Forget a session; ban the peer whose frame killed it, if one did (`poison`)."""
        last_peer = self._routing.remove_session(actor, now())
        self.outbound.cancel_session(actor)
        self.inbound.pending.handle_actor_ended(actor)
        if poison and last_peer is not None:
            self._bans.ban(last_peer, now())
            self.start_task(self.dialer.drop_peer, last_peer)

    def settle_if_connected(self, peer: bytes) -> None:
        """Repeat the decision that the vault wants repeated, if there is a connection with the peer."""
        if self.dialer.existing(peer) is not None:
            self.outbound.settle(peer)

    # Events of the host

    def _connected(self, connection: Any) -> None:
        self._reports.mark_changed()
        self.roles.connected(connection)
        self._interruptions.connected(connection)
        peer = connection.muxed_conn.peer_id.to_bytes()
        if peer == self._host.peer:
            self._close_own_peer(connection)
        elif self._bans.is_banned(peer, now()):
            self.start_task(close_connection, connection)
        else:
            self.outbound.settle(peer)
            if self._upgrades is not None:
                self._upgrades.connected(connection)

    def _close_own_peer(self, connection: Any) -> None:
        """Another node has this node's identity; a connection that the dialer has made is the dialer's."""
        if not connection.muxed_conn.is_initiator:
            self._identity_watch.own_peer_connected(host_of(connection) or "behind a relay")
            self.start_task(close_connection, connection)

    def _disconnected(self, connection: Any) -> None:
        self._reports.mark_changed()
        self.roles.disconnected(connection)
        peer_id = connection.muxed_conn.peer_id
        self._relaying.handle_disconnected(peer_id.to_bytes())
        if self._routing_table.handle_disconnected(peer_id):
            lost = ServerLost(peer_id.to_bytes(), gave_way(connection))
            self.start_task(self._mailbox.send, "discovery", lost)

    async def _identified(self, peer_id: ID) -> None:
        """Identify has found out which protocols a connected peer speaks."""
        self.roles.identified(peer_id)
        if self._upgrades is not None:
            self._upgrades.identified(peer_id)
        self.start_task(self._add_to_routing_table, peer_id)

    async def _add_to_routing_table(self, peer_id: ID) -> None:
        await self._listening.wait()
        if self._routing_table.has_retired(peer_id) and self._routing_table.remove(peer_id.to_bytes()):
            self._reports.mark_changed()
            await self._mailbox.send("discovery", ServerLost(peer_id.to_bytes()))
        server = self._routing_table.add_if_server(peer_id)
        if server is not None:
            self._reports.mark_changed()
            self.remembering.server_behaved(peer_id.to_bytes(), "answered")
            self._relaying.handle_server(server)
            await self._mailbox.send("discovery", ServerJoined(server))

    def _unreachable(self, peer: bytes) -> None:
        """Remove a server that did not answer a request; one that has connected meanwhile stays."""
        if self.dialer.existing(peer) is None and self._routing_table.remove(peer):
            self._reports.mark_changed()

    def _own_peer_named(self, request: KadRequest, server: str | None, own: OwnEntries) -> None:
        """A DHT server names this node itself. Elsewhere? Then another node has its identity."""
        if request.op == "get_providers" and own.provider and not self._routing.provides(request.key):
            self._identity_watch.own_peer_provides(own.provider)
        places = self._identity_watch.to_check(
            (*own.closer, *own.provider), server, lan_only=self._config.lan_only
        )
        if places:
            self.start_task(self.dialer.check_who_answers, places)

    # Reports

    def _warn(self, event: str, fields: dict[str, str]) -> None:
        self.start_task(partial(self._mailbox.log, "warning", event, **fields))

    async def _roles_changed(self) -> None:
        """This node is reachable in another way than before."""
        self._reports.mark_changed()
        self._relaying.want_found(self.roles.reachability != "public")
        await self._tell_addresses()

    async def _circuits_changed(self) -> None:
        """Other addresses lead here through relays than before."""
        self._reports.mark_changed()
        if self._host.set_circuits(self._relaying.circuits):
            await self._tell_addresses()
            await push_identify(self._host.libp2p)  # a peer may have to dial again in mid-pairing

    async def _tell_addresses(self) -> None:
        """Tell discovery what is announced and offered, if it is something else than it knows."""
        if (news := self._swarm_up()) != self._told_discovery:
            self._told_discovery = news
            await self._mailbox.send("discovery", replace(news, is_update=True))

    def _status(self) -> SwarmStatus:
        host = self._host
        return SwarmStatus(
            peer=host.peer,
            addresses=host.announced,
            reachability=self.roles.reachability,
            dht_mode="server" if self.roles.serves_dht else "client",
            dht_peers=self._routing_table.size,
            listening=host.listening,
        )

    def _observed(self, measurements: Measurements) -> Observed:
        return measurements.observed(
            self._host.network.get_connections(),
            self._routing_table.size,
            self.roles.reachability,
            [*self._relaying.samples(), udp_sample(self.dialer.udp_is_blocked)],
        )
