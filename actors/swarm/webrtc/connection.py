"""One WebRTC connection, as the library expects a multiplexed connection (IMuxedConn).

Owns the way to a connection (STUN, DTLS, SCTP, Noise), and finds out who the peer is. Datagrams come from
and go to the endpoint. Never reads a socket. Bounds: docs/protocol.md, "Limits".
"""

import os
from dataclasses import dataclass
from typing import Final

import trio
from libp2p.crypto.keys import KeyPair, PrivateKey

from ..library.connections import WebRtcAddress
from ..library.dialing import OtherPeerAnsweredError
from ..library.handshake_limits import HANDSHAKE_TIMEOUT_S
from ..library.muxed_connection import MuxedConnection
from ..library.udp_sockets import SocketAddress
from . import frames, stun
from .dtls import DtlsSession
from .noise_handshake import HandshakeChannel, prove
from .sctp_association import Association
from .sctp_chunks import Data
from .stream import WebRtcStream
from .stream_table import HANDSHAKE_STREAM, StreamTable
from .wire import MalformedError, WebRtcError, Wire

_ASK_AGAIN_S: Final = 0.25
_CONSENT_S: Final = 10.0
"""How often a dialer asks by STUN whether the path is there, which some listeners wait for (RFC 7675)."""
_TRANSACTION_BYTES: Final = 12


@dataclass(frozen=True, slots=True)
class Sides:
    """What both sides show. `peer_certificate` and `peer` are what a dialer expects; None: anybody."""

    keys: KeyPair
    static: PrivateKey
    own_certificate: bytes
    peer_certificate: bytes | None = None
    peer: bytes | None = None


class WebRtcConnection(MuxedConnection[WebRtcStream]):
    """A connection of an endpoint. It is dialled if `sides` names a peer."""

    transport = "webrtc"
    error = WebRtcError
    streams: StreamTable
    _wire: Wire

    def __init__(self, wire: Wire, dtls: DtlsSession, address: SocketAddress, sides: Sides) -> None:
        super().__init__(wire, address, is_initiator=sides.peer is not None)
        self._dtls = dtls
        self._sides = sides
        self._name = stun.new_name()
        self._transaction = b""
        self._ask_at = self.began if self._is_initiator else float("inf")
        self._has_path = not self._is_initiator
        self._association: Association | None = None
        self._handshake = HandshakeChannel(self._send_handshake, is_initiator=not self._is_initiator)
        self._is_associated = trio.Event()
        self.streams = StreamTable(self, is_client=self._is_initiator)

    @property
    def unread(self) -> int:
        """Bytes that the peer has sent and nobody here has read."""
        return 0 if self.is_closed or self._association is None else self._association.receiver.held

    def get_remote_address(self) -> WebRtcAddress:
        """Return (IP address, port) of the peer."""
        return WebRtcAddress.of(self.address)

    # What its streams call

    @property
    def queued(self) -> int:
        """Bytes of all streams that were not sent yet."""
        return 0 if self._association is None else self._association.sender.queued

    @property
    def max_streams(self) -> int:
        """All ids of streams are below."""
        return 0 if self._association is None else self._association.max_streams

    def send_frame(self, stream_id: int, frame: bytes) -> None:
        """Send a message of a stream: now, or at the end of the stream's `batch`."""
        self._put(stream_id, frames.BINARY, frame)
        if stream_id not in self._batching:
            self.flush_unsent()

    def send_control(self, stream_id: int, message: bytes) -> None:
        """Send a message of a channel itself, with what comes next."""
        self._put(stream_id, frames.CONTROL, message)

    def reset_channel(self, stream_id: int) -> None:
        """Close this side's half of a channel, behind what was sent on it. Raises WebRtcError."""
        if self._association is not None and not self.is_closed:
            self._association.reset(stream_id)
            self._has_unsent = True
            self._timer.deadline = trio.current_time()

    def give_back(self, size: int, *, tell_peer: bool = False) -> None:
        """So many bytes were read, or will not be: the peer may send more."""
        if self._association is not None and size:
            receiver = self._association.receiver
            receiver.read(size)
            if tell_peer and receiver.is_urgent and not self.is_closed:
                self.flush()

    def flush_unsent(self) -> None:
        """Send what `batch` holds back."""
        if self._has_unsent and not self.is_closed:
            self.flush()

    # What the endpoint calls

    def receive(self, datagram: bytes) -> None:
        """Take one datagram of DTLS. `flush` is called when all that are there have been taken."""
        self._dtls.put(datagram)
        was_established = self._dtls.is_established
        try:
            records = self._dtls.advance()
            if self._dtls.is_established and not was_established:
                self._begin_association()
            for record in records:
                self._receive_packet(record)
        except (WebRtcError, MalformedError) as error:
            self.end(error if isinstance(error, WebRtcError) else WebRtcError(str(error)))
            return
        self.acknowledged.unpark_all()
        self._count_unread()

    def receive_stun(self, datagram: bytes) -> None:
        """Take one datagram of STUN that is no request."""
        if self._is_initiator and stun.is_response_to(datagram, self._transaction, self._name):
            self._ask_at = trio.current_time() + _CONSENT_S
            if not self._has_path:
                self._has_path = True
                self.receive(b"")

    def flush(self) -> None:
        """Send what is due, and set the timer anew."""
        if self.is_closed:
            return
        self._has_unsent = False
        try:
            self._send_datagrams()
        except WebRtcError as error:
            self.end(error, silently=True)
            return
        if self.queued == 0:
            self.acknowledged.unpark_all()
        self._timer.deadline = self._next_time()

    async def run(self) -> None:
        """Watch the time, and let the peer prove its id, until the connection ends."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._authenticate)
            await super().run()
            nursery.cancel_scope.cancel()

    # What the base calls

    def _say_goodbye(self, _code: int | None) -> None:
        try:
            if self._association is not None:
                self._association.abort()
            self._send_datagrams()
            self._dtls.shut_down()
            for datagram in self._dtls.datagrams():
                self._wire.send(datagram, self.address)
        except WebRtcError:
            return

    def _drop_state(self) -> None:
        self._handshake.end()
        self._association = None
        self._dtls.free()

    # Inside

    def _put(self, stream_id: int, kind: int, data: bytes) -> None:
        if self._association is not None and not self.is_closed:
            self._association.send(stream_id, kind, data)
            self._has_unsent = True

    def _send_handshake(self, frame: bytes) -> None:
        self._put(HANDSHAKE_STREAM, frames.BINARY, frame)
        self.flush_unsent()

    def _send_datagrams(self) -> None:
        if self._association is not None:
            for packet in self._association.packets(trio.current_time()):
                self._dtls.send(packet)
        for datagram in self._dtls.datagrams():
            self._wire.send(datagram, self.address)

    def _begin_association(self) -> None:
        """DTLS stands: go on with SCTP, if the certificate is the one that was named. Raises WebRtcError."""
        expected = self._sides.peer_certificate
        if expected is not None and self._dtls.peer_fingerprint != expected:
            raise WebRtcError("another certificate")
        self._association = Association(is_client=self._is_initiator, now=trio.current_time())

    def _receive_packet(self, data: bytes) -> None:
        association = self._association
        if association is None:
            return
        association.receive(data, trio.current_time())
        if association.is_established:
            self._is_associated.set()
        while association.events:
            event = association.events.popleft()
            if isinstance(event, Data) and event.stream_id == HANDSHAKE_STREAM:
                association.receiver.read(len(event.data))
                if not self._is_ready and event.kind in frames.PAYLOAD_KINDS:
                    self._handshake.receive(event.data)
            else:
                self.streams.receive(event)

    async def _authenticate(self) -> None:
        """Find out who the peer is, and end the connection unless it is the one that was dialled."""
        await self._is_associated.wait()
        sides = self._sides
        try:
            theirs = self._dtls.peer_fingerprint
            own = sides.own_certificate
            both = (own, theirs) if self._is_initiator else (theirs, own)
            peer = await prove(self._handshake, sides.keys, sides.static, *both)
        except Exception as error:  # the library raises many unrelated types
            self.end(WebRtcError(f"Noise has failed: {type(error).__name__}"))
            return
        if sides.peer is not None and peer.to_bytes() != sides.peer:
            self.end(OtherPeerAnsweredError(peer.to_bytes()))
            return
        if not self.is_closed:
            self._become_ready(peer)

    def _next_time(self) -> float:
        times = [self._ask_at]
        if not self._is_ready:
            times.append(self.began + HANDSHAKE_TIMEOUT_S)
        if self._association is not None:
            times.append(self._association.next_time())
        elif self._has_path and (after := self._dtls.repeat_after_s()) is not None:
            times.append(trio.current_time() + after)
        return min(times)

    def _handle_time(self, now: float) -> None:
        if not self._is_ready and now >= self.began + HANDSHAKE_TIMEOUT_S:
            self.end(WebRtcError("the handshake took too long"), silently=not self._has_path)
            return
        if now >= self._ask_at:
            self._transaction = os.urandom(_TRANSACTION_BYTES)
            self._wire.send(stun.request(self._name, self._transaction), self.address)
            self._ask_at = now + (_CONSENT_S if self._has_path else _ASK_AGAIN_S)
        try:
            if self._association is not None:
                self._association.handle_time(now)
            elif self._has_path:
                self._dtls.repeat()
        except WebRtcError as error:
            self.end(error)
            return
        self.flush()
