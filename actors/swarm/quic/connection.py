"""One QUIC connection, as the library expects a multiplexed connection (IMuxedConn).

Owns its streams, its timer, and who the peer is: the peer id of its certificate, which has to be the one that
was dialled. Packets come from and go to the endpoint, whose socket it shares with all others. Never reads a
socket. Bounds: docs/protocol.md, "Limits".
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio
from aioquic.quic import events
from libp2p.abc import IMuxedConn
from libp2p.connection_types import ConnectionType
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable
from multiaddr import Multiaddr

from ..dial.addresses import block_of
from ..library.connections import UdpAddress
from ..library.dialing import OtherPeerAnsweredError
from ..library.handshake_limits import HANDSHAKE_TIMEOUT_S
from ..library.udp_sockets import SocketAddress
from ..library.unread_bytes import largest_if_too_much
from .bounded_quic import BAD_CERTIFICATE, CERTIFICATE_REQUIRED, BoundedQuic
from .certificates import CertificateError, peer_of
from .stream import QuicStream
from .stream_table import StreamTable
from .wire import QuicError, Wire

KEEP_ALIVE_S: Final = {True: 15.0, False: 20.0}
"""Silence after which a side sends a packet: the one that has dialled, and the other if it does not."""
_COUNT_STEP_BYTES: Final = 64 * 1024
"""After so many unread bytes more, those of all connections are counted again."""


class QuicConnection(IMuxedConn):  # type: ignore[misc]
    """A connection of an endpoint. `expected` is the binary peer id that was dialled."""

    transport = "quic"
    peer_id: ID

    def __init__(
        self,
        wire: Wire,
        core: BoundedQuic,
        address: SocketAddress,
        *,
        is_initiator: bool,
        expected: bytes | None = None,
    ) -> None:
        self.core = core
        self.began = trio.current_time()
        self.event_started = trio.Event()
        self.settled = trio.Event()
        """The peer has proved its id, or the connection has ended."""
        self.ended = trio.Event()
        self.failure: Exception | None = None
        """Why it has ended."""
        self.acknowledged = trio.lowlevel.ParkingLot()
        """Here writers wait until the peer has taken what they wrote."""
        self._wire = wire
        self.address = address
        """Where the peer was at first."""
        self.address_block = block_of(str(address[0]))
        self._is_initiator = is_initiator
        self._expected = expected
        self._is_ready = False
        self.streams = StreamTable(self)
        self._batching: set[int] = set()
        """Streams in whose `batch` something is being written."""
        self._has_unsent = False
        self._timer = trio.CancelScope()
        self._heard_at = self.began
        self._counted = 0
        """Unread bytes when those of all connections were last counted."""

    # What the library calls

    @property
    def is_initiator(self) -> bool:
        """Whether this side has dialled."""
        return self._is_initiator

    @property
    def is_established(self) -> bool:
        """Whether the peer has proved its id."""
        return self._is_ready

    @property
    def is_unheard(self) -> bool:
        """Whether this side has dialled, and the peer has not answered yet."""
        return self._is_initiator and not self.core.has_heard

    @property
    def is_closed(self) -> bool:
        """Whether the connection has ended."""
        return self.ended.is_set()

    async def start(self) -> None:
        """Be there until the connection ends; it has been running since its handshake."""
        self.event_started.set()
        await self.ended.wait()

    async def close(self) -> None:
        """Close the connection and tell the peer."""
        self.end(QuicError("closed here"))
        await trio.lowlevel.checkpoint()

    async def open_stream(self) -> QuicStream:
        """Open a stream; the peer learns of it with the first bytes. Raises MuxedConnUnavailable."""
        if self.is_closed:
            raise MuxedConnUnavailable("the connection has ended")
        stream = self.streams.open()
        await trio.lowlevel.checkpoint()
        return stream

    async def accept_stream(self) -> QuicStream:
        """Return the next stream that the peer has opened. Raises MuxedConnUnavailable."""
        await trio.lowlevel.checkpoint()
        stream = await self.streams.accept()
        if stream is None:
            raise MuxedConnUnavailable("the connection has ended")
        return stream

    def get_remote_address(self) -> UdpAddress:
        """Return (IP address, port) of the peer; it follows a peer that moves."""
        return UdpAddress.of(self.core.get_peer_address() or self.address)

    @property
    def local_port(self) -> int | None:
        """The port of this side; None: the socket is closed."""
        try:
            return self._wire.address[1]
        except QuicError:
            return None

    def get_transport_addresses(self) -> list[Multiaddr]:
        """Return the peer's address as a multiaddr."""
        return [self.get_remote_address().multiaddr()]

    def get_connection_type(self) -> ConnectionType:
        """It runs over no relay."""
        return ConnectionType.DIRECT

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

    @asynccontextmanager
    async def batch(self, stream_id: int) -> AsyncIterator[None]:
        """Send what is written to a stream in this block together, at its end or before a wait for the peer.

        Others do not wait for it: a negotiation takes a round trip, and is one block.
        """
        self._batching.add(stream_id)
        try:
            yield
        finally:
            self._batching.discard(stream_id)
        self.flush_unsent()

    # What the counts of all connections need (library/unread_bytes.py)

    @property
    def unread(self) -> int:
        """Bytes that the peer has sent and nobody here has read."""
        return 0 if self.is_closed else self.core.credit.unread

    def drop(self) -> None:
        """End this connection, which holds too much."""
        self.end(QuicError("too many unread bytes"))

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

    def end(self, why: Exception, *, code: int | None = None, silently: bool = False) -> None:
        """End the connection, telling the peer unless `silently`. `code` is an error of the handshake."""
        if self.is_closed:
            return
        self.failure = why
        self.ended.set()
        if not silently:
            self.core.close_with(code)
            self._send_datagrams()
        self.settled.set()
        self._wire.handle_end(self)
        self.streams.end()
        self.acknowledged.unpark_all()
        self.core.drop_state()

    async def run(self) -> None:
        """Watch the time until the connection ends."""
        while not self.is_closed:
            with trio.CancelScope(deadline=self._next_time()) as self._timer:
                await self.ended.wait()
            if not self.is_closed:
                self._handle_time(trio.current_time())

    # Inside

    def _count_unread(self) -> None:
        """Count the unread bytes of all connections, once this one holds some more."""
        unread = self.core.credit.unread
        if unread > self._counted + _COUNT_STEP_BYTES:
            self._counted = unread
            largest = largest_if_too_much(self)
            if largest is not None:
                largest.drop()
        elif unread < self._counted:
            self._counted = unread

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
        self.peer_id = ID(peer)
        self._is_ready = True
        self.settled.set()
        self._wire.handle_ready(self)
