"""Opens the libp2p host of the transport key, and its listeners.

Owns the choice of the port: the one it had before a restart, the configured one, or any free one where the
configuration leaves the choice. A listener that cannot be opened is an error with a text for the user. Never
dials. Implements docs/architecture.md, "Swarm".
"""

import errno
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from ...messages.actor_configs import SwarmConfig
from ...messages.types import Transport
from ..base import FatalActorError
from .dial import addresses
from .dial.addresses import Endpoint
from .library.connection_limits import Gate, limit_inbound_connections
from .library.host_factory import new_host
from .library.host_lifecycle import AddressTakenError, check_port_is_free, run_host

PORT_TIMEOUT_S = 2.0
"""How long to wait for a port that the process before a restart may still hold."""
_RETRY_PAUSE_S = 0.05

WriteLog = Callable[[str, str], Awaitable[None]]
"""Writes a log line: level, text."""


@dataclass(slots=True)
class Host:
    """A host and its addresses, as multiaddrs.

    `listening` is in the order of the configuration, `announced` is what other nodes get, and `local` is what
    only this machine reaches. `_advertised` is what identify reports: the same list object as in the library.
    """

    libp2p: Any
    peer: bytes
    quic: Any | None
    """The transport (quic/transport.py), where QUIC is listened on."""
    websocket: Any | None
    """The transport (websocket/transport.py), where WebSocket is used."""
    _advertised: list[Multiaddr]
    listening: tuple[str, ...] = ()
    announced: tuple[str, ...] = ()
    local: tuple[str, ...] = ()

    @property
    def transports(self) -> tuple[Transport, ...]:
        """What this host listens on and dials."""
        quic: tuple[Transport, ...] = () if self.quic is None else ("quic",)
        websocket: tuple[Transport, ...] = () if self.websocket is None else ("ws", "wss")
        return ("tcp", *quic, *websocket)

    def admit(self, gate: Gate, observe: Callable[[str, float, bool], None]) -> None:
        """Let only those connect whom `gate` allows; `observe` gets (transport, seconds, success) of each."""
        limit_inbound_connections(self.network, gate, observe)
        for transport in (self.quic, self.websocket):
            if transport is not None:
                transport.admit(gate, observe)

    @property
    def network(self) -> Any:
        """The library's Swarm object."""
        return self.libp2p.get_network()

    def own_endpoints(self) -> list[Endpoint]:
        """Return every endpoint that is this node: where it listens, on every interface, and announced."""
        own = [addresses.parse(text) for text in dict.fromkeys((*self.listening, *self.announced))]
        ips = [*addresses.interface_addresses(), *map(ipaddress.ip_address, ("127.0.0.1", "::1"))]
        anywhere = [one for one in own if one.ip is not None and one.ip.is_unspecified]
        return own + [
            one.with_ip(ip) for one in anywhere for ip in ips if one.ip and ip.version == one.ip.version
        ]

    async def listen(self, config: SwarmConfig, previous: Sequence[str], write_log: WriteLog) -> None:
        """Listen as configured; `previous` are the addresses that this node had before a restart.

        Raises FatalActorError with a text for the user.
        """
        listening: list[Endpoint] = []
        all_configured = [_listen_endpoint(text) for text in config.listen]
        for index, configured in enumerate(all_configured):
            twin = _port_of_twin(configured, all_configured, listening)
            former = _former(previous, index, configured) or twin
            listening.append(await _listen(self.libp2p, configured, former, config.default_port, write_log))
        public, local = addresses.announced(listening, config.announce, addresses.interface_addresses())
        self.listening = tuple(str(endpoint) for endpoint in listening)
        self.announced = public
        self._advertised[:] = [Multiaddr(text) for text in public]
        self.local = local


@asynccontextmanager
async def open_host(
    seed: bytes, max_connections: int, *, quic: bool = False, websocket: Any | None = None
) -> AsyncIterator[Host]:
    """Run a host that does not listen yet. It is closed within a second, also when cancelled.

    QUIC is imported only where it is used. `websocket` is the transport, where WebSocket is used.
    """
    keys = create_new_key_pair(seed)
    peer = ID.from_pubkey(keys.public_key).to_bytes()
    advertised: list[Multiaddr] = []
    transport: Any | None = None
    if quic:
        from .quic.transport import QuicTransport

        transport = QuicTransport(keys, seed)
    more = [one for one in (transport, websocket) if one is not None]
    libp2p_host = new_host(keys, max_connections, lambda: list(advertised), more)
    host = Host(libp2p_host, peer, transport, websocket, advertised)
    async with run_host(host.libp2p):
        yield host


def uses_quic(config: SwarmConfig) -> bool:
    """Return whether an address to listen on is one of QUIC. Raises FatalActorError for one that is wrong."""
    return any(_listen_endpoint(text).transport == "quic" for text in config.listen)


def websocket_transport(config: SwarmConfig) -> Any | None:
    """Return the transport, its files read, or None where WebSocket is not used. Raises FatalActorError.

    It is imported only where it is used.
    """
    listens = any(_listen_endpoint(text).transport in ("ws", "wss") for text in config.listen)
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


def _listen_endpoint(text: str) -> Endpoint:
    try:
        endpoint = addresses.parse(text)
    except addresses.AddressError as error:
        raise FatalActorError(f"cannot listen on {text}: {error}; choose another with --listen") from None
    if endpoint.ip is None:
        raise FatalActorError(
            f"cannot listen on {text}: an IP address is needed; choose another with --listen"
        )
    return endpoint


def _former(previous: Sequence[str], index: int, configured: Endpoint) -> Endpoint | None:
    """Return the endpoint of this listener before a restart, or None if it was another listener."""
    if index >= len(previous):
        return None
    former = addresses.parse(previous[index])
    return former if former.with_port(configured.port) == configured else None


def _port_of_twin(
    configured: Endpoint, all_configured: Sequence[Endpoint], listening: Sequence[Endpoint]
) -> Endpoint | None:
    """Return `configured` with the port that the same address got for TCP, if this is for UDP, or reversed.

    So that a node has one port, for TCP and for UDP, also where that is not the configured one.
    """
    for other, actual in zip(all_configured, listening, strict=False):
        same = (other.host, other.port) == (configured.host, configured.port)
        if same and other.is_udp != configured.is_udp:
            return configured.with_port(actual.port)
    return None


async def _listen(
    host: Any, configured: Endpoint, former: Endpoint | None, default_port: bool, write_log: WriteLog
) -> Endpoint:
    """Listen on the first of the possible ports that is free; log it if that is not the first choice."""
    choices = [(former, PORT_TIMEOUT_S)] if former is not None else []
    if configured != former:
        choices.append((configured, 0.0 if default_port else PORT_TIMEOUT_S / 2))
    if default_port or configured.port == 0:
        choices.append((configured.with_port(0), 0.0))
    reason: OSError | None = None
    for endpoint, patience in choices:
        try:
            actual = await _bind(host, endpoint, patience)
        except AddressTakenError as error:
            reason = error
            continue
        except OSError as error:
            raise FatalActorError(
                f"cannot listen on {endpoint}: {error.strerror or error}; choose another with --listen"
            ) from None
        if reason is not None:
            await write_log("warning", f"port {choices[0][0].port} is taken, listening on port {actual.port}")
        return actual
    why = reason.strerror if reason else "unknown"
    raise FatalActorError(f"port {configured.port} is taken: {why}; choose another with --listen")


async def _bind(host: Any, endpoint: Endpoint, patience: float) -> Endpoint:
    """Listen on one endpoint. Raises AddressTakenError after `patience` seconds, or OSError."""
    deadline = trio.current_time() + patience
    while True:
        try:
            check_port_is_free(endpoint.host, endpoint.port, is_udp=endpoint.is_udp)
            break
        except AddressTakenError:
            if trio.current_time() >= deadline:
                raise
            # There is no event for a port that another process gives up, so try again for a while.
            await trio.sleep(_RETRY_PAUSE_S)
    network = host.get_network()
    await network.listen(Multiaddr(str(endpoint)))
    listener = network.listeners.get(str(endpoint))
    actual = (
        [addresses.parse(str(address)) for address in listener.get_addrs()] if listener is not None else []
    )
    if not actual:
        raise AddressTakenError(errno.EADDRINUSE, "another program listens there")
    return endpoint.with_port(actual[0].port)
