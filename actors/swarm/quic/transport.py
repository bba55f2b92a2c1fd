"""QUIC as a transport of the library: listens on and dials /ip4 and /ip6 with /udp/<port>/quic-v1.

Owns the endpoints: one for each address on which this node listens. A dial leaves from one of these, so that
the peer sees the address on which this node can be reached; from a socket of its own only where none fits.
Implements docs/protocol.md, "Transports".
"""

from collections.abc import Awaitable, Callable
from typing import Any

import trio
from libp2p.abc import IListener, ITransport
from libp2p.crypto.keys import KeyPair
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from ....protocol.multiaddrs import AddressError, Endpoint, parse
from ..library.connection_limits import Gate
from ..library.connections import UdpAddress
from ..library.tcp_sockets import zone_of
from ..library.udp_sockets import socket_address, source_for
from .certificates import own_certificate
from .connection import QuicConnection
from .endpoint import Endpoint as UdpEndpoint
from .endpoint import Identity
from .reset_tokens import ResetTokens
from .wire import QuicError

Handler = Callable[[Any], Awaitable[None]]
"""Gets an inbound connection, and returns when that has ended."""


class QuicTransport(ITransport):  # type: ignore[misc]
    """The transport of one host."""

    def __init__(self, keys: KeyPair, seed: bytes) -> None:
        self._identity = Identity(own_certificate(keys), ResetTokens(seed))
        self._nursery: trio.Nursery | None = None
        self._listening: list[UdpEndpoint] = []
        self._dialling: list[UdpEndpoint] = []
        """Sockets for dials only; there is one when no listener's fits."""

    def admit(self, gate: Gate, observe: Callable[[str, float, bool], None]) -> None:
        """Let only those connect whom `gate` allows; `observe` gets inbound handshakes that have failed."""
        self._identity.gate, self._identity.observe = gate, observe

    def on_stray(self, heard: Callable[[str, int], None]) -> None:
        """Call `heard(host, port)` when a packet comes from there that belongs to no connection."""
        self._identity.heard_stray = heard

    def send_probe(self, target: Endpoint, data: bytes) -> bool:
        """Send bytes from the socket that is listened on, to open a NAT; return whether there was a way."""
        address = socket_address(target)
        return any(one.send(data, address) for one in self._listening if one.can_reach(target.host))

    # What the library calls

    def set_background_nursery(self, nursery: trio.Nursery) -> None:
        """Run connections in the host's nursery."""
        self._nursery = nursery

    def protocols(self) -> list[str]:
        """Return the protocol of a multiaddr that is this transport's."""
        return ["quic-v1"]

    def can_dial(self, maddr: Multiaddr) -> bool:
        """Return whether it is an IP address with /udp and /quic-v1."""
        try:
            endpoint = parse(str(maddr))
        except AddressError:
            return False
        return endpoint.transport == "quic" and endpoint.ip is not None

    def can_listen(self, maddr: Multiaddr) -> bool:
        """Return whether `can_dial` holds."""
        return self.can_dial(maddr)

    async def dial(self, maddr: Multiaddr) -> QuicConnection:
        """Return a connection with the peer that the multiaddr ends with. Raises QuicError and others."""
        target = parse(str(maddr)).with_zone(zone_of(maddr))
        peer = ID.from_base58(str(maddr.value_for_protocol("p2p"))).to_bytes()
        return await self._endpoint_for(target).dial(socket_address(target), peer)

    def create_listener(self, handler_function: Handler) -> "QuicListener":
        """Return a listener that does not listen yet."""
        return QuicListener(self, handler_function)

    async def close(self) -> None:
        """Close every socket."""
        for endpoint in (*self._listening, *self._dialling):
            endpoint.close()
        self._listening.clear()
        self._dialling.clear()
        await trio.lowlevel.checkpoint()

    # What its listeners call

    def open(self, host: str, port: int, accept: Callable[[QuicConnection], None] | None) -> UdpEndpoint:
        """Return a new endpoint that is bound. Raises OSError."""
        endpoint = UdpEndpoint(self._identity, accept)
        endpoint.open(host, port, self.nursery)
        return endpoint

    def add_listening(self, endpoint: UdpEndpoint) -> None:
        """Dial from this endpoint too."""
        self._listening.append(endpoint)

    def drop_listening(self, endpoint: UdpEndpoint) -> None:
        """Dial from it no more."""
        if endpoint in self._listening:
            self._listening.remove(endpoint)

    @property
    def nursery(self) -> trio.Nursery:
        """Where connections run."""
        if self._nursery is None:
            raise QuicError("the host does not run")
        return self._nursery

    def _endpoint_for(self, target: Endpoint) -> UdpEndpoint:
        for endpoint in (*self._listening, *self._dialling):
            if endpoint.can_reach(target.host):
                return endpoint
        self._dialling.append(self.open(source_for(target), 0, None))
        return self._dialling[-1]


class QuicListener(IListener):  # type: ignore[misc]
    """One address on which a host listens."""

    def __init__(self, transport: QuicTransport, handler: Handler) -> None:
        self._transport = transport
        self._handler = handler
        self._endpoint: UdpEndpoint | None = None

    async def listen(self, maddr: Multiaddr) -> None:
        """Bind the socket. Raises OSError, AddressError."""
        wanted, zone = parse(str(maddr)), zone_of(maddr)
        host = f"{wanted.host}%{zone}" if zone else wanted.host
        self._endpoint = self._transport.open(host, wanted.port, self._accept)
        self._transport.add_listening(self._endpoint)
        await trio.lowlevel.checkpoint()

    def get_addrs(self) -> tuple[Multiaddr, ...]:
        """Return the address on which it listens, with the true port; nothing when it does not."""
        return () if self._endpoint is None else (UdpAddress.of(self._endpoint.address).multiaddr(),)

    async def close(self) -> None:
        """Tell the peers, and close the socket."""
        if self._endpoint is not None:
            self._transport.drop_listening(self._endpoint)
            self._endpoint.close()
            self._endpoint = None
        await trio.lowlevel.checkpoint()

    def _accept(self, connection: QuicConnection) -> None:
        self._transport.nursery.start_soon(self._handle, connection)

    async def _handle(self, connection: QuicConnection) -> None:
        try:
            await self._handler(connection)
        except Exception:  # as with TCP, what goes wrong concerns this connection alone
            connection.end(QuicError("not handled"))
