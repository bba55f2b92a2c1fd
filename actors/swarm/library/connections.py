"""One connection of the library: whether it is alive, of which kind, from where, and how it is closed."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, NamedTuple, Self

import libp2p.identity.identify.identify as library_identify
from libp2p.io.trio import TrioTCPStream
from multiaddr import Multiaddr

from ....messages.types import ConnectionKind, Transport
from ....protocol.multiaddrs import Family
from ..dial import addresses
from .streams import shielded

_CLOSE_TIMEOUT_S = 1.0
_PARTS = ("secured_conn", "_conn", "conn", "stream")
"""What the library's connections call that over which they run."""
_MAX_PARTS = 8
_library_remote_address = TrioTCPStream.get_remote_address
_library_observed = library_identify._remote_address_to_multiaddr


class UdpAddress(NamedTuple):
    """(IP address, port) of the other side of a QUIC connection, as the library expects it."""

    host: str
    port: int

    @classmethod
    def of(cls, address: tuple[Any, ...]) -> Self:
        """Return it for an address of a socket: without a zone, and IPv4 if it is mapped."""
        host = str(address[0]).partition("%")[0]
        ip = addresses.ip_of(host)
        return cls(host if ip is None else str(ip), int(address[1]))

    def multiaddr(self) -> Multiaddr:
        """Return it as a multiaddr."""
        return Multiaddr(f"/{'ip6' if ':' in self.host else 'ip4'}/{self.host}/udp/{self.port}/quic-v1")


class WebRtcAddress(UdpAddress):
    """The same of a WebRTC connection."""

    def multiaddr(self) -> Multiaddr:
        """Return it as a multiaddr."""
        return Multiaddr(f"/{'ip6' if ':' in self.host else 'ip4'}/{self.host}/udp/{self.port}/webrtc-direct")


class WebSocketAddress(NamedTuple):
    """(IP address, port) of the other side of a WebSocket, as the library expects it.

    Behind a reverse proxy it is the address that the proxy names, whose port nobody knows: 0.
    """

    host: str
    port: int

    @property
    def transport(self) -> Transport:
        """What the connection runs over."""
        return "ws"

    def multiaddr(self) -> Multiaddr | None:
        """Return it as a multiaddr; None when the port is unknown."""
        if not self.port:
            return None
        family: Family = "ip6" if ":" in self.host else "ip4"
        return Multiaddr(str(addresses.Endpoint(family, self.host, self.port, self.transport)))


class SecureWebSocketAddress(WebSocketAddress):
    """The same, with TLS that ends at this node."""

    @property
    def transport(self) -> Transport:
        """What the connection runs over."""
        return "wss"


class RelayedAddress(NamedTuple):
    """Where the other side of a relayed connection counts as being: behind its relay, at no IP address.

    All that come through one relay are one block to every limit; what they do is never laid to the relay.
    """

    host: str
    """`relay:` and the peer id of the relay."""
    port: int
    transport: Transport
    """What the connection with the relay runs over."""

    @classmethod
    def behind(cls, relay: Any, transport: Transport) -> "RelayedAddress":
        """Return it for the peer id of a relay."""
        return cls(f"{addresses.RELAY_BLOCK}{relay}", 0, transport)


def transport_of(muxed: Any) -> Transport:
    """Return the transport of a multiplexed connection, or of one that is not multiplexed yet."""
    known: Transport | None = getattr(muxed, "transport", None)
    if known is not None:
        return known
    remote = _remote_of(muxed)
    return remote.transport if isinstance(remote, WebSocketAddress | RelayedAddress) else "tcp"


def is_alive(connection: Any) -> bool:
    """Return whether a connection is open, as far as this side knows.

    Defect (0.8.1): a connection whose other side was killed is still listed by get_connections(), and
    connect() reports success on it.
    """
    return not connection.is_closed and not connection.muxed_conn.is_closed


def connection_kind(connection: Any) -> ConnectionKind:
    """Return how a connection, or the one of a stream, runs: relayed, if a relay is in between."""
    return "relayed" if isinstance(_remote_of(connection.muxed_conn), RelayedAddress) else "direct"


def _remote_of(muxed: Any) -> Any | None:
    """Return what the library has as the address of the other side; None: gone."""
    try:
        return muxed.get_remote_address()
    except Exception:  # the library raises many unrelated types for a connection that is gone
        return None


async def close_connection(connection: Any) -> None:
    """Close one connection; never raises, bounded in time, and its end is told in any case.

    Defect (0.8.1, network/connection/swarm_connection.py:202): closing may wait for a peer that no longer
    reads, and takes a fifth of a second at best, after which those who hear of ends are told. Where it is
    given up, as that of hundreds at once on a slow machine, they are told here.
    Test: tests/swarm/test_connections.py.
    """
    with shielded(_CLOSE_TIMEOUT_S) as limit, suppress(Exception):  # what cannot be closed is already gone
        await connection.close()
    if limit.cancelled_caught:
        if not connection.muxed_conn.is_closed:
            connection.muxed_conn.drop()
        connection.swarm.remove_conn(connection)
        with shielded(_CLOSE_TIMEOUT_S):
            await connection._notify_disconnected()


async def give_way(connection: Any) -> None:
    """Close one connection because there is no room for it; its peer is not gone."""
    connection.gave_way = True
    await close_connection(connection)


def gave_way(connection: Any) -> bool:
    """Return whether a connection was closed by `give_way`."""
    return getattr(connection, "gave_way", False)


async def close_quietly(close: Callable[[], Awaitable[Any]]) -> None:
    """Await `close()` for a second at most, also when cancelled; never raises."""
    with shielded(_CLOSE_TIMEOUT_S), suppress(Exception):  # what cannot be closed is already gone
        await close()


def remote_address(stream: Any) -> tuple[str, int] | None:
    """Return (IP address, port) of the other side of a TCP stream, or None when it is gone.

    Defect (0.8.1, io/trio.py): None for IPv6 as well, because its socket addresses have four parts, so that
    all peers with IPv6 look alike to every limit.
    Test: tests/swarm/test_connections.py.
    """
    known = _library_remote_address(stream)
    if known is not None:
        return str(known[0]), int(known[1])
    try:
        name = stream.stream.socket.getpeername()
    except (AttributeError, OSError):
        return None
    found = str(name[0]).partition("%")[0], int(name[1])
    stream._cached_remote_address = found
    return found


def use_remote_address() -> None:
    """Put `remote_address` into the library, for the whole process, and let identify name the transport.

    Defect (0.8.1, identity/identify/identify.py:79): what identify tells a peer of its own address is always
    one of TCP.
    Test: tests/quic/test_hosts.py.
    """
    TrioTCPStream.get_remote_address = remote_address
    library_identify._remote_address_to_multiaddr = _observed


def _observed(remote: tuple[str, int] | None) -> Multiaddr | None:
    if isinstance(remote, RelayedAddress):
        return None
    if isinstance(remote, UdpAddress | WebSocketAddress):
        return remote.multiaddr()
    return _library_observed(remote)


def host_of(connection: Any) -> str | None:
    """Return the IP address of the other side of a connection as text; None: gone, or behind a relay."""
    remote = _remote_of(connection.muxed_conn)
    return None if remote is None or isinstance(remote, RelayedAddress) else str(remote[0])


def dialled_address(connection: Any) -> Multiaddr | None:
    """Return where this side has reached the other; None: the other side has dialled, or it is relayed."""
    muxed = connection.muxed_conn
    return _observed(_remote_of(muxed)) if muxed.is_initiator else None


def local_port_of(muxed: Any) -> int | None:
    """Return the port of this side of a multiplexed connection; None: gone, or not known.

    Defect (0.8.1): no connection tells it. So what a connection is made of is looked through for its socket.
    Test: tests/reachability/test_autonat.py.
    """
    part = muxed
    for _ in range(_MAX_PARTS):
        port: int | None = getattr(part, "local_port", None)
        if port is not None:
            return port
        found = getattr(part, "socket", None)
        if found is not None:
            name = _name_of(found)
            return None if name is None else int(name[1])
        part = _inner(part)
    return None


def local_host_of(muxed: Any) -> str | None:
    """Return the IP address of this side of a multiplexed connection; None: it is bound to none, or gone."""
    part = muxed
    for _ in range(_MAX_PARTS):
        found = getattr(part, "socket", None)
        if found is not None:
            name = _name_of(found)
            return None if name is None else str(name[0]).partition("%")[0]
        part = _inner(part)
    return None


def _inner(part: Any) -> Any | None:
    return next((one for name in _PARTS if (one := getattr(part, name, None)) is not None), None)


def _name_of(socket: Any) -> tuple[Any, ...] | None:
    try:
        name: tuple[Any, ...] = socket.getsockname()
    except OSError:
        return None
    return name


def address_block_of(muxed: Any) -> str | None:
    """Return the address block (dial/addresses.py) from which a multiplexed connection comes; None: gone."""
    remote = _remote_of(muxed)
    return None if remote is None else addresses.block_of(str(remote[0]))
