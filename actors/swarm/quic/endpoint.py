"""One UDP socket, and all QUIC connections that run over it: inbound ones and dialled ones.

Owns the socket, which connection a packet belongs to (by its connection id), what is answered to packets of
no connection, and which newcomers may begin a handshake. A connection dialled from here leaves from the port
on which this node listens. Never waits for one connection. Implements docs/protocol.md, "Transports".
"""

import errno
import ipaddress
import socket
from collections.abc import Callable
from typing import Any, Final

import trio
from aioquic.buffer import Buffer, BufferReadError
from aioquic.quic.packet import QuicHeader, pull_quic_header

from ..library.connection_limits import Gate
from ..library.handshake_limits import HandshakeLimits, RateLimit
from ..library.udp_sockets import SocketAddress, bound_socket
from . import refusals
from .admission import Accepted, Admission, Answer
from .bounded_quic import BoundedQuic
from .certificates import OwnCertificate
from .connection import QuicConnection
from .reset_tokens import CONNECTION_ID_BYTES, ResetTokens, is_long_header, is_reset
from .wire import QuicError

_MAX_DATAGRAM_BYTES: Final = 2048
_MAX_DATAGRAMS_AT_ONCE: Final = 64
_MAX_STRAY_ANSWERS_PER_S: Final = 100.0
_NO_WAY: Final = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EINVAL)
"""What sendto(2) says where this host has no route or no address of that IP version, or from loopback."""


class Identity:
    """What all endpoints of one node have in common: certificate, tokens, limits."""

    def __init__(self, own: OwnCertificate, tokens: ResetTokens) -> None:
        self.own = own
        self.tokens = tokens
        self.handshakes: HandshakeLimits[QuicConnection] = HandshakeLimits()
        self.gate: Gate | None = None
        """Who may connect. Until it is set, everybody may."""
        self.observe: Callable[[str, float, bool], None] = lambda _transport, _seconds, _ok: None
        """Gets (transport, seconds, success) of an inbound handshake that has failed."""
        self.heard_stray: Callable[[str, int], None] = lambda _host, _port: None
        """Gets the address from which a packet of no connection has come."""


class Endpoint:
    """One socket and its connections.

    `accept` gets each inbound connection whose peer has proved its id; None: the socket is for dials only.
    """

    def __init__(self, identity: Identity, accept: Callable[[QuicConnection], None] | None) -> None:
        self._identity = identity
        self._accept = accept
        self._socket: socket.socket | None = None
        self._nursery: trio.Nursery
        self._routes: dict[bytes, QuicConnection] = {}
        self._ids: dict[QuicConnection, set[bytes]] = {}
        self._at: dict[SocketAddress, list[QuicConnection]] = {}
        """By the address at which a connection began."""
        self._admission = Admission(identity.handshakes)
        self._stray_answers = RateLimit(_MAX_STRAY_ANSWERS_PER_S)
        self._is_family_v6 = False

    @property
    def connections(self) -> list[QuicConnection]:
        """All connections, also those whose handshake runs."""
        return list(self._ids)

    @property
    def address(self) -> tuple[str, int]:
        """(IP address, port) on which the socket is bound."""
        if self._socket is None:
            raise QuicError("not open")
        name = self._socket.getsockname()
        return str(name[0]), int(name[1])

    def open(self, host: str, port: int, nursery: trio.Nursery) -> None:
        """Bind the socket and begin to receive, in `nursery`. Raises OSError.

        `host` ends with % and the number of its interface where it is link-local.
        """
        self._is_family_v6 = ":" in host
        self._socket = bound_socket(host, port)
        refusals.watch(self._socket, is_ip6=self._is_family_v6)
        self._nursery = nursery
        nursery.start_soon(self._receive)

    def close(self) -> None:
        """Tell all peers, and close the socket."""
        for connection in self.connections:
            connection.end(QuicError("closed here"))
        if self._socket is not None:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
            self._socket = None

    def can_reach(self, host: str) -> bool:
        """Return whether packets to an IP address can leave from this socket."""
        own = self.address[0].partition("%")[0]
        if (":" in host) != self._is_family_v6:
            return False
        if own in ("0.0.0.0", "::"):  # noqa: S104, a comparison
            return True
        return _is_loopback(own) == _is_loopback(host) and (_is_on_link(host) or not _is_on_link(own))

    async def dial(self, address: SocketAddress, peer: bytes) -> QuicConnection:
        """Return a connection with `peer` (binary peer id). Raises QuicError, OtherPeerAnsweredError.

        It takes as long as a handshake may; callers set shorter deadlines.
        """
        identity = self._identity
        core = BoundedQuic(identity.own, identity.tokens, is_client=True)
        connection = QuicConnection(self, core, address, is_initiator=True, expected=peer)
        core.connect(address, now=trio.current_time())
        self._add(connection)
        connection.flush()
        self._nursery.start_soon(self._run, connection)
        try:
            await connection.settled.wait()
        except BaseException:
            connection.end(QuicError("given up"))
            raise
        if not connection.is_established or connection.is_closed:
            raise connection.failure or QuicError("no answer")
        return connection

    # What connections call (connection.Wire)

    def send(self, datagram: bytes, address: SocketAddress) -> bool:
        """Send one datagram; return False if there is no way to the address.

        What the system does not take otherwise is lost, as on the way. It is tried twice: an error may be one
        of an earlier datagram, to somebody else.
        """
        failure: OSError | None = None
        for _ in range(2 if self._socket is not None else 0):
            try:
                self._socket.sendto(datagram, address)  # type: ignore[union-attr]
            except OSError as error:
                failure = error
            else:
                return True
        return failure is None or failure.errno not in _NO_WAY

    def add_route(self, connection_id: bytes, connection: QuicConnection) -> None:
        """Deliver packets with this connection id."""
        ids = self._ids.get(connection)
        if ids is not None:
            ids.add(connection_id)
            self._routes[connection_id] = connection

    def drop_route(self, connection_id: bytes) -> None:
        """Deliver them no more."""
        connection = self._routes.pop(connection_id, None)
        if connection is not None:
            self._ids[connection].discard(connection_id)

    def handle_ready(self, connection: QuicConnection) -> None:
        """A peer has proved its id."""
        if self._accept is not None and not connection.is_initiator:
            self._identity.handshakes.end(connection)
            self._accept(connection)

    def handle_end(self, connection: QuicConnection) -> None:
        """A connection has ended."""
        for connection_id in self._ids.pop(connection, ()):
            self._routes.pop(connection_id, None)
        there = self._at.get(connection.address, [])
        if connection in there:
            there.remove(connection)
        if not there:
            self._at.pop(connection.address, None)
        if not connection.is_initiator and not connection.is_established:
            self._identity.handshakes.end(connection)
            self._identity.observe("quic", trio.current_time() - connection.began, False)

    # Receiving

    async def _receive(self) -> None:
        """Take datagrams until the socket is closed; it is closed at the latest when this is cancelled."""
        try:
            while (sock := self._socket) is not None:
                await trio.lowlevel.wait_readable(sock)
                if not self._take_some(sock):  # what has woken this is in the error queue
                    self._end_refused(sock)
        except trio.ClosedResourceError:
            return
        finally:
            self.close()

    def _take_some(self, sock: socket.socket) -> int:
        """Take the datagrams that are there, and let their connections answer; return how many there were."""
        count = 0
        touched: dict[QuicConnection, None] = {}
        for _ in range(_MAX_DATAGRAMS_AT_ONCE):
            try:
                datagram, address = sock.recvfrom(_MAX_DATAGRAM_BYTES)
            except OSError:  # none is left, or it tells of an earlier one that was lost
                break
            count += 1
            connection = self._take(datagram, address)
            if connection is not None:
                touched[connection] = None
        for connection in touched:
            self._contained(connection, connection.flush)
        return count

    def _end_refused(self, sock: socket.socket) -> None:
        """End the dials of which the other host says that nobody listens there."""
        for refusal in refusals.take(sock):
            for connection in list(self._at.get(refusal.address, ())):
                if connection.is_unheard and refusal.is_of_handshake(
                    connection.core.original_destination_connection_id
                ):
                    connection.end(QuicError("nobody listens there"), silently=True)

    def _take(self, datagram: bytes, address: SocketAddress) -> QuicConnection | None:
        """Hand one datagram to its connection, which is returned; answer one that has none."""
        if not datagram:
            return None
        header = None
        if is_long_header(datagram):
            try:
                header = pull_quic_header(Buffer(data=datagram), host_cid_length=CONNECTION_ID_BYTES)
            except (ValueError, BufferReadError):
                return None
            connection = self._routes.get(header.destination_cid)
        else:
            connection = self._routes.get(datagram[1 : 1 + CONNECTION_ID_BYTES])
        if connection is not None:
            if self._may_come_from(connection, address):
                self._contained(connection, connection.receive, datagram, address)
        elif header is not None:
            connection = self._admit(header, datagram, address)
            if connection is not None:
                self._contained(connection, connection.receive, datagram, address)
                self._begin(connection)
        elif not self._is_reset(datagram, address):
            self._identity.heard_stray(str(address[0]), int(address[1]))
            self._answer_stray(datagram, address)
        return connection

    def _begin(self, connection: QuicConnection) -> None:
        """Run an inbound connection, unless its first packet was none."""
        if connection.core.has_heard:
            self._nursery.start_soon(self._run, connection)
        else:
            connection.end(QuicError("not a first packet"), silently=True)

    def _contained(self, connection: QuicConnection, call: Callable[..., None], *arguments: Any) -> None:
        """Let whatever a packet does to aioquic concern its connection alone."""
        try:
            call(*arguments)
        except Exception as error:  # a defect there, which a stranger may have found
            connection.end(QuicError(f"defect: {type(error).__name__}"), silently=True)

    def _may_come_from(self, connection: QuicConnection, address: SocketAddress) -> bool:
        """Return whether a connection takes packets from here: from its peer, or from where that may move."""
        return connection.is_at(address) or self._allows(address)

    def _allows(self, address: SocketAddress) -> bool:
        gate = self._identity.gate
        return gate is None or gate.allows(str(address[0]))

    def _is_reset(self, datagram: bytes, address: SocketAddress) -> bool:
        """End the connection whose peer says, by a stateless reset, that it does not know it any more."""
        for connection in self._at.get(address, ()):
            if is_reset(datagram, connection.core.peer_reset_tokens):
                connection.end(QuicError("the peer was restarted"), silently=True)
                return True
        return False

    def _answer_stray(self, datagram: bytes, address: SocketAddress) -> None:
        """Answer a packet of a connection that this node does not know with a stateless reset."""
        reset = self._identity.tokens.reset_for(datagram)
        if reset is not None and self._allows(address) and self._stray_answers.allows(trio.current_time()):
            self.send(reset, address)

    def _admit(self, header: QuicHeader, datagram: bytes, address: SocketAddress) -> QuicConnection | None:
        """Return a new connection for the first packet of a handshake, or None if it gets none."""
        if self._accept is None or not self._allows(address):
            return None
        verdict = self._admission.judge(header, len(datagram), address, trio.current_time())
        if isinstance(verdict, Answer):
            self.send(verdict.datagram, address)
        if not isinstance(verdict, Accepted):
            return None
        core = BoundedQuic(
            self._identity.own,
            self._identity.tokens,
            is_client=False,
            original_destination_connection_id=verdict.original_id,
            retry_source_connection_id=verdict.retried,
        )
        connection = QuicConnection(self, core, address, is_initiator=False)
        self._begin_handshake(connection)
        self._add(connection)
        self.add_route(header.destination_cid, connection)
        return connection

    def _begin_handshake(self, connection: QuicConnection) -> None:
        """Count a handshake; if it is one too many, another one ends, of any endpoint of this node."""
        crowd = self._identity.handshakes
        oldest = crowd.to_make_room(connection.address_block)
        if oldest is not None:
            oldest.end(QuicError("it made room for a newcomer"))
        crowd.begin(connection, connection.address_block)

    def _add(self, connection: QuicConnection) -> None:
        self._ids[connection] = set()
        self._at.setdefault(connection.address, []).append(connection)
        self.add_route(connection.core.host_cid, connection)

    async def _run(self, connection: QuicConnection) -> None:
        try:
            await connection.run()
        except trio.Cancelled:
            connection.end(QuicError("closed here"))
            raise
        except Exception as error:  # as in _contained
            connection.end(QuicError(f"defect: {type(error).__name__}"), silently=True)


def _is_loopback(host: str) -> bool:
    return host == "::1" or host.startswith("127.")


def _is_on_link(host: str) -> bool:
    return ":" in host and ipaddress.ip_address(host).is_link_local
