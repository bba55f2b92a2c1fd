"""One UDP socket, and the WebRTC connections over it: all of a listener, or the one that was dialled.

Owns the socket, and which connection a datagram belongs to: by the address it comes from. What strangers get
is decided by admission.py. Never waits for one connection. Implements docs/protocol.md, "Transports".
"""

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import trio
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.x25519 import create_new_key_pair as create_x25519_key_pair

from ..library.connection_limits import Gate
from ..library.handshake_limits import HandshakeLimits
from ..library.udp_sockets import SocketAddress, bound_socket
from . import stun
from .admission import Admission, answer
from .certificate import Certificate, dialer_certificate
from .connection import Sides, WebRtcConnection
from .dtls import DtlsSession, is_dtls, new_context
from .wire import WebRtcError

_MAX_DATAGRAM_BYTES: Final = 2048
_MAX_DATAGRAMS_AT_ONCE: Final = 64


class Identity:
    """What all endpoints of one node have in common: keys, certificate, limits."""

    def __init__(self, keys: KeyPair, own: Certificate) -> None:
        self.keys = keys
        self.static = create_x25519_key_pair().private_key
        self.own = own
        self.handshakes: HandshakeLimits[WebRtcConnection] = HandshakeLimits()
        self.admission = Admission(own, self.handshakes)
        self.gate: Gate | None = None
        """Who may connect. Until it is set, everybody may."""
        self.observe: Callable[[str, float, bool], None] = lambda _transport, _seconds, _ok: None
        """Gets (transport, seconds, success) of an inbound handshake that has failed."""

    def sides(self) -> Sides:
        """Return what an inbound connection needs to know."""
        return Sides(self.keys, self.static, self.own.fingerprint)


class Endpoint:
    """One socket and its connections.

    `accept` gets each inbound connection whose peer has proved its id; None: the socket is for one dial.
    """

    def __init__(self, identity: Identity, accept: Callable[[WebRtcConnection], None] | None) -> None:
        self._identity = identity
        self._accept = accept
        self._socket: socket.socket | None = None
        self._nursery: trio.Nursery
        self._connections: dict[SocketAddress, WebRtcConnection] = {}

    @property
    def connections(self) -> list[WebRtcConnection]:
        """All connections, also those whose handshake runs."""
        return list(self._connections.values())

    @property
    def is_open(self) -> bool:
        """Whether there is a socket."""
        return self._socket is not None

    @property
    def address(self) -> tuple[str, int]:
        """(IP address, port) on which the socket is bound."""
        if self._socket is None:
            raise WebRtcError("not open")
        name = self._socket.getsockname()
        return str(name[0]), int(name[1])

    def open(self, host: str, port: int, nursery: trio.Nursery) -> None:
        """Bind the socket and begin to receive, in `nursery`. Raises OSError.

        `host` ends with % and the number of its interface where it is link-local.
        """
        self._socket = bound_socket(host, port)
        self._nursery = nursery
        nursery.start_soon(self._receive)

    def close(self) -> None:
        """Tell all peers, and close the socket."""
        for connection in self.connections:
            connection.end(WebRtcError("closed here"))
        if self._socket is not None:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
            self._socket = None

    async def dial(self, address: SocketAddress, certificate: bytes, peer: bytes) -> WebRtcConnection:
        """Return a connection with `peer` (binary peer id).

        `certificate` is the multihash that its address names. It takes as long as a handshake may; callers
        set shorter deadlines. Raises WebRtcError, OtherPeerAnsweredError, OSError.
        """
        if self._socket is None:
            raise WebRtcError("not open")
        self._socket.connect(address)  # so that this peer alone is heard, and a closed port at once
        identity = self._identity
        own = dialer_certificate()
        sides = Sides(identity.keys, identity.static, own.fingerprint, certificate, peer)
        dtls = DtlsSession(new_context(own), is_client=True)
        connection = self._connections[address] = WebRtcConnection(self, dtls, address, sides)
        self._nursery.start_soon(self._run, connection)
        try:
            await connection.settled.wait()
        except BaseException:
            connection.end(WebRtcError("given up"))
            raise
        if not connection.is_established or connection.is_closed:
            raise connection.failure or WebRtcError("no answer")
        return connection

    # What connections call (wire.Wire)

    def send(self, datagram: bytes, address: SocketAddress) -> None:
        """Send one datagram. What the system does not take is lost, as on the way."""
        if self._socket is not None:
            with suppress(OSError):
                if self._accept is None:
                    self._socket.send(datagram)
                else:
                    self._socket.sendto(datagram, address)

    def handle_ready(self, connection: WebRtcConnection) -> None:
        """A peer has proved its id."""
        if self._accept is not None:
            self._identity.handshakes.end(connection)
            self._accept(connection)

    def handle_end(self, connection: WebRtcConnection) -> None:
        """A connection has ended."""
        if self._connections.pop(connection.address, None) is None:
            return
        if self._accept is None:
            self.close()
        elif not connection.is_established:
            self._identity.handshakes.end(connection)
            self._identity.observe("webrtc", trio.current_time() - connection.began, False)

    # Receiving

    async def _receive(self) -> None:
        """Take datagrams until the socket is closed; it is closed at the latest when this is cancelled."""
        try:
            while (sock := self._socket) is not None:
                await trio.lowlevel.wait_readable(sock)
                touched: dict[WebRtcConnection, None] = {}
                for _ in range(_MAX_DATAGRAMS_AT_ONCE):
                    try:
                        datagram, address = sock.recvfrom(_MAX_DATAGRAM_BYTES)
                    except ConnectionRefusedError:
                        self._handle_refusal()
                        break
                    except OSError:  # none is left, or it tells of an earlier one that was lost
                        break
                    connection = self._take(datagram, address)
                    if connection is not None:
                        touched[connection] = None
                for connection in touched:
                    self._contained(connection, connection.flush)
        except trio.ClosedResourceError:
            return
        finally:
            self.close()

    def _handle_refusal(self) -> None:
        """Nobody listens where this socket dials. What stands does not end by that: it may be made up."""
        for connection in self.connections:
            if self._accept is None and not connection.is_established:
                connection.end(WebRtcError("connection refused"), silently=True)

    def _take(self, datagram: bytes, address: SocketAddress) -> WebRtcConnection | None:
        """Hand one datagram to its connection, which is returned; answer one that has none."""
        connection = self._connections.get(address)
        if not datagram:
            return None
        if stun.is_stun(datagram):
            if connection is not None:
                self._contained(connection, connection.receive_stun, datagram)
            self._answer(datagram, address, is_known=connection is not None)
        elif is_dtls(datagram):
            connection = connection or self._admit(datagram, address)
            if connection is not None:
                self._contained(connection, connection.receive, datagram)
        return connection

    def _answer(self, datagram: bytes, address: SocketAddress, *, is_known: bool) -> None:
        """Answer a binding request of a peer, or of a stranger who may connect."""
        if is_known:
            answered = answer(datagram, address)
        elif self._accept is None or not self._allows(address):
            return
        else:
            answered = self._identity.admission.answer(datagram, address, trio.current_time())
        if answered is not None:
            self.send(answered, address)

    def _admit(self, datagram: bytes, address: SocketAddress) -> WebRtcConnection | None:
        """Return a new connection for the first packet of a handshake, or None if it gets none."""
        if self._accept is None or not self._allows(address):
            return None
        judged = self._identity.admission.judge(datagram, address, trio.current_time())
        if isinstance(judged, bytes):
            self.send(judged, address)
        if not isinstance(judged, DtlsSession):
            return None
        connection = WebRtcConnection(self, judged, address, self._identity.sides())
        self._begin_handshake(connection)
        self._connections[address] = connection
        self._nursery.start_soon(self._run, connection)
        return connection

    def _begin_handshake(self, connection: WebRtcConnection) -> None:
        """Count a handshake; if it is one too many, another one ends, of any endpoint of this node."""
        crowd = self._identity.handshakes
        oldest = crowd.to_make_room(connection.address_block)
        if oldest is not None:
            oldest.end(WebRtcError("it made room for a newcomer"))
        crowd.begin(connection, connection.address_block)

    def _allows(self, address: SocketAddress) -> bool:
        gate = self._identity.gate
        return gate is None or gate.allows(str(address[0]))

    def _contained(self, connection: WebRtcConnection, call: Callable[..., None], *arguments: Any) -> None:
        """Let whatever a packet does concern its connection alone."""
        try:
            call(*arguments)
        except Exception as error:  # a defect, which a stranger may have found
            connection.end(WebRtcError(f"defect: {type(error).__name__}"), silently=True)

    async def _run(self, connection: WebRtcConnection) -> None:
        try:
            await connection.run()
        except trio.Cancelled:
            connection.end(WebRtcError("closed here"))
            raise
        except Exception as error:  # as in _contained
            connection.end(WebRtcError(f"defect: {type(error).__name__}"), silently=True)
