"""One attempt of a direct upgrade: dials over TCP and QUIC at once, until there is a direct connection.

TCP leaves from the port that is listened on, so that both SYNs meet (simultaneous open); QUIC leaves from the
socket that is listened on. The client dials; over QUIC the server only sends bytes that mean nothing, to open
its NAT. Whoever has dialled a connection as its client decides: of those, only the first stays. Owns these
dials, their packets, and that nothing stays of them. Implements docs/protocol.md, "Direct upgrade".
"""

import errno
import os
import random
from collections.abc import Callable, Iterable
from typing import Any, Final

import trio
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from ..dial.addresses import Endpoint, ip_of
from ..library.connection_limits import serve_inbound
from ..library.connections import close_connection, close_quietly, connection_kind
from ..library.tcp_sockets import connect_from
from .limits import PACKETS_OF_PROBE, PACKETS_OF_QUIC, PACKETS_OF_TCP, PUNCH_S, PacketBudget

REFUSED_PAUSE_S: Final = 0.05
"""A NAT that answers an early SYN with a reset is asked again so soon."""
MIN_PROBE_PAUSE_S, MAX_PROBE_PAUSE_S = 0.01, 0.2
"""Between the packets of the server over QUIC (libp2p specs, connections/hole-punching.md)."""
PROBE_BYTES: Final = 64
_NO_PROTOCOL: Final = 0x3F
"""Of the first byte: neither a packet of QUIC (RFC 9000, section 17) nor one with a long header."""


class Attempt:
    """One attempt with one peer. `about_to_dial` is told of every address to which something is sent."""

    def __init__(
        self,
        host: Any,
        peer: bytes,
        start_task: Callable[..., None],
        *,
        is_client: bool,
        about_to_dial: Callable[[Endpoint, bool], None],
    ) -> None:
        self._host = host
        self._network = host.network
        self._peer = ID(peer)
        self._start_task = start_task
        self._is_client = is_client
        self._about_to_dial = about_to_dial
        self._budget = PacketBudget()
        self._quic_hosts: set[str] = set()
        self._tried: set[Endpoint] = set()
        self._dials: trio.Nursery | None = None
        self._connected = trio.Event()
        self._winner: Any | None = None

    def connected(self, connection: Any) -> None:
        """There is a direct connection with the peer: the first is the one that stays."""
        if self._winner is None:
            self._winner = connection
            self._connected.set()

    def heard_from(self, host: str, port: int) -> None:
        """Bytes of no connection have come to the socket of QUIC: from the peer, whose NAT is symmetric?"""
        ip = ip_of(host)
        if self._dials is None or not self._is_client or ip is None or str(ip) not in self._quic_hosts:
            return
        self._begin_quic(Endpoint("ip4" if ip.version == 4 else "ip6", str(ip), port, "quic"))

    async def run(self, targets: Iterable[Endpoint]) -> Any | None:
        """Dial until there is a direct connection, which is returned; None: there is none in time."""
        before = set(self._network.get_connections(self._peer))
        try:
            async with trio.open_nursery() as dials:
                self._dials = dials
                for target in targets:
                    if target.transport == "tcp":
                        dials.start_soon(self._tcp, target)
                    elif self._host.quic is not None:
                        self._quic_hosts.add(target.host)
                        if self._is_client:
                            self._begin_quic(target)
                        else:
                            dials.start_soon(self._probe, target)
                with trio.move_on_after(PUNCH_S):
                    await self._connected.wait()
                dials.cancel_scope.cancel()
        finally:
            self._dials = None
            for connection in set(self._network.get_connections(self._peer)) - before - {self._winner}:
                if connection.muxed_conn.is_initiator and connection_kind(connection) == "direct":
                    await close_connection(connection)
        return self._winner

    # TCP

    async def _tcp(self, target: Endpoint) -> None:
        """Connect from the listening port to one address; again at once where a connection is refused."""
        source = self._host.source_of(target.family)
        while source is not None and self._budget.take(PACKETS_OF_TCP):
            self._about_to_dial(target, True)
            try:
                stream = await connect_from(source, (target.host, target.port))
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL:
                    return  # the peer's own SYN was here first: the listener has the connection
                await trio.sleep(REFUSED_PAUSE_S)
                continue
            await self._upgrade(TrioTCPStream(stream), target)
            return

    async def _upgrade(self, stream: Any, target: Endpoint) -> None:
        if not self._is_client:
            stream.named = self._peer.to_bytes()
            # It outlives this attempt if it is the one that wins. If not, the client closes it.
            self._start_task(serve_inbound, self._network, stream, Multiaddr(str(target)))
            return
        try:
            await self._network.upgrade_outbound_raw_conn(RawConnection(stream, True), self._peer)
        except BaseException as error:
            await close_quietly(stream.close)
            if not isinstance(error, Exception):
                raise

    # QUIC

    def _begin_quic(self, target: Endpoint) -> None:
        if self._dials is not None and target not in self._tried and self._budget.take(PACKETS_OF_QUIC):
            self._tried.add(target)
            self._dials.start_soon(self._quic, target)

    async def _quic(self, target: Endpoint) -> None:
        self._about_to_dial(target, True)
        try:
            await self._network.dial_addr(Multiaddr(f"{target}/p2p/{self._peer}"), self._peer)
        except Exception:  # the library raises many types; all mean: not by this address
            return

    async def _probe(self, target: Endpoint) -> None:
        """Open the NAT on this side for what the client sends."""
        while self._budget.take(PACKETS_OF_PROBE):
            self._about_to_dial(target, True)
            data = os.urandom(PROBE_BYTES)
            if not self._host.quic.send_probe(target, bytes([data[0] & _NO_PROTOCOL]) + data[1:]):
                return
            pause = random.uniform(MIN_PROBE_PAUSE_S, MAX_PROBE_PAUSE_S)  # noqa: S311 - not a secret
            await trio.sleep(pause)
