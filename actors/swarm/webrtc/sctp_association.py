"""One SCTP association: how it begins and ends, its streams' resets, and which packets go out (RFC 9260).

Runs inside DTLS, so that every packet is the peer's; what is out of order ends the association all the same.
The dialer begins; if the other side begins too, the two become one. Sans-IO: packets in, packets out, and the
time when it wants to be called. Owns none of the bytes of a stream: `events` hands them on.
"""

import hmac
import os
from collections import deque
from dataclasses import dataclass
from typing import Final

from . import sctp_chunks as chunks
from .dtls import MAX_DATAGRAM_BYTES, OVERHEAD_BYTES
from .sctp_chunks import Data, Init, ResetRequest
from .sctp_receiver import WINDOW_BYTES, Receiver
from .sctp_sender import MAX_TIMEOUTS, Sender
from .wire import MalformedError, WebRtcError

MAX_STREAMS: Final = 65535
_ALONE: Final = (chunks.INIT, chunks.INIT_ACK)
"""Chunks that share a packet with no other."""
_MAX_PACKET_BYTES: Final = MAX_DATAGRAM_BYTES - OVERHEAD_BYTES
_COOKIE_BYTES: Final = 16
_BEGIN_TIMEOUT_S: Final = 0.5
_MAX_BEGINS: Final = 8
HEARTBEAT_AFTER_S: Final = {True: 10.0, False: 20.0}
"""Silence after which a side asks whether the other is there: the one that has dialled, and the other."""
_HEARTBEAT_TIMEOUT_S: Final = 3.0
_MAX_HEARTBEATS: Final = 4
"""In a row without an answer, after which the peer counts as gone."""
_MAX_REPLIES: Final = 128
"""To what the peer has sent in one go; of a request that got none the answer comes to its repetition."""
_MAX_REPLY_BYTES: Final = 512
_RESETS_AT_ONCE: Final = 64
_MAX_WAITING_RESETS: Final = 1024
_DONE, _PERFORMED, _IN_PROGRESS = 0, 1, 6


@dataclass(frozen=True, slots=True)
class StreamReset:
    """The peer will use these streams anew; everything it sent on them before has been handed on."""

    streams: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ResetDone:
    """The peer knows that this side's half of these streams has ended."""

    streams: tuple[int, ...]


Event = Data | StreamReset | ResetDone


class Association:
    """One side."""

    def __init__(self, *, is_client: bool, now: float) -> None:
        self._is_client = is_client
        self._tag = int.from_bytes(os.urandom(4), "big") | 1
        self._first_tsn = int.from_bytes(os.urandom(4), "big")
        self._cookie = os.urandom(_COOKIE_BYTES)
        self._peer_tag = 0
        self._peer: Init | None = None
        self.max_streams = MAX_STREAMS
        self.is_established = False
        self.sender = Sender(self._first_tsn, 0)
        self.receiver = Receiver(0)
        self.events: deque[Event] = deque()
        self._out: deque[bytes] = deque()
        """Chunks other than data, to be sent."""
        self._begin: bytes | None = None
        self._begin_at: float | None = None
        self._begins = 0
        self._heard_at = now
        self._heartbeats = 0
        self._heartbeat_at = now
        # resets of this side's halves
        self._resets: deque[int] = deque()
        self._request: ResetRequest | None = None
        self._request_at: float | None = None
        self._requests = 0
        self._next_request = self._first_tsn
        # resets of the peer's halves
        self._peer_request: int | None = None
        """The last one that was answered."""
        self._deferred: ResetRequest | None = None
        if is_client:
            self._repeat_until_answered(chunks.chunk(chunks.INIT, self._own_init().body()), now)

    # Out

    def send(self, stream_id: int, kind: int, data: bytes) -> None:
        """Queue one message, which has to have a byte at least."""
        self.sender.put(stream_id, kind, data)

    def reset(self, stream_id: int) -> None:
        """End this side's half of a stream, behind what was sent on it. Raises WebRtcError: too many wait."""
        if len(self._resets) >= _MAX_WAITING_RESETS:
            raise WebRtcError("the peer answers no reset")
        self._resets.append(stream_id)

    def abort(self) -> None:
        """Tell the peer that it is over."""
        if self._peer_tag:
            self._out.append(chunks.chunk(chunks.ABORT))

    def packets(self, now: float) -> list[bytes]:
        """Return what is to be sent now."""
        found: list[bytes] = []
        if self.is_established:
            self._request_resets(now)
        parts = [self._out.popleft() for _ in range(len(self._out))]
        part = self.sender.next_part(now) if self.is_established else None
        if self.is_established:
            sack = self.receiver.acknowledgement(now, at_once=part is not None)
            if sack is not None:
                parts.insert(0, bytes(sack))
        while part is not None:
            parts.append(part)
            part = self.sender.next_part(now)
        packed: list[bytes] = []
        size = chunks.HEADER_BYTES
        for one in parts:
            if packed and (
                size + len(one) > _MAX_PACKET_BYTES or packed[-1][0] in _ALONE or one[0] in _ALONE
            ):
                found.append(self._packet(packed))
                packed, size = [], chunks.HEADER_BYTES
            packed.append(one)
            size += len(one)
        if packed:
            found.append(self._packet(packed))
        return found

    def _packet(self, parts: list[bytes]) -> bytes:
        is_first = parts[0][0] == chunks.INIT
        return chunks.packet(0 if is_first else self._peer_tag, b"".join(parts))

    # Time

    def next_time(self) -> float:
        """Return when `handle_time` wants to be called."""
        times = [self._begin_at, self.sender.timer_at, self._request_at]
        if self.is_established:
            times += [self.receiver.ack_at, self._heartbeat_due()]
        return min((one for one in times if one is not None), default=float("inf"))

    def handle_time(self, now: float) -> None:
        """Do what is due. Raises WebRtcError when the peer counts as gone."""
        if self._begin_at is not None and now >= self._begin_at:
            self._begins += 1
            if self._begins >= _MAX_BEGINS or self._begin is None:
                raise WebRtcError("no answer")
            self._out.append(self._begin)
            self._begin_at = now + _BEGIN_TIMEOUT_S * 2 ** min(self._begins, 3)
        if self.sender.timer_at is not None and now >= self.sender.timer_at:
            self.sender.handle_timer(now)
            if self.sender.timeouts > MAX_TIMEOUTS:
                raise WebRtcError("the peer is gone")
        if self._request is not None and self._request_at is not None and now >= self._request_at:
            self._requests += 1
            if self._requests > MAX_TIMEOUTS:
                raise WebRtcError("the peer answers no reset")
            self._send_request(self._request, now)
        if self.is_established and now >= self._heartbeat_due():
            self._heartbeats += 1
            if self._heartbeats > _MAX_HEARTBEATS:
                raise WebRtcError("the peer is gone")
            self._heartbeat_at = now + _HEARTBEAT_TIMEOUT_S
            self._out.append(chunks.chunk(chunks.HEARTBEAT, chunks.parameter(1, bytes(8))))

    def _heartbeat_due(self) -> float:
        if self._heartbeats:
            return self._heartbeat_at
        return self._heard_at + HEARTBEAT_AFTER_S[self._is_client]

    # In

    def receive(self, data: bytes, now: float) -> None:
        """Take one packet. Raises MalformedError, or WebRtcError when the peer has ended it."""
        tag, found = chunks.read_packet(data)
        is_first = found[0][0] == chunks.INIT
        if tag != (0 if is_first else self._tag):
            raise MalformedError("SCTP: a wrong tag")
        self._heard_at, self._heartbeats = now, 0
        for kind, flags, body in found:
            self._receive_chunk(kind, flags, body, now)
        if self._deferred is not None and self.receiver.has_come(self._deferred.last_tsn):
            self._perform(self._deferred)

    def _receive_chunk(self, kind: int, flags: int, body: bytes, now: float) -> None:
        match kind:
            case chunks.DATA if self._peer is not None:
                data = chunks.read_data(flags, body)
                for one in self.receiver.receive(data, now):
                    self.receiver.unread += len(one.data)
                    self.events.append(one)
            case chunks.SACK if self.is_established:
                self.sender.receive(chunks.read_sack(body), now)
            case chunks.HEARTBEAT if self._peer_tag:
                self._reply(chunks.HEARTBEAT_ACK, body)
            case chunks.RECONFIG if self.is_established:
                self._receive_reconfig(body)
            case chunks.INIT:
                self._receive_init(chunks.read_init(body))
            case chunks.INIT_ACK if self._is_client and not self.is_established:
                self._receive_init_ack(chunks.read_init(body), now)
            case chunks.COOKIE_ECHO:
                self._receive_cookie(body)
            case chunks.COOKIE_ACK if self._peer is not None:
                self._establish()
            case chunks.ABORT | chunks.SHUTDOWN | chunks.SHUTDOWN_ACK | chunks.SHUTDOWN_COMPLETE:
                raise WebRtcError("the peer has ended the connection")
            case _:
                return

    def _reply(self, kind: int, body: bytes = b"") -> None:
        """Answer the peer, unless the answer does not fit into a packet, or it wants too many at once."""
        if len(body) <= _MAX_REPLY_BYTES and len(self._out) < _MAX_REPLIES:
            self._out.append(chunks.chunk(kind, body))

    # The beginning

    def _own_init(self, cookie: bytes = b"") -> Init:
        return Init(self._tag, WINDOW_BYTES, MAX_STREAMS, MAX_STREAMS, self._first_tsn, cookie)

    def _repeat_until_answered(self, chunk: bytes, now: float) -> None:
        self._begin, self._begin_at, self._begins = chunk, now + _BEGIN_TIMEOUT_S, 0
        self._out.append(chunk)

    def _receive_init(self, init: Init) -> None:
        """The peer begins. One that is established does not begin again inside the same DTLS."""
        if self.is_established or (self._peer is not None and init != self._peer):
            return
        self._meet(init)
        self._reply(chunks.INIT_ACK, self._own_init(self._cookie).body())

    def _receive_init_ack(self, init: Init, now: float) -> None:
        if not init.cookie or self._begin is None or self._begin[0] != chunks.INIT:
            return
        if self._peer is None:
            self._meet(init)
        self._out = deque(one for one in self._out if one != self._begin)
        self._repeat_until_answered(chunks.chunk(chunks.COOKIE_ECHO, init.cookie), now)

    def _meet(self, init: Init) -> None:
        """Take what the peer says of itself, once."""
        if self._peer is not None:
            return
        self._peer = init
        self._peer_tag = init.tag
        self.max_streams = min(MAX_STREAMS, init.inbound_streams)
        self.receiver = Receiver(init.first_tsn)
        self.sender = Sender(self._first_tsn, init.window)

    def _receive_cookie(self, cookie: bytes) -> None:
        if self._peer is not None and hmac.compare_digest(cookie, self._cookie):
            self._reply(chunks.COOKIE_ACK)
            self._establish()

    def _establish(self) -> None:
        self.is_established = True
        self._begin = self._begin_at = None

    # Resets

    def _request_resets(self, now: float) -> None:
        """Ask the peer to take note of resets, in one request at a time."""
        if self._request is None and self._resets:
            count = min(len(self._resets), _RESETS_AT_ONCE)
            streams = tuple(self._resets.popleft() for _ in range(count))
            for stream_id in streams:
                self.sender.forget(stream_id)
            last = (self.sender.next_tsn - 1) % (1 << 32)
            self._request = ResetRequest(self._next_request, last, streams)
            self._next_request = (self._next_request + 1) % (1 << 32)
            self._requests = 0
            self._send_request(self._request, now)

    def _send_request(self, request: ResetRequest, now: float) -> None:
        self._request_at = now + self.sender.timeout_s
        self._out.append(chunks.chunk(chunks.RECONFIG, bytes(request)))

    def _receive_reconfig(self, body: bytes) -> None:
        for kind, value in chunks.parameters(body):
            if kind == chunks.RESET_REQUEST:
                self._receive_request(chunks.read_reset_request(value))
            elif kind == chunks.RESET_RESPONSE:
                self._receive_answer(*chunks.read_reset_response(value))

    def _receive_request(self, request: ResetRequest) -> None:
        if request.number == self._peer_request:  # the answer was lost
            self._answer(request.number, _PERFORMED)
        elif self.receiver.has_come(request.last_tsn):
            self._perform(request)
        else:  # answered once everything before it has come
            self._deferred = request
            self._answer(request.number, _IN_PROGRESS)

    def _perform(self, request: ResetRequest) -> None:
        self._deferred = None
        self._peer_request = request.number
        self.events.append(StreamReset(request.streams))
        self._answer(request.number, _PERFORMED)

    def _answer(self, number: int, result: int) -> None:
        self._reply(chunks.RECONFIG, chunks.reset_response(number, result))

    def _receive_answer(self, number: int, result: int) -> None:
        request = self._request
        if request is None or number != request.number:
            return
        if result == _IN_PROGRESS:
            self._requests = 0  # it is there, and misses something that was sent before
            return
        if result not in (_DONE, _PERFORMED):
            raise WebRtcError("the peer resets no streams")
        self._request = self._request_at = None
        self.events.append(ResetDone(request.streams))
