"""What this node says of itself and does for others, by its reachability.

A node that others reach offers to answer DHT requests (with the mode `auto`), dials back for AutoNAT, and
announces the addresses at which it was reached. Owns these three, and that peers hear when they change. How
reachable the node is, is reachability/'s. Implements docs/protocol.md, "Reachability".
"""

import ipaddress
from collections.abc import Awaitable, Callable, Collection, Iterable
from functools import partial
from typing import Any, Final

import trio
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID

from ...messages.actor_configs import SwarmConfig
from ...messages.to_lan import MapPorts
from ...messages.to_metrics import MetricName
from ...messages.to_swarm import PortMapping, ReachabilityEvidence
from ...messages.types import Reachability
from .dial import addresses
from .dial.addresses import Endpoint
from .host import Host
from .library import identify
from .library.connections import host_of, is_alive
from .reachability import mapped_ports
from .reachability.autonat_messages import DIAL_REQUEST_PROTOCOL
from .reachability.autonat_server import AutonatServer
from .reachability.dial_back import DialBack
from .reachability.judgement import fixed, serves_dht
from .reachability.watch import ReachabilityWatch

NOTHING_TO_TELL: Final = "no public address and no relay: see --announce, --relay"
FIRST_RELAY_S: Final = 30.0
"""After so long a node of the public network has found a relay, if it finds any soon."""


class Roles:
    """The roles of one node. `changed` is awaited when its state or its addresses are others.

    `count` gets the name of a metric and the outcome of what has happened once; `keep` the evidence that
    `resume` wants after a restart.
    """

    def __init__(
        self,
        host: Host,
        config: SwarmConfig,
        nursery: trio.Nursery,
        existing: Callable[[bytes], Any | None],
        start_task: Callable[..., None],
        count: Callable[[MetricName, str], None],
        changed: Callable[[], Awaitable[None]],
        warn: Callable[[str, dict[str, str]], None],
        keep: Callable[[ReachabilityEvidence], None],
    ) -> None:
        self._host = host
        self._config = config
        self._nursery = nursery
        self._existing = existing
        self._start_task = start_task
        self._count = count
        self._changed = changed
        self._warn = warn
        self._keep = keep
        self._watch: ReachabilityWatch | None = None
        self.serves_dht = config.dht_mode == "server"
        """Whether this node offers to answer DHT requests."""
        self._dials_back = False
        identify.on_observed(host.libp2p, self._seen_as)
        self._tell_dht()

    @property
    def reachability(self) -> Reachability:
        """From where this node can be reached."""
        return "unknown" if self._watch is None else self._watch.state

    def offers(self) -> tuple[Endpoint, ...]:
        """Return where a peer that dials at the same time may reach this node."""
        return () if self._watch is None else self._watch.offers()

    def ports_to_map(self, seed: bytes) -> MapPorts:
        """Return what to ask of the gateway."""
        announced = [addresses.parse(text) for text in self._host.announced]
        return mapped_ports.ports_to_map(self._listening(), announced, seed)

    def start(self) -> None:
        """Begin: the host listens now."""
        host, config = self._host, self._config
        self._watch = ReachabilityWatch(
            host.libp2p,
            listening=self._listening(),
            announced=[addresses.parse(text) for text in host.announced],
            is_configured=bool(config.announce),
            fixed=fixed(config, host.announced),
            existing=self._existing,
            start_task=self._start_task,
            changed=lambda: self._start_task(self._follow),
            observe=partial(self._count, "reachability_checks_total"),
            keep=self._keep,
        )
        for connection in host.network.get_connections():
            self._watch.connected(connection)
        self._take_up_roles()
        self._nursery.start_soon(self._watch.run)
        if config.public:
            self._nursery.start_soon(self._warn_if_not_found)

    def resume(self, evidence: ReachabilityEvidence) -> None:
        """Go on where a former process was, right after `start`."""
        if self._watch is not None:
            self._watch.resume(evidence)
            self._host.set_confirmed(self._watch.confirmed)
            self._take_up_roles()

    # Events of the node

    def dialling(self, endpoint: Endpoint, from_listening_port: bool = False) -> None:
        """A dial to an IP address begins."""
        if self._watch is not None:
            self._watch.dialling(endpoint, from_listening_port=from_listening_port)

    def connected(self, connection: Any) -> None:
        """There is a new connection."""
        if self._watch is not None:
            self._watch.connected(connection)

    def disconnected(self, connection: Any) -> None:
        """A connection has ended."""
        if self._watch is not None:
            self._watch.disconnected(connection)

    def identified(self, peer_id: ID) -> None:
        """Identify has found out which protocols a peer speaks."""
        if self._watch is not None:
            try:
                protocols = self._host.libp2p.get_peerstore().get_protocols(peer_id)
            except Exception:  # not in the peer store: not identified
                return
            self._watch.identified(peer_id.to_bytes(), protocols)

    def set_mappings(self, mappings: Iterable[PortMapping]) -> None:
        """The gateway has opened these for this node, and no others."""
        if self._watch is not None and self._config.port_mapping:
            self._watch.set_mappings(mapped_ports.endpoints(mappings, self._listening()))

    def network_changed(self) -> None:
        """This host is in another network, or in the same one again."""
        if self._watch is not None:
            self._watch.network_changed([addresses.parse(text) for text in self._host.own])

    def interrupted(self) -> None:
        """This host may be elsewhere, even if its addresses are the same; what was dead is closed."""
        if self._watch is not None:
            hosts = (host_of(one) for one in self._host.network.get_connections() if is_alive(one))
            self._watch.interrupted([one for one in hosts if one is not None])

    def _listening(self) -> list[Endpoint]:
        return [addresses.parse(text) for text in self._host.listening]

    def _seen_as(self, connection: Any, text: str) -> None:
        if self._watch is not None:
            self._watch.seen_as(connection, text)

    # What follows

    async def _warn_if_not_found(self) -> None:
        """Say, once, that others are not told of any address, if a relay is not found in time."""
        await trio.sleep(FIRST_RELAY_S)  # not a wait for an event: what does not happen makes none
        if not self._host.told:
            self._warn(NOTHING_TO_TELL, {})

    async def _follow(self) -> None:
        """Take up or lay down roles, and tell whoever has to know."""
        assert self._watch is not None
        self._host.set_confirmed(self._watch.confirmed)
        self._take_up_roles()
        await self._changed()
        await identify.push_identify(self._host.libp2p)

    def _take_up_roles(self) -> None:
        state = self.reachability
        self.serves_dht = serves_dht(self._config, state)
        self._tell_dht()
        dials_back = self.serves_dht and state not in ("private", "this host")
        if dials_back and not self._dials_back:
            server = AutonatServer(
                DialBack(self._nursery, self._host.transports),
                self._host.transports,
                _versions,
                lambda endpoint: endpoint in self._host.own_endpoints(),
                self.dialling,
                partial(self._count, "dial_backs_total"),
            )
            self._host.libp2p.set_stream_handler(TProtocol(DIAL_REQUEST_PROTOCOL), server.handle)
        elif self._dials_back and not dials_back:
            self._host.libp2p.get_mux().remove_handler(TProtocol(DIAL_REQUEST_PROTOCOL))
        self._dials_back = dials_back

    def _tell_dht(self) -> None:
        if self._config.dht_mode == "auto":
            identify.hide_protocol(
                self._host.libp2p,
                self._config.dht_protocol,
                hidden=not self.serves_dht,
                from_neighbours_too=self._config.public,
            )


def _versions() -> Collection[int]:
    """Return the IP versions with which this host reaches the Internet: IPv6 needs a public address."""
    found = set()
    for ip in addresses.own_addresses():
        if isinstance(ip, ipaddress.IPv4Address) and not (ip.is_loopback or ip.is_link_local):
            found.add(4)
        elif ip.is_global:
            found.add(ip.version)
    return found
