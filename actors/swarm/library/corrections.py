"""Corrections of libp2p 0.8.1's host and network; those of its multiplexer stand in multiplexer.py,
those of its Kademlia in swarm/kad/dht_server.py.

Each names the defect; tests/swarm/test_corrections.py shows it on the library as it is and shows that the
correction removes it, so that a test fails as soon as one can go. docs/decisions/0004-libp2p-corrections.md
tells the whole story. Nothing else in the project reaches into the library's private names.
"""

import errno
import importlib
import ipaddress
import logging
import pkgutil
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

import libp2p
import libp2p.network.connection.swarm_connection as library_connection
import libp2p.network.swarm as library_swarm
import multiaddr.codecs
import trio
from libp2p.abc import IMuxedConn
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.x25519 import create_new_key_pair as create_x25519_key_pair
from libp2p.io.trio import TrioTCPStream
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.peerstore import PeerStore
from libp2p.rcmgr import Direction
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport

from ....messages.errors import SpacedriveNodeError
from ..dial import addresses
from ..pairing import limits
from . import multiplexer
from .streams import shielded

CORRECTED_VERSION = "0.8.1"
UPGRADE_TIMEOUT = 5.0
_HEAD_START = 0.02
_IDENTIFY_AGAIN = (0.5, 2.0, 8.0, 0.0)
"""Seconds after each time that it failed."""
_CLOSE_ONE = 0.4
_CLOSE_ALL = 0.9


class AddressTakenError(SpacedriveNodeError, OSError):
    """Another socket listens there."""


class Gate(Protocol):
    """Decides whether a connection from a host may come in."""

    def allows(self, host: str) -> bool:
        """Return whether connections from `host` (IP address as text) are accepted."""
        ...


def silence() -> None:
    """Defect: the library logs every failed dial as an error, with peer ids, partly through the root logger.

    What matters of it, this project reports itself.
    """
    logger = logging.getLogger("libp2p")
    for name in ("libp2p", *(name for name in logging.root.manager.loggerDict if name.startswith("libp2p."))):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    # swarm_connection.py calls logging.warning(), which is the root logger's.
    library_connection.logging = logging.getLogger("libp2p.network.connection")


def import_the_rest() -> None:
    """Defect: modules are imported in functions, at first use (network/connection/swarm_connection.py:234,
    multiaddr/codecs/__init__.py), which in a sandbox is too late.
    """
    codecs = [module.name for module in pkgutil.iter_modules(multiaddr.codecs.__path__)]
    for name in ("libp2p.utils.connection_shutdown", *(f"multiaddr.codecs.{codec}" for codec in codecs)):
        importlib.import_module(name)


def noise_only(keys: KeyPair) -> dict[Any, Any]:
    """Defect: by default a host also offers /plaintext/2.0.0 and secio (libp2p/__init__.py:661).

    With plaintext, whoever knows a peer's public key is taken for that peer. So: Noise and nothing else.
    """
    return {NOISE: NoiseTransport(keys, noise_privkey=create_x25519_key_pair().private_key)}


def connection_config(max_connections: int) -> ConnectionConfig:
    """Return the limits. The upgrade time-out is shortened because idle sockets hold slots meanwhile."""
    return ConnectionConfig(
        max_connections=max_connections,
        min_connections=0,
        low_watermark=0,
        high_watermark=max_connections,
        inbound_upgrade_timeout=UPGRADE_TIMEOUT,
    )


class TolerantPeerStore(PeerStore):  # type: ignore[misc]
    """Defect: a signed peer record older than the stored one counts as an attack (peer/peerstore.py:402).

    Its bearer's request is then reset, or the peer skipped (kad_dht/peer_routing.py:429). An older record is
    honest news that came late: it is ignored, and everything else in the message is used.
    """

    def consume_peer_record(self, envelope: Any, ttl: int) -> bool:
        """Store a newer record; accept an older one without storing it."""
        record = envelope.record()
        known = self.peer_record_map.get(record.peer_id)
        if known is not None and known.seq > record.seq:
            return bool(envelope.public_key.serialize() == known.envelope.public_key.serialize())
        return bool(super().consume_peer_record(envelope, ttl))


def new_host(keys: KeyPair, max_connections: int, announce: Callable[[], list[Any]]) -> Any:
    """Build a host with every correction that is made at construction.

    Defect: the default resource manager loses a slot at each rejection; limits here are the connection
    configuration's and our own. Defect: addresses that peers claim to observe would be advertised.
    """
    silence()
    know_ipv6_peers()
    multiplexer.use_bounds()
    # Made for each network and never asked: names are resolved before they come here (dial/resolver.py).
    library_swarm.DNSResolver = object
    host = libp2p.new_host(
        key_pair=keys,
        sec_opt=noise_only(keys),
        muxer_opt=multiplexer.muxers(),
        peerstore_opt=TolerantPeerStore(),
        connection_config=connection_config(max_connections),
        addrs_factory=lambda _candidates: announce(),
        disable_identify_address_discovery=True,
    )
    network = host.get_network()
    network.set_resource_manager(None)
    contain_stream_handlers(network)
    answer_proposals_at_once(host)
    forget_failures(network)
    shorten_dials(network)
    never_dial_by_itself(network)
    return host


def contain_stream_handlers(network: Any) -> None:
    """Defect: an exception in a stream handler ends the whole host, StreamEOF leaves a connection that
    accepts nothing any more (network/connection/swarm_connection.py:309). None may leave a handler.
    """
    handle = network.common_stream_handler

    async def contained(stream: Any) -> None:
        if multiplexer.has_too_many_streams(stream):
            await close_connection(stream.swarm_conn)
            return
        try:
            await handle(stream)
        except Exception:  # whatever went wrong concerns this stream alone
            with shielded(1):
                try:
                    await stream.reset()
                except Exception:  # it is gone already
                    return

    network.set_stream_handler(contained)


def answer_proposals_at_once(host: Any) -> None:
    """Defect: each line of a negotiation is a packet of its own (multiplexer.py)."""
    negotiate = host.multiselect.negotiate

    async def at_once(communicator: Any, *args: Any) -> Any:
        async with multiplexer.together(communicator.read_writer):
            return await negotiate(communicator, *args)

    host.multiselect.negotiate = at_once


def forget_failures(network: Any) -> None:
    """Defect: a peer whose dial failed once is refused for 60 s (_negative_peer_cache), though it is back."""
    network._negative_peer_cache = library_swarm._NegativePeerCache(ttl=0.0)


def never_dial_by_itself(network: Any) -> None:
    """Defect: an auto-connector dials peers of the peer store whenever there are fewer connections than half
    of the high watermark (network/auto_connector.py:262), with the low one at zero too. Dialling is ours.
    """

    async def nothing() -> None:
        return

    network.auto_connector.maybe_connect = nothing


def shorten_dials(network: Any) -> None:
    """Defect: each successful dial waits out a head start of 250 ms (network/swarm.py:92), and a dead
    address is tried four times. Our dialer goes address by address; the library's own paths get 20 ms.
    """
    library_swarm._HAPPY_EYEBALLS_DELAY = _HEAD_START
    network.retry_config = RetryConfig(max_retries=0)


def release_inbound_slots(
    network: Any, gate: Gate, observe: Callable[[str, float, bool], None] = lambda _t, _s, _ok: None
) -> None:
    """Defect: an inbound connection's slot is never given back (network/swarm.py:2044, 2060), so a host
    refuses everybody after some hundred connections in its life. Here it is held while the connection lives.

    Defect: idle raw sockets take all slots until the upgrade times out. Here one address may hold a quarter
    of as many slots again. Defect: when as many peers are connected as may be, nobody else gets in, and no
    dial out (network/swarm.py:1089, 2090): strangers of one address keep everybody out. Here an eighth is
    left for dials, and a peer that has proved its id gets the place of another. `observe` gets (transport,
    seconds, success) of each upgrade.
    """
    upgrading: Counter[str] = Counter()
    most_in_all = network.connection_config.max_connections
    most = max(1, most_in_all // 4)
    most_inbound = most_in_all - most_in_all // 8
    network._inbound_limiter.total_tokens = 2 * most_in_all

    async def handle(socket_stream: Any, address: Any, _failure: Any) -> None:
        remote = socket_stream.get_remote_address()
        host = "" if remote is None else str(remote[0])
        if not gate.allows(host) or upgrading[host] >= most:
            await _quietly(socket_stream.close)
            return
        upgrading[host] += 1
        began = trio.current_time()
        succeeded = False
        try:
            if isinstance(socket_stream, IMuxedConn):
                muxed = socket_stream
                await network.add_conn(muxed, direction="inbound")
            else:
                muxed = await network.upgrade_inbound_raw_conn(RawConnection(socket_stream, False), address)
            succeeded = True
        except Exception:  # a failed upgrade concerns this connection alone
            await _quietly(socket_stream.close)
            return
        finally:
            upgrading[host] -= 1
            if not upgrading[host]:
                del upgrading[host]
            observe("tcp", trio.current_time() - began, succeeded)
        connection = next((c for c in network.get_connections() if c.muxed_conn is muxed), None)
        if connection is not None:
            inbound = [
                one
                for one in network.get_connections()
                if one._direction is Direction.INBOUND and one is not connection and not one.is_closed
            ]
            if len(inbound) >= most_inbound:
                inbound.sort(key=lambda one: float(one._created_at))
                ranks = [(block_of(one.muxed_conn), bool(one.streams)) for one in inbound]
                going = inbound[limits.in_the_way(ranks)]
                network.remove_conn(going)  # now: until it is closed its place would count as taken
                await close_connection(going)
            await connection.event_closed.wait()

    network._do_handle_inbound_connection = handle


_library_remote_address = TrioTCPStream.get_remote_address


def remote_address(stream: Any) -> tuple[str, int] | None:
    """Return (IP address, port) of the other side of a TCP stream.

    Defect: None for IPv6, whose socket names have four parts (io/trio.py), so that all peers with IPv6 look
    alike to every limit.
    """
    known = _library_remote_address(stream)
    if known is not None:
        return str(known[0]), int(known[1])
    try:
        name = stream.stream.socket.getpeername()
    except (AttributeError, OSError):
        return None
    stream._cached_remote_address = (str(name[0]).partition("%")[0], int(name[1]))
    return (str(name[0]).partition("%")[0], int(name[1]))


def block_of(muxed: Any) -> str | None:
    """Return the address block that a connection comes from; None when it is gone."""
    try:
        remote = muxed.get_remote_address()
    except Exception:  # the library raises many unrelated types for a connection that is gone
        return None
    return None if remote is None else addresses.block_of(str(remote[0]))


def know_ipv6_peers() -> None:
    """Put `remote_address` into the library, for the whole process."""
    TrioTCPStream.get_remote_address = remote_address


def after_identify(host: Any, then: Callable[[Any], Awaitable[None]]) -> None:
    """Defect: nothing tells when identify has run for a peer (host/basic_host.py:1212), so nobody knows when
    to look at its protocols. `then` gets the peer id each time, and may not wait long. Defect: where it
    failed (its stream was reset, say) it is not tried again while the connection lasts, so that a server is
    never known as one.
    """
    identify = host._identify_peer

    async def identify_and_tell(peer_id: Any, *, reason: str) -> None:
        for pause in _IDENTIFY_AGAIN:
            await identify(peer_id, reason=reason)
            if peer_id in host._identified_peers or not host.get_network().get_connections(peer_id):
                break
            await trio.sleep(pause)
        await then(peer_id)

    host._identify_peer = identify_and_tell


async def _quietly(close: Callable[[], Any]) -> None:
    with shielded(1):
        try:
            await close()
        except Exception:  # what cannot be closed is already gone
            return


def is_alive(connection: Any) -> bool:
    """Defect: a connection whose other side was killed is still listed, and connect() answers ok on it."""
    return not connection.is_closed and not connection.muxed_conn.is_closed


async def close_connection(connection: Any) -> None:
    """Close one connection, bounded in time. Defect: closing may wait for a peer that reads no more."""
    with shielded(_CLOSE_ONE):
        await _quietly(connection.close)


@asynccontextmanager
async def run_host(host: Any) -> AsyncIterator[None]:
    """Run a host without listeners, and close all of it at the end, within about a second.

    Defect: cancelling host.run() leaks the connections and the listening socket (network/swarm.py:424), and
    close() takes at least 0.1 s for each connection, one by one. So the host runs in a task that nothing
    outside cancels, and that closes everything at once, with a deadline, when the body is left.
    """
    leave = trio.Event()

    async def hold(task_status: Any) -> None:
        with trio.CancelScope(shield=True) as scope:
            async with host.run([]):
                task_status.started()
                await leave.wait()
                scope.deadline = trio.current_time() + _CLOSE_ALL
                await _close_all(host)

    async with trio.open_nursery() as nursery:
        await nursery.start(hold)
        try:
            yield
        finally:
            leave.set()


async def _close_all(host: Any) -> None:
    network = host.get_network()
    async with trio.open_nursery() as nursery:
        for listener in list(network.listeners.values()):
            nursery.start_soon(_quietly, listener.close)
        for connection in list(network.get_connections()):
            nursery.start_soon(close_connection, connection)
    await _quietly(host.close)


def check_free(host: str, port: int) -> None:
    """Raise AddressTakenError when another socket listens there; any other OSError as it is.

    Defect: a listen failure is silent, and with SO_REUSEPORT (transport/tcp/tcp.py) two hosts share a port,
    each getting half of the connections. A test-bind without SO_REUSEPORT tells first.
    """
    ip = ipaddress.ip_address(host)
    with socket.socket(socket.AF_INET if ip.version == 4 else socket.AF_INET6, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise AddressTakenError(error.errno, "another program listens there") from error
            raise
