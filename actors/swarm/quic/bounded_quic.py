"""aioquic's sans-IO connection, bounded, and with what libp2p needs of it.

Everything that touches aioquic's private names is here. Owns no socket, no clock and no stream of the
application: connection.py does. Each correction names its defect in aioquic 1.7.2; tests/quic/ shows them.
docs/decisions/0009 says why this library.
"""

import ssl
from typing import Any, Final

from aioquic import tls
from aioquic.buffer import Buffer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import (
    CONNECTION_LIMIT_FRAME_CAPACITY,
    MAX_STREAM_DATA_FRAME_CAPACITY,
    QuicConnection,
    QuicConnectionError,
    QuicReceiveContext,
)
from aioquic.quic.events import ConnectionTerminated
from aioquic.quic.packet import QuicErrorCode, QuicFrameType, QuicProtocolVersion
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.quic.stream import QuicStream
from cryptography import x509

from ..library.handshake_limits import RateLimit
from .certificates import OwnCertificate
from .congestion import Pacer, RttMonitor
from .receive_credit import CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES, ReceiveCredit
from .reset_tokens import CONNECTION_ID_BYTES, ResetTokens

VERSION: Final = QuicProtocolVersion.VERSION_1
ALPN: Final = "libp2p"
IDLE_TIMEOUT_S: Final = 30.0
DATAGRAM_BYTES: Final = 1232
"""The largest that every path with IPv6 carries (RFC 8200, 5): 1280 bytes without the headers."""
ACKNOWLEDGE_AFTER_S: Final = 0.004
"""So that an answer that is ready by then carries the acknowledgement of its request."""
ACKNOWLEDGE_AFTER_PACKETS: Final = 4
"""Of so many the peer learns at once: between the flights of a longer message there would else be a pause."""
MAX_STREAMS: Final = 128
"""That the peer may have open at once."""
STREAMS_PER_S: Final = 300.0
"""That the peer may open in the long run, as over TCP (library/paced_reads.py)."""
_GRANT_STREAMS: Final = 16
"""So many are granted together."""
MAX_HANDSHAKE_BYTES: Final = 64 * 1024
"""Of one message of TLS, or of parts of it that have come out of order."""
_OF_PACKETS: Final = (
    "_QuicConnection__frame_handlers", "_loss", "tls", "_spaces",
    "_cryptos", "_cryptos_initial", "_crypto_buffers", "_crypto_streams",
)  # fmt: skip
"""What a connection keeps in order to send and receive packets: keys, buffers, and what refers to itself."""
MAX_WAITING_STREAMS: Final = 256
"""Of this side, for the peer's leave to be opened."""
MAX_GAPS: Final = 256
"""Missing parts of a stream. A window of full packets, every other one lost, has half as many."""


def configuration(own: OwnCertificate, *, is_client: bool) -> QuicConfiguration:
    """Return the configuration of one connection. Peers are checked by certificates.py, not by TLS."""
    made = QuicConfiguration(
        is_client=is_client,
        alpn_protocols=[ALPN],
        connection_id_length=CONNECTION_ID_BYTES,
        idle_timeout=IDLE_TIMEOUT_S,
        max_data=CONNECTION_WINDOW_BYTES,
        max_stream_data=STREAM_WINDOW_BYTES,
        max_datagram_size=DATAGRAM_BYTES,
        supported_versions=[VERSION],
        verify_mode=ssl.CERT_NONE,
    )
    made.certificate, made.private_key = own.certificate, own.key
    return made


class BoundedQuic(QuicConnection):
    """A connection whose peer proves its id, sends no more than is read, and learns of this side's death.

    Defect (quic/connection.py:3930, 4239): windows double whatever the application reads, so that a peer
    fills the memory. Here credit follows what was read.
    Defect (quic/stream.py:79): a stream of single bytes with gaps between costs a hundred times its size,
    and time. Here the number of gaps is bounded.
    Defect (tls.py:1398): a message of TLS may have 16 MiB, before the peer is known. Here it has 64 KiB.
    Defect (quic/connection.py:310, 3123): the tokens of stateless resets are random, so that they are lost
    with the process. Here they follow from the transport key.
    Defect (quic/connection.py:3755): whoever opens streams and resets them may open as many again at once,
    and costs this side far more than itself. Here new ones are granted at a rate.
    Defect (quic/connection.py:3766): a stream that is reset while it waits for the peer's leave to be opened
    is reset all the same, which the peer takes for one too many, and closes the connection. Here it waits.
    Defect (quic/connection.py:422 and others): a connection refers to itself in hundreds of places, so that
    one that has ended keeps its keys and buffers until Python looks for cycles, by when there may be a
    hundred. Here it drops them.
    Defect (tls.py:1307): a server asks for no certificate.
    Defect (quic/connection.py:278): what comes is acknowledged after a millisecond, and then once more with
    the answer, which takes longer than that. Here it waits some milliseconds.
    Defect (quic/connection.py:1192): what comes is acknowledged after that time only, however much it is,
    though the window of the sender may be empty by then (RFC 9000, 13.2.2). Here it is after some packets.
    And those of congestion.py.
    """

    def __init__(self, own: OwnCertificate, tokens: ResetTokens, *, is_client: bool, **more: Any) -> None:
        """`more` are QuicConnection's arguments about Retry."""
        super().__init__(configuration=configuration(own, is_client=is_client), **more)
        self.credit = ReceiveCredit()
        self._tokens = tokens
        self._ack_delay = ACKNOWLEDGE_AFTER_S
        self._loss._pacer = Pacer(max_datagram_size=DATAGRAM_BYTES)
        self._loss._cc._rtt_monitor = RttMonitor()  # type: ignore[attr-defined]
        first = self._host_cids[0]
        first.stateless_reset_token = None if is_client else tokens.token(first.cid)  # type: ignore[assignment]
        self._local_max_streams_bidi.value = self._local_max_streams_bidi.sent = MAX_STREAMS
        self._granted = MAX_STREAMS
        """Streams that the peer may have opened so far, with those that have ended."""
        self._given_up: list[int] = []
        """Streams that were given up before the peer allowed to open them."""
        self._ended_streams = 0
        """Streams in whose place no new one has been granted yet."""
        self._grants = RateLimit(STREAMS_PER_S, MAX_STREAMS)
        self._unacknowledged = 0
        """Packets whose acknowledgement is due."""
        self._now = 0.0
        self._local_max_streams_uni.value = self._local_max_streams_uni.sent = 0

    @property
    def peer_certificates(self) -> list[x509.Certificate]:
        """The certificates that the peer has sent, its own first."""
        own = self.tls._peer_certificate
        return [] if own is None else [own, *self.tls._peer_certificate_chain]

    @property
    def peer_reset_tokens(self) -> list[bytes]:
        """The tokens with which the peer may end this connection."""
        ids = (self._peer_cid, *self._peer_cid_available)
        return [one.stateless_reset_token for one in ids if one.stateless_reset_token]

    @property
    def waiting_streams(self) -> int:
        """How many streams of this side wait until the peer lets them be opened."""
        return len(self._streams_blocked_bidi)

    @property
    def proven_address(self) -> Any | None:
        """Where the peer has shown to be; None: nowhere yet.

        Defect (quic/connection.py:655): a peer that moves counts as being where its packets say before it has
        answered there, so that whoever makes up source addresses is in another address block at each limit.
        """
        return next((path.addr for path in self._network_paths if path.is_validated), None)

    @property
    def has_heard(self) -> bool:
        """Whether the peer has answered at all."""
        return self._remote_initial_source_connection_id is not None

    @property
    def close_reason(self) -> ConnectionTerminated | None:
        """Why the connection has ended or is about to; aioquic's event comes only after some time-outs."""
        return self._close_event

    def unsent(self, stream_id: int) -> int:
        """Return how many bytes of a stream wait here until the peer has acknowledged them."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else stream.sender._buffer_stop - stream.sender._buffer_start

    def owes_credit(self, stream_id: int) -> bool:
        """Return whether the peer should be told that it may send more."""
        stream, data = self._streams.get(stream_id), self._local_max_data
        if stream is not None and not stream.receiver.is_finished:
            limit = stream.max_stream_data_local
            if self.credit.stream_limit(stream_id, stream.receiver.highest_offset, limit) != limit:
                return True
        return self.credit.connection_limit(data.used, data.value) != data.value

    def acknowledge_now(self, now: float) -> None:
        """Send the acknowledgement that is due soon together with what is sent now."""
        space = self._spaces.get(tls.Epoch.ONE_RTT)
        if space is not None and space.ack_at is not None:
            space.ack_at = min(space.ack_at, now)

    def is_new_stream_of_peer(self, stream_id: int) -> bool:
        """Return whether the peer has opened this stream and nobody here has given it up."""
        is_of_peer = bool(stream_id & 1) == self._is_client
        return is_of_peer and not stream_id & 2 and not self.credit.is_ignored(stream_id)

    def use_reset_token(self) -> None:
        """Address the peer by a connection id for which it has given a token.

        A client cannot give one with its first id, and would else be gone unnoticed after a restart.
        """
        if not self._peer_cid.stateless_reset_token and self._peer_cid_available:
            self.change_connection_id()

    def stop_reading(self, stream_id: int) -> None:
        """Ask the peer to send no more on a stream that nobody here reads, and count what comes as read."""
        self.credit.ignore(stream_id)
        self.credit.prune(self._streams.keys())
        stream = self._streams.get(stream_id)
        if stream is not None and not (stream.receiver.is_finished or stream.is_blocked):
            stream.receiver.stop(QuicErrorCode.NO_ERROR)

    def give_up(self, stream_id: int) -> None:
        """Reset both halves of a stream: at once, or as soon as the peer allows this side to open it."""
        stream = self._streams.get(stream_id)
        if stream is not None and stream.is_blocked:
            self._given_up.append(stream_id)
        elif stream is not None:
            self.reset_stream(stream_id, QuicErrorCode.NO_ERROR)
            self.stop_reading(stream_id)

    def close_with(self, code: int | None) -> None:
        """Tell the peer that the connection ends; `code` is an error of the handshake, if it is one."""
        if code is None:
            self.close()
        else:
            self.close(error_code=code, frame_type=QuicFrameType.CRYPTO)

    def drop_state(self) -> None:
        """Drop what is kept for the application and for packets; the connection has ended."""
        self._streams.clear()
        self._streams_queue.clear()
        self._events.clear()
        for space in self._spaces.values():
            space.sent_packets.clear()
        for name in _OF_PACKETS:
            self.__dict__.pop(name, None)

    # What aioquic calls

    def _unblock_streams(self, is_unidirectional: bool) -> None:
        super()._unblock_streams(is_unidirectional)
        waiting, self._given_up = self._given_up, []
        for stream_id in waiting:
            self.give_up(stream_id)

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        self.tls._request_client_certificate = not self._is_client

    def _replenish_connection_ids(self) -> None:
        super()._replenish_connection_ids()
        for one in self._host_cids:
            if not one.was_sent:
                one.stateless_reset_token = self._tokens.token(one.cid)

    def _handle_crypto_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        super()._handle_crypto_frame(context, frame_type, buf)
        receiver = self._crypto_streams[context.epoch].receiver
        held = len(receiver._buffer) + len(self.tls._receive_buffer)
        if held > MAX_HANDSHAKE_BYTES or len(receiver._ranges) > MAX_GAPS:
            code = QuicErrorCode.CRYPTO_BUFFER_EXCEEDED
            raise QuicConnectionError(code, frame_type, "handshake is too long")

    def _handle_stream_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        stream_id, used = _peek(buf), self._local_max_data.used
        super()._handle_stream_frame(context, frame_type, buf)
        self.credit.receive(stream_id, self._local_max_data.used - used)
        stream = self._streams.get(stream_id)
        if stream is not None and len(stream.receiver._ranges) > MAX_GAPS:
            raise QuicConnectionError(QuicErrorCode.INTERNAL_ERROR, frame_type, "too many gaps in a stream")

    def _handle_reset_stream_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        stream_id, used = _peek(buf), self._local_max_data.used
        super()._handle_reset_stream_frame(context, frame_type, buf)
        self.credit.receive(stream_id, self._local_max_data.used - used)
        stream = self._streams.get(stream_id)
        if stream is not None:  # what has not arrived never will, what has can still be read
            self.credit.read(stream_id, stream.receiver.highest_offset - stream.receiver.starting_offset())

    def _write_stream_limits(
        self, builder: QuicPacketBuilder, space: QuicPacketSpace, stream: QuicStream
    ) -> None:
        if not stream.max_stream_data_local or stream.receiver.is_finished:
            return
        stream.max_stream_data_local = self.credit.stream_limit(
            stream.stream_id or 0, stream.receiver.highest_offset, stream.max_stream_data_local
        )
        if stream.max_stream_data_local_sent != stream.max_stream_data_local:
            frame = builder.start_frame(
                QuicFrameType.MAX_STREAM_DATA,
                capacity=MAX_STREAM_DATA_FRAME_CAPACITY,
                handler=self._on_max_stream_data_delivery,
                handler_args=(stream,),
            )
            frame.push_uint_var(stream.stream_id or 0)
            frame.push_uint_var(stream.max_stream_data_local)
            stream.max_stream_data_local_sent = stream.max_stream_data_local

    def _write_connection_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace) -> None:
        data = self._local_max_data
        data.value = self.credit.connection_limit(data.used, data.value)
        self._grant_streams()
        for limit in (data, self._local_max_streams_bidi):
            if limit.value != limit.sent:
                frame = builder.start_frame(
                    limit.frame_type,
                    capacity=CONNECTION_LIMIT_FRAME_CAPACITY,
                    handler=self._on_connection_limit_delivery,
                    handler_args=(limit,),
                )
                frame.push_uint_var(limit.value)
                limit.sent = limit.value

    def _grant_streams(self) -> None:
        """Let the peer open streams in the place of those that have ended, as fast as it may."""
        streams = self._local_max_streams_bidi
        self._ended_streams += streams.value - self._granted  # aioquic counts them there
        streams.value = self._granted
        if self._ended_streams >= _GRANT_STREAMS:
            granted = self._grants.take(self._ended_streams, self._now)
            self._ended_streams -= granted
            self._granted += granted
            streams.value = self._granted

    def _payload_received(self, *arguments: Any, **more: Any) -> tuple[bool, bool]:
        found: tuple[bool, bool] = super()._payload_received(*arguments, **more)
        self._unacknowledged += found[0]
        return found

    def _write_ack_frame(self, builder: QuicPacketBuilder, space: QuicPacketSpace, now: float) -> None:
        super()._write_ack_frame(builder, space, now)
        self._unacknowledged = 0

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Any]]:
        """Return what is to be sent, with its addresses."""
        self._now = now
        if self._unacknowledged >= ACKNOWLEDGE_AFTER_PACKETS:
            self.acknowledge_now(now)
        return super().datagrams_to_send(now)

    def get_timer(self) -> float | None:
        """Return when `handle_timer` wants to be called: also when streams can be granted that wait."""
        timer = super().get_timer()
        if timer is None or self._ended_streams < _GRANT_STREAMS:
            return timer
        return min(timer, self._now + _GRANT_STREAMS / STREAMS_PER_S)


BAD_CERTIFICATE: Final = QuicErrorCode.CRYPTO_ERROR + tls.AlertDescription.bad_certificate
CERTIFICATE_REQUIRED: Final = QuicErrorCode.CRYPTO_ERROR + tls.AlertDescription.certificate_required
"""Error codes of a connection for alerts of TLS (RFC 9001, 4.8)."""


def _peek(buf: Buffer) -> int:
    """Return the number with which a frame begins: the stream's id."""
    place = buf.tell()
    stream_id = buf.pull_uint_var()
    buf.seek(place)
    return stream_id
