"""Opens the libp2p host of the transport key, and knows its addresses.

Never dials. Implements docs/architecture.md, "Swarm". Where it listens is listening.py's.
"""

import ipaddress
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from ...messages.actor_configs import SwarmConfig
from ...messages.peer_protocol import PROTOCOL_ID
from ...messages.types import Transport
from ..base import FatalActorError
from .dial import addresses
from .dial.addresses import Endpoint
from .dial.hearsay import for_strangers
from .library.connection_limits import Gate, limit_inbound_connections
from .library.dialled_limits import limit_dialled_connections
from .library.host_factory import new_host
from .library.host_lifecycle import run_host
from .library.identify import tell_only_announced
from .library.inbound_roles import InboundRoles
from .listening import WriteLog, listen_endpoint
from .listening import listen as listening_on


@dataclass(slots=True)
class Host:
    """A host and its addresses, as multiaddrs.

    `listening` is in the order of the configuration, `announced` is where other nodes reach this one, `told`
    is what of that strangers get, and `local` is what only this machine reaches. `_advertised` is what
    identify reports, `told`: the same list object as in the library.
    """

    libp2p: Any
    peer: bytes
    quic: Any | None
    """The transport (quic/transport.py), where QUIC is listened on."""
    websocket: Any | None
    """The transport (websocket/transport.py), where WebSocket is used."""
    webrtc: Any | None
    """The transport (webrtc/transport.py), where WebRTC is used."""
    _advertised: list[Multiaddr]
    inbound_roles: InboundRoles = field(default_factory=InboundRoles)
    listening: tuple[str, ...] = ()
    announced: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    local: tuple[str, ...] = ()
    _configured: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    """What is announced of itself, whether it is reachable or not."""
    _confirmed: tuple[str, ...] = ()
    _circuits: tuple[str, ...] = ()
    _is_discreet: bool = False
    """Whether strangers are told of public addresses only."""

    @property
    def transports(self) -> tuple[Transport, ...]:
        """What this host listens on and dials."""
        quic: tuple[Transport, ...] = () if self.quic is None else ("quic",)
        websocket: tuple[Transport, ...] = () if self.websocket is None else ("ws", "wss")
        webrtc: tuple[Transport, ...] = () if self.webrtc is None else ("webrtc",)
        return ("tcp", *quic, *websocket, *webrtc)

    def admit(
        self,
        gate: Gate,
        observe: Callable[[str, float, bool], None],
        keeps: Callable[[bytes], bool] = lambda _peer: False,
    ) -> None:
        """Let only those connect whom `gate` allows; `observe` gets (transport, seconds, success) of each.

        `keeps` returns whether the connection with a peer stays when others need the place of an idle one.
        """
        limit_inbound_connections(self.network, gate, observe, self.inbound_roles)
        limit_dialled_connections(self.network, keeps, PROTOCOL_ID)
        for transport in (self.quic, self.websocket, self.webrtc):
            if transport is not None:
                transport.admit(gate, observe)

    @property
    def network(self) -> Any:
        """The library's Swarm object."""
        return self.libp2p.get_network()

    def own_endpoints(self) -> list[Endpoint]:
        """Return every endpoint that is this node: where it listens, on every interface, and announced."""
        texts = dict.fromkeys((*self.listening, *self.announced))
        own = [addresses.parse(text).with_zone("") for text in texts]
        anywhere = [one for one in own if one.ip is not None and one.ip.is_unspecified]
        ips = addresses.own_addresses() if anywhere else []
        return own + [
            one.with_ip(ip) for one in anywhere for ip in ips if one.ip and ip.version == one.ip.version
        ]

    async def listen(self, config: SwarmConfig, previous: Sequence[str], write_log: WriteLog) -> None:
        """Listen as configured; `previous` are the addresses that this node had before a restart.

        Raises FatalActorError with a text for the user.
        """
        bound = await listening_on(self.libp2p, config, previous, write_log)
        listening = [self._with_certificate(one) for one in bound]
        configured = [str(self._with_certificate(addresses.parse(text))) for text in config.announce]
        self.listening = tuple(str(endpoint) for endpoint in listening)
        self._configured = tuple(configured)
        # What the user has configured is told as it is. Of what was found, the addresses in a home are
        # nothing that the world has to know, and of no use to it.
        self._is_discreet = config.public and not config.announce
        self.read_interfaces()

    def read_interfaces(self) -> bool:
        """Announce the addresses that this host has now. Return whether that is a change."""
        listening = [addresses.parse(text) for text in self.listening]
        is_anywhere = any(one.ip is not None and one.ip.is_unspecified for one in listening)
        found = addresses.interface_addresses() if is_anywhere else []
        self.own, self.local = addresses.announced(listening, self._configured, found)
        return self._announce()

    @property
    def direct(self) -> tuple[str, ...]:
        """What is announced without the circuits: where this node was reached comes before its own."""
        return tuple(dict.fromkeys((*self._confirmed, *self.own)))[: addresses.MAX_ADDRESSES]

    def set_confirmed(self, confirmed: Sequence[Endpoint]) -> bool:
        """Announce these addresses too: the node is reachable there. Return whether that is a change."""
        self._confirmed = tuple(map(str, confirmed))
        return self._announce()

    def set_circuits(self, circuits: Sequence[str]) -> bool:
        """Announce these ways through relays too. Return whether that is a change."""
        self._circuits = tuple(circuits)
        return self._announce()

    def _announce(self) -> bool:
        former = self.announced
        self.announced = addresses.with_circuits(self.direct, self._circuits)
        self.told = for_strangers(self.announced) if self._is_discreet else self.announced
        self._advertised[:] = [Multiaddr(text) for text in self.told]
        return self.announced != former

    def source_of(self, family: str) -> tuple[str, int] | None:
        """Return from where TCP of an IP version leaves, to have the port that is listened on."""
        for text in self.listening:
            one = addresses.parse(text)
            if one.family == family and one.transport == "tcp" and not one.zone:
                return one.host, one.port
        return None

    def _with_certificate(self, endpoint: Endpoint) -> Endpoint:
        """Return an address of this node as others need it: of WebRTC with the certificate's hash."""
        if self.webrtc is None or endpoint.transport != "webrtc":
            return endpoint
        return endpoint.with_certhash(self.webrtc.certhash)


@asynccontextmanager
async def open_host(
    seed: bytes,
    max_connections: int,
    *,
    quic: bool = False,
    websocket: Any | None = None,
    webrtc: bool = False,
) -> AsyncIterator[Host]:
    """Run a host that does not listen yet. It is closed within a second, also when cancelled.

    QUIC and WebRTC are imported only where they are used. `websocket` is the transport, where WebSocket is
    used.
    """
    keys = create_new_key_pair(seed)
    peer = ID.from_pubkey(keys.public_key).to_bytes()
    advertised: list[Multiaddr] = []
    transport: Any | None = None
    webrtc_transport: Any | None = None
    if quic:
        from .quic.transport import QuicTransport

        transport = QuicTransport(keys, seed)
    if webrtc:
        from .webrtc.transport import WebRtcTransport

        webrtc_transport = WebRtcTransport(keys, seed)
    more = [one for one in (transport, websocket, webrtc_transport) if one is not None]
    libp2p_host = new_host(keys, max_connections, lambda: list(advertised), more)
    tell_only_announced(libp2p_host)
    host = Host(libp2p_host, peer, transport, websocket, webrtc_transport, advertised)
    async with run_host(host.libp2p):
        yield host


def uses_quic(config: SwarmConfig) -> bool:
    """Return whether an address to listen on is one of QUIC. Raises FatalActorError for one that is wrong."""
    return any(listen_endpoint(text).transport == "quic" for text in config.listen)


def uses_webrtc(config: SwarmConfig) -> bool:
    """Return whether WebRTC is used. Raises FatalActorError for an address that is wrong."""
    return config.webrtc or any(listen_endpoint(text).transport == "webrtc" for text in config.listen)


def websocket_transport(config: SwarmConfig) -> Any | None:
    """Return the transport, its files read, or None where WebSocket is not used. Raises FatalActorError.

    It is imported only where it is used.
    """
    listens = any(listen_endpoint(text).transport in ("ws", "wss") for text in config.listen)
    if not (listens or config.websocket):
        return None
    from .websocket.tls import CertificateFileError
    from .websocket.transport import WebSocketTransport
    from .websocket.wire import WebSocketOptions

    options = WebSocketOptions(
        path=config.websocket_path,
        proxies=tuple(ipaddress.ip_network(text) for text in config.websocket_proxies),
        certificate=config.tls_certificate,
        key=config.tls_key,
        ca=config.tls_ca,
    )
    try:
        return WebSocketTransport(options)
    except CertificateFileError as error:
        raise FatalActorError(str(error)) from None
