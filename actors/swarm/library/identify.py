"""Identify: asks a connected peer which protocols it speaks and where it listens, and takes what peers push.

Owns the reading of identify's messages, bounded before they are parsed, the moment at which identify has run,
and pushing what has changed here. Never dials and keeps nothing itself: peer_store.py does. Answering stays
with the library. Implements docs/protocol.md, "Limits" (messages of Kademlia and identify).
"""

import math
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import trio
import varint
from google.protobuf.message import DecodeError
from libp2p.identity.identify import identify as library_identify
from libp2p.identity.identify.identify import ID as IDENTIFY_ID
from libp2p.identity.identify.identify import _mk_identify_protobuf
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.identity.identify_push.identify_push import ID_PUSH
from multiaddr import Multiaddr

from ....messages.peer_protocol import PROTOCOL_ID
from ..dial.addresses import is_local_host
from . import peer_store, streams
from .block_shares import BlockShares
from .connections import address_block_of, host_of, is_alive
from .crowds import place

MAX_MESSAGE_BYTES = 64 * 1024
MAX_PUSHES = 64
MAX_PUSHES_PER_PEER = 2
_MAX_PUSHES_AT_ONCE = 32
_told: ContextVar[Any] = ContextVar("told", default=None)
"""The connection over which identify speaks, in the task that does."""
_TIMEOUT_S = 10.0
_START_TIMEOUT_S = 5.0
_ADDRESS_LIFE_S = 7200
_RETRY_PAUSES_S = (0.5, 2.0, 8.0, 0.0)
"""Pause after each failure; the last one ends the attempts."""


def use_bounded_identify(host: Any) -> None:
    """Read the messages of identify here instead of in the library.

    Defect (0.8.1, host/basic_host.py:1264, identity/update.py:31): a message of identify may have 1 MiB, or
    any length in the old format. A thousand addresses and any number of protocols of it are stored, and all
    addresses of the signed record in it. One message blocks the process for seconds; 120 peers fill the
    memory. Here it has at most 64 KiB, and of these what the peer store keeps is read. The signed record in
    it is not: the connection has proved already who says so. Of pushes that do not come at once there are 64
    at most; then the oldest of the address block that has most makes room.
    Tests: tests/swarm/test_identify.py; tests/limits/test_strangers_bytes.py.
    """
    network = host.get_network()
    pushes: Counter[Any] = Counter()
    crowd: BlockShares[trio.CancelScope] = BlockShares(MAX_PUSHES, MAX_PUSHES)

    async def identify(peer_id: Any, *, reason: str) -> None:
        connection = next((one for one in reversed(network.get_connections(peer_id)) if is_alive(one)), None)
        if connection is None:
            return
        with trio.move_on_after(_START_TIMEOUT_S) as start:
            await connection.event_started.wait()
        if start.cancelled_caught:
            return
        try:
            with trio.fail_after(_TIMEOUT_S):
                async with streams.open_stream(connection, IDENTIFY_ID) as stream:
                    data = await streams.read_varint_message(stream, MAX_MESSAGE_BYTES)
        except (streams.StreamError, trio.TooSlowError):
            return
        if remember(host.get_peerstore(), peer_id, data) and network.get_connections(peer_id):
            host._identified_peers[peer_id] = reason
            tell_observed(host, connection, data)

    async def take_push(stream: Any) -> None:
        peer_id = stream.muxed_conn.peer_id
        if pushes[peer_id] >= MAX_PUSHES_PER_PEER:
            await streams.reset(stream)
            return
        pushes[peer_id] += 1
        data: bytes | None = None
        try:
            with place(crowd, address_block_of(stream.muxed_conn), _TIMEOUT_S):
                data = await streams.read_varint_message(stream, MAX_MESSAGE_BYTES)
        except streams.StreamError:
            data = None
        finally:
            pushes[peer_id] -= 1
            if not pushes[peer_id]:
                del pushes[peer_id]
        if data is None:
            await streams.reset(stream)
        else:
            remember(host.get_peerstore(), peer_id, data)
            await streams.close(stream)

    host._identify_peer = identify
    host.set_stream_handler(ID_PUSH, take_push)


def tell_only_announced(host: Any) -> None:
    """Tell a peer that asks no other addresses than those that the host announces, if need be none.

    Defect (0.8.1, identity/identify/identify.py:90, 220): a host that announces nothing waits half a second
    and then tells every address on which it listens.
    Test: tests/swarm/test_identify.py.
    """
    answer_with_addresses = library_identify.identify_handler_for(host)

    async def answer(stream: Any) -> None:
        if host.get_addrs():
            await answer_with_addresses(stream)
            return
        seen_at = library_identify._remote_address_to_multiaddr(stream.get_remote_address())
        message = library_identify._mk_identify_protobuf(host, seen_at)
        message.ClearField("listen_addrs")
        data = message.SerializeToString()
        try:
            await streams.write(stream, varint.encode(len(data)) + data)
            await streams.close(stream)
        except streams.StreamError:
            await streams.reset(stream)

    host.set_stream_handler(IDENTIFY_ID, answer)


def remember(store: Any, peer_id: Any, data: bytes) -> bool:
    """Store what a peer says of itself; return whether `data` is a message of identify.

    Addresses and protocols replace the former ones, where the message has any.
    """
    message = Identify()
    try:
        message.ParseFromString(data)
    except DecodeError:
        return False
    if message.listen_addrs:
        store.clear_addrs(peer_id)
        store.add_addrs(peer_id, _addresses(message.listen_addrs), _ADDRESS_LIFE_S)
    if message.protocols:
        store.set_protocols(peer_id, list(message.protocols[: peer_store.MAX_PROTOCOLS]))
    return True


def report_circuits_whole(host: Any, announced: Callable[[], list[Any]]) -> None:
    """Let identify report what is announced as it is.

    Defect (0.8.1, host/basic_host.py:534): an address through a relay loses everything behind the relay's
    peer id, so that it is said that this node is where its relay is.
    Test: tests/relay/test_addresses.py.
    """
    own = Multiaddr(f"/p2p/{host.get_id()}")
    host.get_addrs = lambda: [address.encapsulate(own) for address in announced()]


def _addresses(entries: Any) -> list[Any]:
    """Return the first 32 addresses, without those that are malformed or too long."""
    found = []
    for entry in entries[: peer_store.MAX_ADDRESSES]:
        if len(entry) <= peer_store.MAX_ADDRESS_BYTES:
            try:
                found.append(Multiaddr(bytes(entry)))
            except Exception:  # noqa: S112 - the parser raises many unrelated types; the address is dropped
                continue
    return found


def on_observed(host: Any, callback: Callable[[Any, str], None]) -> None:
    """Call `callback(connection, multiaddr)` with the address from which a peer says that this node came."""
    host._observed_callback = callback


def tell_observed(host: Any, connection: Any, data: bytes) -> None:
    """Tell what a message of identify says of this node's own address, if it says it."""
    callback = getattr(host, "_observed_callback", None)
    observed = Identify.FromString(data).observed_addr
    if callback is None or not 0 < len(observed) <= peer_store.MAX_ADDRESS_BYTES:
        return
    try:
        text = str(Multiaddr(bytes(observed)))
    except Exception:  # as in _addresses
        return
    callback(connection, text)


def hide_protocol(host: Any, protocol: str, *, hidden: bool, from_neighbours_too: bool = False) -> None:
    """Leave a protocol out of what identify tells, though it is answered; or tell it again.

    Who has connected to this host from its local network hears of it all the same, for this host was reached;
    but not with `from_neighbours_too`.
    """
    mux = host.get_mux()
    if not hasattr(mux, "hidden_protocols"):
        mux.hidden_protocols = set()
        mux.hides_from_neighbours = from_neighbours_too
        mux.get_protocols = lambda: tuple(one for one in mux.handlers if one not in _hidden(mux))
        answer = mux.handlers[IDENTIFY_ID]

        async def answer_knowing_whom(stream: Any) -> None:
            _told.set(stream.swarm_conn)  # the task of this stream has its own
            await answer(stream)

        host.set_stream_handler(IDENTIFY_ID, answer_knowing_whom)
    (mux.hidden_protocols.add if hidden else mux.hidden_protocols.discard)(protocol)


def _hidden(mux: Any) -> set[str]:
    """Return what the other side of the connection over which identify speaks is not to be told."""
    connection = _told.get()
    if connection is None or connection.muxed_conn.is_initiator or mux.hides_from_neighbours:
        return set(mux.hidden_protocols)
    return set() if is_local_host(host_of(connection) or "") else set(mux.hidden_protocols)


async def push_identify(host: Any) -> None:
    """Tell all connected peers what identify would tell them now (identify/push); never raises.

    Those come first with which this node was pairing last: a peer that says nothing, as one that sleeps, has
    its turn for ten seconds. Each is told what is true when its turn has come.
    """
    connections = [one for one in host.get_network().get_connections() if is_alive(one)]
    connections.sort(key=lambda one: streams.used_at(one).get(PROTOCOL_ID, -math.inf), reverse=True)
    turns = trio.Semaphore(_MAX_PUSHES_AT_ONCE)

    async def push_to(connection: Any) -> None:
        try:
            _told.set(connection)
            message = bytes(_mk_identify_protobuf(host, None).SerializeToString())
            # Who has gone, or does not speak that, is told nothing.
            with trio.move_on_after(_TIMEOUT_S), suppress(streams.StreamError):
                async with streams.open_stream(connection, ID_PUSH, varint.encode(len(message)) + message):
                    pass
        finally:
            turns.release()

    async with trio.open_nursery() as nursery:
        for connection in connections:
            await turns.acquire()
            nursery.start_soon(push_to, connection)


def after_identify(host: Any, callback: Callable[[Any], Awaitable[None]]) -> None:
    """Await `callback(peer_id)` each time that identify has run or was given up; it may not wait long.

    It runs for the first connection with a peer, and for the first one after its connections had ended; and
    when the peer pushes what it would tell.
    Defect (0.8.1, host/basic_host.py:1212): there is no event for the end of identify, and so no moment to
    look at the protocols of a peer.
    Defect (0.8.1, host/basic_host.py:1219): it never runs again for a peer whose protocols are still in the
    peer store, so that a peer which comes back, restarted or elsewhere, is taken for what it was.
    Defect (0.8.1, same place): an identify that failed, because its stream was reset for example, is not
    repeated while the connection lasts, so that a DHT server is never known as one.
    Test: tests/swarm/test_identify.py.
    """
    identify = host._identify_peer
    host._has_cached_protocols = host._identified_peers.__contains__

    async def identify_and_call_back(peer_id: Any, *, reason: str) -> None:
        for pause in _RETRY_PAUSES_S:
            await identify(peer_id, reason=reason)
            if peer_id in host._identified_peers or not host.get_network().get_connections(peer_id):
                break
            await trio.sleep(pause)
        await callback(peer_id)

    take_push = host.get_mux().handlers[ID_PUSH]

    async def take_push_and_call_back(stream: Any) -> None:
        await take_push(stream)
        await callback(stream.muxed_conn.peer_id)

    host._identify_peer = identify_and_call_back
    host.set_stream_handler(ID_PUSH, take_push_and_call_back)
