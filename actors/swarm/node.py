"""The running node: host, dialer, DHT, pairing port and asking, put together around one mailbox.

Owns what happens on events of the host (connected, identified) and what is reported about them.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
from libp2p.abc import INotifee
from libp2p.custom_types import TProtocol
from libp2p.kad_dht.kad_dht import DHTMode
from libp2p.peer.id import ID
from libp2p.tools.anyio_service import background_trio_service

from ...messages.actor_configs import SwarmConfig
from ...messages.peer_protocol import PROTOCOL_ID
from ...messages.to_discovery import ServerJoined, ServerLost, Servers, SwarmUp
from ...messages.to_gateway import SwarmStatus
from ...messages.to_metrics import Observed
from ...messages.to_swarm import KadRequest, Listening, SwarmInbox
from ...messages.types import PeerAddresses
from ..base import Mailbox, Send, now
from . import metrics
from .dial import addresses
from .dial.dialer import Dialer, UnreachableError
from .host import Host, open_host
from .kad import dht_client
from .kad.dht_client import KadClient
from .kad.dht_server import Dht, use_protocol
from .library import corrections
from .pairing.frame_routing import Tables
from .pairing.inbound import PairingPort
from .pairing.limits import Abuse
from .pairing.outbound import Asking
from .pairing.pending_requests import Requests

_REPORT_EVERY = 1.0
_BOOTSTRAP_DEADLINE = 15.0
_MOST_TASKS = 4096


class _Gate:
    """Who may connect at all (corrections.Gate)."""

    def __init__(self, abuse: Abuse, lan_only: bool) -> None:
        self._abuse = abuse
        self._lan_only = lan_only

    def allows(self, host: str) -> bool:
        """Refuse blocked address blocks, and with --lan-only everything from outside."""
        if self._abuse.is_blocked(addresses.block_of(host), now()):
            return False
        return not self._lan_only or addresses.is_local_host(host)


class _Events(INotifee):  # type: ignore[misc]
    """Passes the library's notifications on; none of them may wait."""

    def __init__(self, connected: Callable[[Any], None], disconnected: Callable[[Any], None]) -> None:
        self._connected = connected
        self._disconnected = disconnected

    async def connected(self, network: Any, conn: Any) -> None:
        self._connected(conn)

    async def disconnected(self, network: Any, conn: Any) -> None:
        self._disconnected(conn)

    async def opened_stream(self, network: Any, stream: Any) -> None:
        return

    async def closed_stream(self, network: Any, stream: Any) -> None:
        return

    async def listen(self, network: Any, multiaddr: Any) -> None:
        return

    async def listen_close(self, network: Any, multiaddr: Any) -> None:
        return


class Node:
    """Everything that needs the host."""

    _kad_client: KadClient

    def __init__(
        self,
        mailbox: Mailbox[SwarmInbox],
        config: SwarmConfig,
        tables: Tables,
        nursery: trio.Nursery,
        host: Host,
    ) -> None:
        self._mailbox = mailbox
        self._config = config
        self._tables = tables
        self._nursery = nursery
        self._host = host
        self._tasks = 0
        self._abuse = Abuse()
        self._measured = metrics.Measurements()
        self._changed = trio.Event()
        self._lost: set[bytes] = set()
        """Servers of the routing table with which no connection is left."""
        self._running = trio.Event()
        self._over = False
        """The host still closes its connections, and says so."""
        self._mode = DHTMode.CLIENT if config.dht_mode == "client" else DHTMode.SERVER
        self.requests = Requests(mailbox)
        self.dialer = Dialer(
            host.network, host.peer, nursery, lan_only=config.lan_only, observe=self._handshake
        )
        self.asking = Asking(self.dialer, tables, mailbox, nursery)
        self._port = PairingPort(
            host.peer,
            tables,
            self.requests,
            self._abuse,
            self._refused,
            self.dialer.drop_peer,
            self.dialer.drop_block,
        )
        self._dht = Dht(host.libp2p, self._mode, tables.provides)
        host.libp2p.set_stream_handler(TProtocol(PROTOCOL_ID), self._port.handle)
        host.network.register_notifee(_Events(self._connected, self._disconnected))
        gate = _Gate(self._abuse, config.lan_only)
        corrections.release_inbound_slots(host.network, gate, self._handshake)
        corrections.after_identify(host.libp2p, self._identified)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        mailbox: Mailbox[SwarmInbox],
        config: SwarmConfig,
        tables: Tables,
        seed: bytes,
        former: tuple[str, ...],
    ) -> AsyncIterator["Node"]:
        """Run the node; closes within a second. Raises FatalActorError when it cannot listen."""

        async def note(level: str, text: str) -> None:
            await mailbox.log(level, text)

        use_protocol(config.dht_protocol)
        async with open_host(seed, config.max_connections) as host, trio.open_nursery() as nursery:
            node = cls(mailbox, config, tables, nursery, host)
            await host.listen(config, former, note)
            node._kad_client = KadClient(
                node.dialer, config.dht_protocol, host.peer, host.announced, node._unreachable
            )
            async with background_trio_service(node._dht):
                nursery.start_soon(node._report)
                node._note_change()
                node._running.set()
                try:
                    yield node
                finally:
                    node._over = True
                nursery.cancel_scope.cancel()

    def start(self, run: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        """Run one request in a task of its own; dropped when there are far too many, or while it closes."""
        if not self._over and self._tasks < _MOST_TASKS:
            self._tasks += 1
            self._nursery.start_soon(self._contained, run, arguments)

    async def _contained(self, run: Callable[..., Awaitable[None]], arguments: tuple[Any, ...]) -> None:
        try:
            await run(*arguments)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise  # the channel to the supervisor is gone: so is this actor
        except Exception as error:  # a defect in one request must not end the others
            await self._mailbox.log(
                "error", "request failed", error=type(error).__name__, request=run.__name__
            )
        finally:
            self._tasks -= 1

    # What others ask for

    def announcement(self) -> list[Send]:
        """Return what to tell once the host listens."""
        host = self._host
        return [
            Send("swarm", Listening(host.listening)),
            Send("discovery", SwarmUp(host.peer, host.announced, host.local)),
            Send("gateway", self._status()),
        ]

    async def kad_request(self, request: KadRequest) -> None:
        """Do one Kademlia request for discovery."""
        await self._mailbox.send("discovery", await self._kad_client.run(request))

    def servers(self, request: int, key: bytes) -> Servers:
        """Return the servers of the routing table closest to `key`."""
        closest = self._dht.routing_table.find_local_closest_peers(key, dht_client.MOST_CLOSER)
        return Servers(request, tuple(self._server(peer) for peer in closest[: dht_client.MOST_CLOSER]))

    async def bootstrap(self, peer: bytes, texts: tuple[str, ...]) -> None:
        """Connect to a DHT server; identify then brings it into the routing table."""
        if peer == self._host.peer:
            return
        with trio.move_on_after(_BOOTSTRAP_DEADLINE):
            try:
                await self.dialer.connect(peer, texts)
            except UnreachableError:
                return
            await self._offer(ID(peer))

    def session_ended(self, actor: str, *, poison: bool) -> None:
        """Forget a session; whoever sent it a frame that no process survived is not heard for a while."""
        last = self._tables.end(actor)
        self.asking.end(actor)
        self.requests.actor_ended(actor)
        if poison and last is not None:
            self._abuse.block(last, now())
            self.start(self.dialer.drop_peer, last)

    def contact_if_connected(self, peer: bytes) -> None:
        """Repeat a decision at once where a connection exists."""
        if self.dialer.existing(peer) is not None:
            self.asking.contact(peer)

    # What happens on the network

    def _connected(self, connection: Any) -> None:
        self._note_change()
        peer = connection.muxed_conn.peer_id.to_bytes()
        if self._abuse.is_blocked(peer, now()):
            self.start(corrections.close_connection, connection)
        else:
            self.asking.contact(peer)

    def _disconnected(self, connection: Any) -> None:
        self._note_change()
        peer_id = connection.muxed_conn.peer_id
        peer = peer_id.to_bytes()
        if self._dht.routing_table.peer_in_table(peer_id) and self.dialer.existing(peer) is None:
            self._lost.add(peer)
            self.start(self._mailbox.send, "discovery", ServerLost(peer))

    async def _identified(self, peer_id: ID) -> None:
        """Identify has told what a connected peer speaks."""
        self.start(self._offer, peer_id)

    async def _offer(self, peer_id: ID) -> None:
        """Bring a DHT server into the routing table, with the addresses that it has now."""
        await self._running.wait()
        if not self._dht.is_server(peer_id):
            return
        table = self._dht.routing_table
        known = table.peer_in_table(peer_id)
        is_news = not known or peer_id.to_bytes() in self._lost
        self._lost.discard(peer_id.to_bytes())
        if known:
            table.remove_peer(peer_id)
        if await self._dht.add_peer(peer_id) and is_news:
            self._note_change()
            await self._mailbox.send("discovery", ServerJoined(self._server(peer_id)))

    def _server(self, peer_id: ID) -> PeerAddresses:
        try:
            known = self._host.libp2p.get_peerstore().addrs(peer_id)
        except Exception:  # expired in the peer store: what the routing table remembers will do
            info = self._dht.routing_table.get_peer_info(peer_id)
            known = [] if info is None else info.addrs
        return PeerAddresses(peer_id.to_bytes(), dht_client.readable_addresses(known))

    def _unreachable(self, peer: bytes) -> None:
        """Take a server that does not answer out of the routing table; contact brings it back."""
        self._lost.discard(peer)
        if self._dht.routing_table.peer_in_table(ID(peer)):
            self._dht.routing_table.remove_peer(ID(peer))
            self._note_change()

    # What is reported

    def _handshake(self, transport: str, seconds: float, succeeded: bool) -> None:
        self._measured.handshake(transport, seconds, succeeded)
        self._note_change()

    def _refused(self, reason: str) -> None:
        self._measured.refusal(reason)
        self._note_change()

    def _note_change(self) -> None:
        self._changed.set()

    def _status(self) -> SwarmStatus:
        host = self._host
        return SwarmStatus(
            peer=host.peer,
            addresses=host.announced,
            reachability=metrics.reachability(host.announced),
            dht_mode="client" if self._mode is DHTMode.CLIENT else "server",
            dht_peers=self._dht.get_routing_table_size(),
        )

    async def _report(self) -> None:
        """Tell gateway and metrics what has changed, at most once a second."""
        said_status, said = self._status(), Observed()
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            present = self._status()
            observed = self._measured.observed(self._host.network.get_connections(), present.dht_peers)
            sends = [Send("gateway", present)] if present != said_status else []
            sends += [Send("metrics", observed)] if observed != said else []
            if sends:
                await self._mailbox.send_all(sends)
            said_status, said = present, observed
            await trio.sleep(_REPORT_EVERY)  # not a wait for anything: the pace of reports
