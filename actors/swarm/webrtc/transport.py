"""WebRTC-direct as a transport of the library: /ip4 and /ip6 with /udp/<port>/webrtc-direct/certhash/<hash>.

Owns the endpoints: one for each address on which this node listens, and one for each dial, because a listener
tells connections apart by the address they come from. Implements docs/protocol.md, "Transports".
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
from ..library.connections import WebRtcAddress
from ..library.tcp_sockets import zone_of
from ..library.udp_sockets import socket_address, source_for
from .certificate import certhash, fingerprint_named, listener_certificate
from .connection import WebRtcConnection
from .endpoint import Endpoint as UdpEndpoint
from .endpoint import Identity
from .wire import WebRtcError

Handler = Callable[[Any], Awaitable[None]]
"""Gets an inbound connection, and returns when that has ended."""


class WebRtcTransport(ITransport):  # type: ignore[misc]
    """The transport of one host. `seed` is that of the transport key."""

    def __init__(self, keys: KeyPair, seed: bytes) -> None:
        self._identity = Identity(keys, listener_certificate(seed))
        self._nursery: trio.Nursery | None = None
        self._open: list[UdpEndpoint] = []
        self.certhash = certhash(self._identity.own.fingerprint)
        """What addresses of this node name."""

    def admit(self, gate: Gate, observe: Callable[[str, float, bool], None]) -> None:
        """Let only those connect whom `gate` allows; `observe` gets inbound handshakes that have failed."""
        self._identity.gate, self._identity.observe = gate, observe

    # What the library calls

    def set_background_nursery(self, nursery: trio.Nursery) -> None:
        """Run connections in the host's nursery."""
        self._nursery = nursery

    def protocols(self) -> list[str]:
        """Return the protocol of a multiaddr that is this transport's."""
        return ["webrtc-direct"]

    def can_dial(self, maddr: Multiaddr) -> bool:
        """Return whether it is an IP address with /udp, /webrtc-direct and a certificate's hash."""
        endpoint = _parsed(maddr)
        return endpoint is not None and fingerprint_named(endpoint.certhash) is not None

    def can_listen(self, maddr: Multiaddr) -> bool:
        """Return whether it is an IP address with /udp and /webrtc-direct."""
        return _parsed(maddr) is not None

    async def dial(self, maddr: Multiaddr) -> WebRtcConnection:
        """Return a connection with the peer that the multiaddr ends with. Raises WebRtcError and others."""
        target = parse(str(maddr)).with_zone(zone_of(maddr))
        peer = ID.from_base58(str(maddr.value_for_protocol("p2p"))).to_bytes()
        certificate = fingerprint_named(target.certhash)
        if certificate is None:
            raise WebRtcError("the address names no certificate")
        self._open = [one for one in self._open if one.is_open]
        endpoint = self.open(source_for(target), 0, None)
        try:
            return await endpoint.dial(socket_address(target), certificate, peer)
        except BaseException:
            endpoint.close()
            raise

    def create_listener(self, handler_function: Handler) -> "WebRtcListener":
        """Return a listener that does not listen yet."""
        return WebRtcListener(self, handler_function)

    async def close(self) -> None:
        """Close every socket."""
        for endpoint in self._open:
            endpoint.close()
        self._open.clear()
        await trio.lowlevel.checkpoint()

    # What its listeners call

    def open(self, host: str, port: int, accept: Callable[[WebRtcConnection], None] | None) -> UdpEndpoint:
        """Return a new endpoint that is bound. Raises OSError."""
        endpoint = UdpEndpoint(self._identity, accept)
        endpoint.open(host, port, self.nursery)
        self._open.append(endpoint)
        return endpoint

    @property
    def nursery(self) -> trio.Nursery:
        """Where connections run."""
        if self._nursery is None:
            raise WebRtcError("the host does not run")
        return self._nursery


class WebRtcListener(IListener):  # type: ignore[misc]
    """One address on which a host listens."""

    def __init__(self, transport: WebRtcTransport, handler: Handler) -> None:
        self._transport = transport
        self._handler = handler
        self._endpoint: UdpEndpoint | None = None

    async def listen(self, maddr: Multiaddr) -> None:
        """Bind the socket. Raises OSError, AddressError."""
        wanted, zone = parse(str(maddr)), zone_of(maddr)
        host = f"{wanted.host}%{zone}" if zone else wanted.host
        self._endpoint = self._transport.open(host, wanted.port, self._accept)
        await trio.lowlevel.checkpoint()

    def get_addrs(self) -> tuple[Multiaddr, ...]:
        """Return the address on which it listens, with port and certificate; nothing when it does not."""
        if self._endpoint is None:
            return ()
        plain = WebRtcAddress.of(self._endpoint.address).multiaddr()
        return (Multiaddr(f"{plain}/certhash/{self._transport.certhash}"),)

    async def close(self) -> None:
        """Tell the peers, and close the socket."""
        if self._endpoint is not None:
            self._endpoint.close()
            self._endpoint = None
        await trio.lowlevel.checkpoint()

    def _accept(self, connection: WebRtcConnection) -> None:
        self._transport.nursery.start_soon(self._handle, connection)

    async def _handle(self, connection: WebRtcConnection) -> None:
        try:
            await self._handler(connection)
        except Exception:  # as with TCP, what goes wrong concerns this connection alone
            connection.end(WebRtcError("not handled"))


def _parsed(maddr: Multiaddr) -> Endpoint | None:
    """Return the parsed address if it is one of this transport at an IP address."""
    try:
        endpoint = parse(str(maddr))
    except AddressError:
        return None
    return endpoint if endpoint.transport == "webrtc" and endpoint.ip is not None else None
