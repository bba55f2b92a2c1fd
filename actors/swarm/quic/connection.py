"""One QUIC connection, as the library expects a multiplexed connection (IMuxedConn).

Owns its streams, and finds out who the peer is: the peer id of its certificate, which has to be the one that
was dialled. Packets come from and go to the endpoint, whose socket it shares with all others. Never reads a
socket. Bounds: docs/protocol.md, "Limits".
"""

from typing import Final

import trio
from aioquic.quic import events
from libp2p.peer.id import ID

from ..library.connections import UdpAddress
from ..library.dialing import OtherPeerAnsweredError
from ..library.handshake_limits import HANDSHAKE_TIMEOUT_S
from ..library.muxed_connection import MuxedConnection
from ..library.udp_sockets import SocketAddress
from .bounded_quic import BAD_CERTIFICATE, CERTIFICATE_REQUIRED, BoundedQuic
from .certificates import CertificateError, peer_of
from .stream import QuicStream
from .stream_table import StreamTable
from .wire import QuicError, Wire

KEEP_ALIVE_S: Final = {True: 15.0, False: 20.0}
"""Silence after which a side sends a packet: the one that has dialled, and the other if it does not."""


class QuicConnection(MuxedConnection[QuicStream]):
    """A connection of an endpoint. `expected` is the binary peer id that was dialled."""

    transport = "quic"
    error = QuicError
    streams: StreamTable
    _wire: Wire

    def __init__(
        self,
        wire: Wire,
        core: BoundedQuic,
        address: SocketAddress,
        *,
        is_initiator: bool,
        expected: bytes | None = None,
    ) -> None:
        super().__init__(wire, address, is_initiator=is_initiator)
        self.core = core
        self.streams = StreamTable(self)
        self._expected = expected
        self._heard_at = self.began

    @property
    def is_unheard(self) -> bool:
        """Whether this side has dialled, and the peer has not answered yet."""
        return self._is_initiator and not self.core.has_heard

    @property
    def unread(self) -> int:
        """Bytes that the peer has sent and nobody here has read."""
        return 0 if self.is_closed else self.core.credit.unread

    def get_remote_address(self) -> UdpAddress:
        """Return (IP address, port) of the peer; it follows a peer that moves, once it has answered."""
        return UdpAddress.of(self.core.proven_address or self.address)

    @property
    def local_port(self) -> int | None:
        """The port of this side; None: the socket is closed."""
        try:
            return self._wire.address[1]
        except QuicError:
            return None

    # What its streams call

    def send(self, stream_id: int, data: bytes, *, is_last: bool = False) -> None:
        """Send stream data: now, or at the end of the stream's `batch`."""
        self.core.send_stream_data(stream_id, data, end_stream=is_last)
        self._has_unsent = True
        if stream_id not in self._batching:
            self.flush_unsent()

    def flush_unsent(self) -> None:
        """Send what `batch` holds back, with the acknowledgements that are due soon."""
        if self._has_unsent and not self.is_closed:
            self._has_unsent = False
            self.core.acknowledge_now(trio.current_time())
            self.flush()

    def give_credit(self, stream_id: int, size: int) -> None:
        """The application has read so much: the peer may send more."""
        self.core.credit.read(stream_id, size)
        if not self.is_closed and self.core.owes_credit(stream_id):
            self.flush()

    # What the endpoint calls

    def is_at(self, address: SocketAddress) -> bool:
        """Return whether the peer is at this address now."""
        return bool(address == (self.core.get_peer_address() or self.address))

    def receive(self, datagram: bytes, address: SocketAddress) -> None:
        """Take one datagram. `flush` is called when all that are there have been taken."""
        self._heard_at = trio.current_time()
        self.core.receive_datagram(datagram, address, now=self._heard_at)
        self._handle_events()
        self.acknowledged.unpark_all()
        self._count_unread()

    def flush(self) -> None:
        """Send what is due, and set the timer anew."""
        if self.is_closed:
            return
        self._send_datagrams()
        self._handle_events()
        if not self.is_closed:
            self._timer.deadline = self._next_time()

    # What the base calls

    def _say_goodbye(self, code: int | None) -> None:
        self.core.close_with(code)
        self._send_datagrams()

    def _drop_state(self) -> None:
        self.core.drop_state()

    def _next_time(self) -> float:
        limit = self._heard_at + KEEP_ALIVE_S[self._is_initiator]
        if not self._is_ready:
            limit = self.began + HANDSHAKE_TIMEOUT_S
        timer = self.core.get_timer()
        return limit if timer is None else min(limit, timer)

    def _handle_time(self, now: float) -> None:
        if not self._is_ready and now >= self.began + HANDSHAKE_TIMEOUT_S:
            self.end(QuicError("the handshake took too long"), silently=not self.core.has_heard)
            return
        if self._is_ready and now >= self._heard_at + KEEP_ALIVE_S[self._is_initiator]:
            self.core.send_ping(0)
            self._heard_at = now  # so that the next one waits as long; silence ends with the idle time-out
        timer = self.core.get_timer()
        if timer is not None and now >= timer:
            self.core.handle_timer(now=now)
        self.flush()

    # Inside

    def _send_datagrams(self) -> None:
        for datagram, address in self.core.datagrams_to_send(now=trio.current_time()):
            if not self._wire.send(datagram, address) and self.is_unheard:
                self.end(QuicError("no way there"), silently=True)
                return

    def _handle_events(self) -> None:
        while not self.is_closed and (event := self.core.next_event()) is not None:
            match event:
                case events.StreamDataReceived(data=data, end_stream=is_last, stream_id=stream_id):
                    self.streams.receive_data(stream_id, data, is_last=is_last)
                case events.StreamReset(stream_id=stream_id):
                    self.streams.receive_reset(stream_id)
                case events.StopSendingReceived(stream_id=stream_id):
                    self.streams.receive_stop(stream_id)
                case events.ConnectionIdIssued(connection_id=connection_id):
                    self._wire.add_route(connection_id, self)
                case events.ConnectionIdRetired(connection_id=connection_id):
                    self._wire.drop_route(connection_id)
                case events.HandshakeCompleted():
                    self._authenticate()
                case _:
                    continue
        reason = self.core.close_reason
        if reason is not None and not self.is_closed:
            self._send_datagrams()  # if it is this side that has found an error
            self.end(QuicError(f"connection ended: code {reason.error_code:#x}"), silently=True)
        elif self._is_ready:
            self.core.use_reset_token()

    def _authenticate(self) -> None:
        """Find out who the peer is, and end the connection unless it is the one that was dialled."""
        certificates = self.core.peer_certificates
        if len(certificates) != 1:
            self.end(QuicError("one certificate is needed"), code=CERTIFICATE_REQUIRED)
            return
        try:
            peer = peer_of(certificates[0])
        except CertificateError as error:
            self.end(QuicError(str(error)), code=BAD_CERTIFICATE)
            return
        if self._expected is not None and peer != self._expected:
            self.end(OtherPeerAnsweredError(peer), code=BAD_CERTIFICATE)
            return
        self._become_ready(ID(peer))
