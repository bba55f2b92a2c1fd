"""Yamux, corrected: how much memory a connection may take here, and how many packets a stream costs.

Each correction names its defect. tests/limits/test_multiplexer.py (memory) and tests/swarm/test_packets.py
(packets) show the defects on the library as it is, and that the corrections remove them.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import libp2p.stream_muxer.muxer_multistream as library_multistream
import trio
from libp2p.custom_types import TProtocol
from libp2p.rcmgr import Direction
from libp2p.stream_muxer.yamux.yamux import (
    FLAG_ACK,
    FLAG_FIN,
    FLAG_RST,
    FLAG_SYN,
    PROTOCOL_ID,
    TYPE_GO_AWAY,
    TYPE_WINDOW_UPDATE,
    Yamux,
    YamuxStream,
)

from .paced_reads import PacedReads
from .packet_writer import PacketWriter
from .unread_bytes import largest_if_too_much

MAX_UNREAD_BYTES = 4 * 1024 * 1024
"""What the peer of one connection may have sent that nobody here has read. An honest peer sends at most
256 KiB to a stream that is not read; this is sixteen such streams, and this project reads all its streams."""
MAX_STREAMS = 256
"""Streams that a peer may have open on one connection. No implementation opens more of its own accord."""
MAX_REMEMBERED_STREAMS = 1024
"""Streams of one connection that the library has not forgotten yet; closed ones stay up to a minute."""
GOODBYE_TIMEOUT_S = 0.1
"""For the last frame of a connection to be taken by the socket."""
_CLEAN_UP_TIMEOUT_S = 1.0


class BoundedYamux(Yamux):  # type: ignore[misc]
    """Yamux with bounded memory and fewer packets.

    Defect (0.8.1, stream_muxer/yamux/yamux.py:1513): what a peer sends beyond the receive window is kept,
    with a warning, also for streams that have been reset, so that one connection can fill the memory. Here
    such a connection is closed; when all connections together hold too much, the one that holds most.

    Defect (0.8.1): every frame is sealed and sent as a packet of its own, so that a request with its answer
    costs sixteen. Here the frame that opens a stream waits for the next frame, and frames written inside
    `one_packet` wait for its end.

    Defect (0.8.1, stream_muxer/yamux/yamux.py:1103): what a peer has sent before it resets a stream is lost
    if nobody has read it by then. js-libp2p 2 answers a Kademlia request and resets the stream at once. Here
    it is read first, and then the reset is reported. Test: tests/swarm/test_resets.py.

    Defect (0.8.1, same file, 986): what nobody will read of a stream that was closed is kept for up to 90 s,
    so that some answers that are read in part close the connection. Here it goes with the stream. Test:
    tests/limits/test_swarm.py, test_a_server_whose_answers_are_not_read_to_their_end_can_be_asked_again.

    Defect (0.8.1, stream_muxer/yamux/yamux.py:785): who closes a connection waits for its peer to read, and
    closes nothing if that is given up. Here the peer is told if it takes that at once.

    Packets are sent by packet_writer.py, which says why.
    """

    _arriving = 0
    _reading = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.secured_conn: Any = PacedReads(self.secured_conn)
        self.packets = PacketWriter(self._send_packet, self.drop)
        self.batching: set[int] = set()
        """Ids of the streams that are inside `one_packet`: their frames are delayed."""

    @property
    def unread(self) -> int:
        """Bytes that were sent, or announced by a frame that is arriving, and that nobody here has read."""
        if self.event_shutting_down.is_set():
            return 0
        # A frame that was read may wait for the lock before it reaches its stream's buffer.
        waiting = self._reading or self.streams_lock.locked()
        return sum(map(len, self.stream_buffers.values())) + (self._arriving if waiting else 0)

    def drop(self) -> None:
        """Close this connection from outside, whatever its peer does. The bytes are freed at once."""
        self.event_shutting_down.set()
        for buffer in self.stream_buffers.values():
            buffer.clear()
        with suppress(AttributeError, RuntimeError):  # it has not begun, or has just ended
            self._nursery.start_soon(self._clean_up)

    async def _clean_up(self) -> None:
        """End this connection. That the socket is closed ends all its tasks, but not this one."""
        with trio.CancelScope(deadline=trio.current_time() + _CLEAN_UP_TIMEOUT_S, shield=True):
            await self._cleanup_on_error()

    async def _read_data_body(self, length: int) -> bytes:
        self._arriving, self._reading = length, True
        try:
            largest = largest_if_too_much(self)
            if (
                largest is self
                or self.unread > MAX_UNREAD_BYTES
                or len(self.streams) > MAX_REMEMBERED_STREAMS
            ):
                # The one exception upon which the library closes the connection, whatever the frame was.
                raise trio.TooSlowError
            if largest is not None:
                largest.drop()
            return bytes(await super()._read_data_body(length))
        finally:
            self._reading = False

    def _finalize_stream_locked(self, stream: YamuxStream, *, fully_closed: bool) -> None:
        if stream.reset_received:
            stream.recv_closed = True  # as after a FIN: what has come can be read
        if fully_closed and stream.is_unread:
            self.stream_buffers.get(stream.stream_id, bytearray()).clear()
        super()._finalize_stream_locked(stream, fully_closed=fully_closed)

    async def _send_packet(self, frames: bytes) -> None:
        await self.secured_conn.write(frames)

    async def _write_frame(self, data: bytes) -> None:
        kind, flags, stream_id = data[1], data[3], int.from_bytes(data[4:8], "big")
        opens_stream = kind == TYPE_WINDOW_UPDATE and flags in (FLAG_SYN, FLAG_ACK)
        if stream_id in self.batching or opens_stream:
            self.packets.delayed += data
        elif kind == TYPE_GO_AWAY:
            with trio.move_on_after(GOODBYE_TIMEOUT_S):
                await self.packets.write(data, timeout_s=GOODBYE_TIMEOUT_S)
        else:
            await self.packets.write(data, if_given_up=bool(flags & (FLAG_FIN | FLAG_RST)))

    async def flush(self) -> None:
        """Send the frames that were delayed, which whoever waits for the peer does before."""
        await self.packets.flush()

    @asynccontextmanager
    async def batch(self, stream_id: int) -> AsyncIterator[None]:
        """Hold back the frames of a stream that are written in this block, and send them at its end."""
        self.batching.add(stream_id)
        try:
            yield
        finally:
            self.batching.discard(stream_id)
        await self.flush()

    async def read_stream(self, stream_id: int, n: int = -1) -> bytes:
        """Read from a stream; before waiting for the peer, send what the peer may be waiting for."""
        stream, buffer = self.streams.get(stream_id), self.stream_buffers.get(stream_id)
        if not buffer:
            await self.flush()
        elif stream is not None and not (stream.closed or self.event_shutting_down.is_set()):
            data = bytes(buffer if n < 0 else buffer[:n])
            del buffer[: len(data)]
            return data
        return bytes(await super().read_stream(stream_id, n))


@asynccontextmanager
async def one_packet(stream: Any) -> AsyncIterator[None]:
    """Send what is written to a stream in this block as one packet.

    It goes out at the end of the block, or as soon as this side waits for an answer on the connection.
    """
    muxed = getattr(stream, "muxed_stream", None)
    batch = getattr(getattr(muxed, "conn", None), "batch", None)
    if muxed is None or batch is None:
        yield
        return
    async with batch(muxed.stream_id):
        yield


_send_window_update = YamuxStream._auto_tune_and_send_window_update


async def give_credit(stream: YamuxStream, *, bytes_read: int = 0) -> None:
    """Let the peer send more, once half of the receive window has been used up.

    Defect (0.8.1): each read of some bytes is answered with a window update, a packet of its own. The Yamux
    specification suggests to wait for half of the window.
    """
    stream._pending_recv_release += bytes_read
    if stream._pending_recv_release >= stream.target_recv_window // 2:
        await _send_window_update(stream)


def stop_reading(stream: YamuxStream) -> None:
    """Nobody here will read a stream any more: drop what has come, and with its end what still comes."""
    stream.is_unread = True
    stream.conn.stream_buffers.get(stream.stream_id, bytearray()).clear()


def muxers() -> dict[TProtocol, type[Any]]:
    """Return the multiplexers that are offered: protocol id to class.

    Defect (0.8.1): Mplex, which has no flow control at all, is offered as well.
    """
    return {TProtocol(PROTOCOL_ID): BoundedYamux}


def has_too_many_streams(stream: Any) -> bool:
    """Return whether the peer has too many streams open on the connection of `stream`.

    Defect (0.8.1): a peer may open any number of streams, each of which costs a task and waits for seconds.
    """
    connection = stream.swarm_conn
    if connection is None or len(connection.streams) <= MAX_STREAMS:
        return False
    return sum(other._direction is Direction.INBOUND for other in connection.streams) > MAX_STREAMS


def use_bounded_yamux() -> None:
    """Put BoundedYamux and `give_credit` into the library, for the whole process.

    The library names its own Yamux where it makes one, whatever `muxers` offers.
    """
    library_multistream.Yamux = BoundedYamux
    YamuxStream._auto_tune_and_send_window_update = give_credit
    YamuxStream.is_unread, YamuxStream.stop_reading = False, stop_reading
