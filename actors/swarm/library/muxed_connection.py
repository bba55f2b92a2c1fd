"""A connection whose packets this project makes (QUIC, WebRTC), as the library expects a multiplexed one.

Owns who the peer is, once it has proved it; whether and why the connection has ended; its timer; and when its
unread bytes are counted. How packets are made and taken is each transport's own. Never touches a socket.
"""

from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Generic, Protocol, TypeVar

import trio
from libp2p.abc import IMuxedConn
from libp2p.connection_types import ConnectionType
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable
from multiaddr import Multiaddr

from ....messages.errors import SpacedriveNodeError
from ..dial.addresses import block_of
from .connections import UdpAddress
from .muxed_streams import MuxedStream, StreamTable
from .udp_sockets import SocketAddress
from .unread_bytes import largest_if_too_much

_COUNT_STEP_BYTES: Final = 64 * 1024
"""After so many unread bytes more, those of all connections are counted again."""

Stream = TypeVar("Stream", bound=MuxedStream)


class Wire(Protocol):
    """What a connection needs of its endpoint; each transport adds how it sends."""

    def handle_ready(self, connection: Any) -> None:
        """The peer has proved its id."""

    def handle_end(self, connection: Any) -> None:
        """The connection has ended, whichever way."""


class MuxedConnection(IMuxedConn, Generic[Stream]):  # type: ignore[misc]
    """A connection over UDP. `address` is where the peer was at first."""

    transport: str
    peer_id: ID
    streams: StreamTable[Any, Stream]
    error: type[SpacedriveNodeError]
    """That of this transport."""

    _wire: Wire

    def __init__(self, wire: Wire, address: SocketAddress, *, is_initiator: bool) -> None:
        self._wire = wire
        self.began = trio.current_time()
        self.event_started = trio.Event()
        self.settled = trio.Event()
        """The peer has proved its id, or the connection has ended."""
        self.ended = trio.Event()
        self.failure: Exception | None = None
        """Why it has ended."""
        self.acknowledged = trio.lowlevel.ParkingLot()
        """Here writers wait until the peer has taken what they wrote."""
        self.address = address
        self.address_block = block_of(str(address[0]))
        self._is_initiator = is_initiator
        self._is_ready = False
        self._batching: set[int] = set()
        """Streams in whose `batch` something is being written."""
        self._has_unsent = False
        self._timer = trio.CancelScope()
        self._counted = 0
        """Unread bytes when those of all connections were last counted."""

    # What each transport does in its own way

    @property
    @abstractmethod
    def unread(self) -> int:
        """Bytes that the peer has sent and nobody here has read (library/unread_bytes.py)."""

    @abstractmethod
    def get_remote_address(self) -> UdpAddress:
        """Return (IP address, port) of the peer."""

    @abstractmethod
    def flush_unsent(self) -> None:
        """Send what `batch` holds back."""

    @abstractmethod
    def _say_goodbye(self, code: int | None) -> None:
        """Tell the peer that the connection ends; `code` is an error of the handshake, if it is one."""

    @abstractmethod
    def _drop_state(self) -> None:
        """Free what only a live connection needs."""

    @abstractmethod
    def _next_time(self) -> float:
        """Return when there is something to do if nothing comes."""

    @abstractmethod
    def _handle_time(self, now: float) -> None:
        """Do what is due."""

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
    def is_closed(self) -> bool:
        """Whether the connection has ended."""
        return self.ended.is_set()

    async def start(self) -> None:
        """Be there until the connection ends; it has been running since its handshake."""
        self.event_started.set()
        await self.ended.wait()

    async def close(self) -> None:
        """Close the connection and tell the peer."""
        self.end(self.error("closed here"))
        await trio.lowlevel.checkpoint()

    async def open_stream(self) -> Stream:
        """Open a stream; the peer learns of it with the first bytes. Raises MuxedConnUnavailable."""
        if self.is_closed:
            raise MuxedConnUnavailable("the connection has ended")
        try:
            stream = self.streams.open()
        except self.error as error:
            raise MuxedConnUnavailable(str(error)) from None
        await trio.lowlevel.checkpoint()
        return stream

    async def accept_stream(self) -> Stream:
        """Return the next stream that the peer has opened. Raises MuxedConnUnavailable."""
        await trio.lowlevel.checkpoint()
        stream = await self.streams.accept()
        if stream is None:
            raise MuxedConnUnavailable("the connection has ended")
        return stream

    def get_transport_addresses(self) -> list[Multiaddr]:
        """Return the peer's address as a multiaddr."""
        return [self.get_remote_address().multiaddr()]

    def get_connection_type(self) -> ConnectionType:
        """It runs over no relay."""
        return ConnectionType.DIRECT

    # What its streams call

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

    # What the counts of all connections call (library/unread_bytes.py)

    def drop(self) -> None:
        """End this connection, which holds too much."""
        self.end(self.error("too many unread bytes"))

    # What its transport calls

    def end(self, why: Exception, *, code: int | None = None, silently: bool = False) -> None:
        """End the connection, telling the peer unless `silently`. `code` is an error of the handshake."""
        if self.is_closed:
            return
        self.failure = why
        self.ended.set()
        if not silently:
            self._say_goodbye(code)
        self.settled.set()
        self._wire.handle_end(self)
        self.streams.end()
        self.acknowledged.unpark_all()
        self._drop_state()

    async def run(self) -> None:
        """Watch the time until the connection ends."""
        while not self.is_closed:
            with trio.CancelScope(deadline=self._next_time()) as self._timer:
                await self.ended.wait()
            if not self.is_closed:
                self._handle_time(trio.current_time())

    def _become_ready(self, peer: ID) -> None:
        """The peer has proved its id."""
        self.peer_id = peer
        self._is_ready = True
        self.settled.set()
        self._wire.handle_ready(self)

    def _count_unread(self) -> None:
        """Count the unread bytes of all connections, once this one holds some more."""
        unread = self.unread
        if unread > self._counted + _COUNT_STEP_BYTES:
            self._counted = unread
            largest = largest_if_too_much(self)
            if largest is not None:
                largest.drop()
        elif unread < self._counted:
            self._counted = unread
