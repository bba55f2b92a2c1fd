"""The streams of one WebRTC connection, each a data channel with an id, until both sides have let go of it.

Owns which ids may be used: one is free again when both halves were reset (RFC 8831, 6.7). The dialer's ids
are even, the listener's odd; channel 0 is that of the handshake. The bytes of a stream are stream.py's.
"""

from collections import deque
from typing import TYPE_CHECKING, Final

from ..library import muxed_streams
from . import frames
from .sctp_association import Event, ResetDone, StreamReset
from .sctp_chunks import Data
from .stream import WebRtcStream
from .wire import MalformedError, WebRtcError

if TYPE_CHECKING:
    from .connection import WebRtcConnection

HANDSHAKE_STREAM: Final = 0
MAX_STREAMS_OF_PEER: Final = 256
"""Open at once; what is opened beyond is reset at once."""
_MAX_LEAVING: Final = 1024
_MAX_CONTROL_BYTES: Final = 1024
_OURS_IS_RESET, _PEERS_IS_RESET = 1, 2


class StreamTable(muxed_streams.StreamTable["WebRtcConnection", WebRtcStream]):
    """The open streams of a connection."""

    def __init__(self, connection: "WebRtcConnection", *, is_client: bool) -> None:
        super().__init__(connection)
        self._parity = 0 if is_client else 1
        self._next_id = 2 if is_client else 1
        self._free: deque[int] = deque()
        self._leaving: dict[int, int] = {}
        """Ids that are not free yet: which halves were reset."""
        self._control: dict[int, bytearray] = {}
        """Messages of the channel itself that are not whole yet."""

    def open(self) -> WebRtcStream:
        """Return a new stream; the peer learns of it with the first bytes. Raises WebRtcError."""
        if self._free:
            stream_id = self._free.popleft()
        elif self._next_id < self._connection.max_streams:
            stream_id = self._next_id
            self._next_id += 2
        else:
            raise WebRtcError("too many streams")
        self._connection.send_control(stream_id, frames.OPEN)
        stream = self._streams[stream_id] = WebRtcStream(self._connection, stream_id)
        return stream

    def receive(self, event: Event) -> None:
        """Take what SCTP reports. Raises MalformedError, WebRtcError."""
        match event:
            case Data():
                self._receive_data(event)
            case StreamReset(streams=streams):
                for stream_id in streams or (*self._streams, *self._leaving):
                    self._receive_reset(stream_id)
            case ResetDone(streams=streams):
                for stream_id in streams:
                    self._leave(stream_id, _OURS_IS_RESET)

    def _receive_data(self, data: Data) -> None:
        stream = self._streams.get(data.stream_id)
        if data.kind == frames.CONTROL:
            self._connection.give_back(len(data.data))
            self._receive_control(data)
        elif stream is None or data.kind not in frames.PAYLOAD_KINDS:
            self._connection.give_back(len(data.data))
        else:
            try:
                stream.receive(data.data)
            except MalformedError:
                stream.give_up()
            if stream.is_done:
                self.forget(stream)

    def _receive_control(self, data: Data) -> None:
        message = self._control.pop(data.stream_id, bytearray()) + data.data
        if len(message) > _MAX_CONTROL_BYTES or len(self._control) >= MAX_STREAMS_OF_PEER:
            raise MalformedError("a channel's message is too large")
        if not data.is_last:
            self._control[data.stream_id] = message
        elif message[0] == frames.OPEN_KIND:
            self._add_of_peer(data.stream_id)

    def _add_of_peer(self, stream_id: int) -> None:
        if stream_id % 2 == self._parity or stream_id in self._streams:
            raise MalformedError("a channel with a wrong id")
        if self._leaving.get(stream_id, _PEERS_IS_RESET) & _PEERS_IS_RESET == 0:
            raise MalformedError("a channel with an id that is in use")
        self._leaving.pop(stream_id, None)
        if sum(one % 2 != self._parity for one in self._streams) >= MAX_STREAMS_OF_PEER:
            self._reset_channel(stream_id, 0)
            return
        self._offer(WebRtcStream(self._connection, stream_id))
        self._connection.send_control(stream_id, frames.ACK)

    def _receive_reset(self, stream_id: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.receive_channel_end()
            super().forget(stream)
            self._reset_channel(stream_id, _PEERS_IS_RESET)
        else:
            self._leave(stream_id, _PEERS_IS_RESET)

    def _reset_channel(self, stream_id: int, halves: int) -> None:
        """Reset this side's half of a channel, of which these halves are reset already."""
        if len(self._leaving) >= _MAX_LEAVING:
            raise WebRtcError("too many channels that the peer does not close")
        self._leaving[stream_id] = halves
        self._connection.reset_channel(stream_id)

    def _leave(self, stream_id: int, half: int) -> None:
        """One half of a channel that is given up here was reset; with both, its id is free."""
        halves = self._leaving.get(stream_id)
        if halves is None:
            return
        self._leaving[stream_id] = halves | half
        if halves | half == _OURS_IS_RESET | _PEERS_IS_RESET:
            del self._leaving[stream_id]
            if stream_id % 2 == self._parity:
                self._free.append(stream_id)

    def forget(self, stream: WebRtcStream) -> None:
        """Nothing more comes or goes on this stream: close its channel. It can still be read."""
        if self._streams.get(stream.stream_id) is stream:
            super().forget(stream)
            if not self._connection.is_closed:
                self._reset_channel(stream.stream_id, 0)

    def end(self) -> None:
        """The connection has ended: what has arrived can be read, and nobody waits any more."""
        super().end()
        self._leaving.clear()
